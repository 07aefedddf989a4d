//! What a function that returns `SETOF audit.event` returns.

use pgrx::pg_sys;

use super::event_reader::{Event, Partition};

/// The rows of the result, in order.
pub struct EventSet {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

impl EventSet {
    /// The empty result of the function called with `fcinfo`; an error where the caller takes no set.
    ///
    /// # Safety
    /// `fcinfo` must be that of a function declared as `SETOF audit.event`, and its call outlast the set.
    pub(super) unsafe fn of_call(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        // SAFETY: as the caller promises; afterwards resultinfo is a ReturnSetInfo with a store and a descriptor.
        unsafe {
            pg_sys::InitMaterializedSRF(fcinfo, 0);
            let info: *const pg_sys::ReturnSetInfo = (*fcinfo).resultinfo.cast();
            Self { store: (*info).setResult, descriptor: (*info).setDesc }
        }
    }

    /// For each column of the result, where `partition` has it; `None` is NULL.
    pub fn columns_in(&self, partition: &Partition) -> Vec<Option<usize>> {
        // SAFETY: a descriptor holds natts attributes, whose names are C strings.
        let attributes = unsafe { (*self.descriptor).attrs.as_slice((*self.descriptor).natts as usize) };
        attributes
            .iter()
            .map(|attribute| {
                (!attribute.attisdropped)
                    .then(|| partition.position(pgrx::name_data_to_str(&attribute.attname)))?
            })
            .collect()
    }

    /// Adds an event; `columns` are those of its partition.
    pub fn push(&mut self, event: &Event<'_>, columns: &[Option<usize>]) {
        let (mut values, mut nulls): (Vec<_>, Vec<_>) = columns
            .iter()
            .map(|column| match column.and_then(|at| event.row().get(at)) {
                Some(value) => (value.datum(), false),
                None => (pg_sys::Datum::null(), true),
            })
            .unzip();
        // SAFETY: as many values as the descriptor has columns, of their types; the store copies them.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
    }
}
