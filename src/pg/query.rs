//! Queries of our own, prepared once per backend. Text goes in and comes out as bytes in the database's encoding.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CStr;

use pgrx::pg_sys;

use super::array;
use super::naming::PlainQuotes;
use super::scope::with_settings;
use super::snapshot::Snapshot;
use super::value::{Text, varlena_bytes};

/// A parameter, `$1` and so on.
pub enum Parameter<'a> {
    /// A text, or NULL.
    Text(Option<&'a Text>),
    /// An array of text.
    Texts(&'a [Text]),
    /// A boolean.
    Boolean(bool),
    /// An OID, or NULL.
    Oid(Option<pg_sys::Oid>),
    /// An array of OIDs.
    Oids(&'a [pg_sys::Oid]),
}

impl Parameter<'_> {
    fn type_oid(&self) -> pg_sys::Oid {
        match self {
            Self::Text(_) => pg_sys::TEXTOID,
            Self::Texts(_) => pg_sys::TEXTARRAYOID,
            Self::Boolean(_) => pg_sys::BOOLOID,
            Self::Oid(_) => pg_sys::OIDOID,
            Self::Oids(_) => pg_sys::OIDARRAYOID,
        }
    }

    fn datum(&self) -> Option<pg_sys::Datum> {
        match self {
            Self::Text(text) => text.map(|text| text.value().datum()),
            Self::Texts(texts) => Some(array::of_texts(texts.iter())),
            Self::Boolean(value) => Some(pg_sys::Datum::from(*value)),
            Self::Oid(oid) => oid.map(pg_sys::Datum::from),
            Self::Oids(oids) => Some(array::of_oids(oids)),
        }
    }
}

/// A row of the result.
pub struct Found {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
}

impl Found {
    fn datum(&self, column: i32) -> Option<pg_sys::Datum> {
        let mut is_null = false;
        // SAFETY: row and descriptor live until the query is finished, which outlasts `self`.
        let datum = unsafe { pg_sys::SPI_getbinval(self.tuple, self.descriptor, column, &mut is_null) };
        (!is_null).then_some(datum)
    }

    /// Column `column`, from one, which the query has as text.
    pub fn text(&self, column: i32) -> Option<Text> {
        // SAFETY: the query says so; anything else is a defect that its test shows.
        self.datum(column).map(|datum| unsafe { Text::new(varlena_bytes(datum)) })
    }

    /// Column `column`, from one, which the query has as an OID; NULL is the invalid one.
    pub fn oid(&self, column: i32) -> pg_sys::Oid {
        self.datum(column).map_or(pg_sys::InvalidOid, |datum| pg_sys::Oid::from(datum.value() as u32))
    }

    /// Column `column`, from one, which the query has as a boolean.
    pub fn boolean(&self, column: i32) -> Option<bool> {
        self.datum(column).map(|datum| datum.value() as u8 != 0)
    }
}

thread_local! {
    static PREPARED: RefCell<HashMap<Box<CStr>, pg_sys::SPIPlanPtr>> = RefCell::new(HashMap::new());
}

/// Reads with the snapshot of the calling statement, as whoever is the current user, under a `search_path` of
/// `pg_catalog, pg_temp` and with plain quotes; hands each row to `take`.
pub fn read(query: &CStr, parameters: &[Parameter<'_>], take: impl FnMut(Found)) {
    run(query, parameters, Sees::Statement, take);
}

/// Reads likewise, with another snapshot.
pub fn read_at(at: &Snapshot, query: &CStr, parameters: &[Parameter<'_>], take: impl FnMut(Found)) {
    run(query, parameters, Sees::Snapshot(at), take);
}

/// Reads likewise, and sees what this transaction has done so far.
pub fn read_now(query: &CStr, parameters: &[Parameter<'_>], take: impl FnMut(Found)) {
    run(query, parameters, Sees::AllSoFar, take);
}

/// Runs one command that writes, likewise, and sees what this transaction has done so far. Returns how many rows it
/// wrote.
pub fn write(query: &CStr, parameters: &[Parameter<'_>]) -> u64 {
    run(query, parameters, Sees::AllSoFar, |_| ())
}

/// What a query sees.
#[derive(Clone, Copy)]
enum Sees<'a> {
    /// What the calling statement sees.
    Statement,
    /// What this transaction has done so far, too.
    AllSoFar,
    /// What a snapshot says.
    Snapshot(&'a Snapshot),
}

fn run(query: &CStr, parameters: &[Parameter<'_>], sees: Sees<'_>, mut take: impl FnMut(Found)) -> u64 {
    let _quotes = PlainQuotes::begin();
    with_settings(&[(c"search_path", c"pg_catalog, pg_temp")], || {
        let values: Vec<_> = parameters.iter().map(Parameter::datum).collect();
        let mut datums: Vec<_> = values.iter().map(|value| value.unwrap_or(pg_sys::Datum::null())).collect();
        let nulls: Vec<_> =
            values.iter().map(|value| if value.is_some() { b' ' } else { b'n' } as _).collect();
        // SAFETY: the parameters are of the types that the query was prepared with, since one text always has the
        // same; the result lives until SPI_finish. An error ends the transaction, which closes the connection.
        unsafe {
            pg_sys::SPI_connect();
            let plan = prepared(query, parameters);
            let (values, nulls) = (datums.as_mut_ptr(), nulls.as_ptr());
            if let Sees::Snapshot(at) = sees {
                let nothing = std::ptr::null_mut();
                pg_sys::SPI_execute_snapshot(plan, values, nulls, at.as_ptr(), nothing, true, false, 0);
            } else {
                pg_sys::SPI_execute_plan(plan, values, nulls, matches!(sees, Sees::Statement), 0);
            }
            let processed = pg_sys::SPI_processed;
            if !pg_sys::SPI_tuptable.is_null() {
                let table = &*pg_sys::SPI_tuptable;
                for at in 0..processed as usize {
                    take(Found { tuple: *table.vals.add(at), descriptor: table.tupdesc });
                }
            }
            pg_sys::SPI_finish();
            processed
        }
    })
}

/// # Safety
/// SPI must be connected.
unsafe fn prepared(query: &CStr, parameters: &[Parameter<'_>]) -> pg_sys::SPIPlanPtr {
    if let Some(plan) = PREPARED.with_borrow(|known| known.get(query).copied()) {
        return plan;
    }
    let mut types: Vec<_> = parameters.iter().map(Parameter::type_oid).collect();
    // SAFETY: the query is a C string, the types are as many as it is told; a kept plan lives as long as the backend.
    let plan = unsafe {
        let plan = pg_sys::SPI_prepare(query.as_ptr(), types.len() as i32, types.as_mut_ptr());
        pg_sys::SPI_keepplan(plan);
        plan
    };
    PREPARED.with_borrow_mut(|known| known.insert(query.into(), plan));
    plan
}
