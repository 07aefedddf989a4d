//! What a trigger is given: the call and its rows.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::row::{Relation, Row, Written, updater};
use super::session;

/// `MovedPartitionsOffsetNumber` (`storage/itemptr.h`): where a row's successor would be, this says that it is in
/// another partition.
const MOVED_PARTITIONS: u16 = 0xfffd;

/// What kind of write fired the trigger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A row came.
    Insert,
    /// A row changed.
    Update,
    /// A row went.
    Delete,
    /// All rows went at once.
    Truncate,
}

impl Operation {
    /// That of a trigger's event.
    pub(super) fn of(event: pg_sys::TriggerEvent) -> Self {
        match event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_INSERT => Self::Insert,
            pg_sys::TRIGGER_EVENT_UPDATE => Self::Update,
            pg_sys::TRIGGER_EVENT_DELETE => Self::Delete,
            _ => Self::Truncate,
        }
    }
}

/// A table's row trigger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowTrigger {
    /// None.
    Missing,
    /// It was made on this table.
    Own,
    /// It was made on the partitioned table above.
    Inherited,
}

/// One call of an AFTER trigger.
pub struct TriggerCall<'a> {
    data: &'a pg_sys::TriggerData,
}

impl<'a> TriggerCall<'a> {
    /// The call behind `fcinfo`, or `None` if it is no AFTER trigger's.
    ///
    /// # Safety
    /// `fcinfo` must be what PostgreSQL passed to the function, and `'a` end with that call.
    pub unsafe fn new(fcinfo: pg_sys::FunctionCallInfo) -> Option<Self> {
        // SAFETY: fcinfo is valid during the call; a context with the tag T_TriggerData is a TriggerData.
        let data = unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                return None;
            }
            &*context.cast::<pg_sys::TriggerData>()
        };
        let after = data.tg_event & pg_sys::TRIGGER_EVENT_TIMINGMASK == pg_sys::TRIGGER_EVENT_AFTER;
        after.then_some(Self { data })
    }

    /// What happened.
    pub fn operation(&self) -> Operation {
        Operation::of(self.data.tg_event)
    }

    /// Whether it is called for a row, not for a statement.
    pub fn is_for_row(&self) -> bool {
        self.data.tg_event & pg_sys::TRIGGER_EVENT_ROW != 0
    }

    /// Whether the table has a row trigger with the same function, and whether it has it as a partition.
    pub fn row_trigger(&self) -> RowTrigger {
        // SAFETY: the trigger's table is open, with a description of all its triggers.
        unsafe {
            let description = &*(*self.data.tg_relation).trigdesc;
            let triggers = std::slice::from_raw_parts(description.triggers, description.numtriggers as usize);
            let row = triggers.iter().find(|trigger| {
                trigger.tgfoid == (*self.data.tg_trigger).tgfoid
                    && u32::from(trigger.tgtype as u16) & pg_sys::TRIGGER_TYPE_ROW != 0
            });
            match row {
                None => RowTrigger::Missing,
                Some(trigger) if trigger.tgisclone => RowTrigger::Inherited,
                Some(_) => RowTrigger::Own,
            }
        }
    }

    /// The table.
    pub fn relation(&self) -> Relation<'a> {
        // SAFETY: the executor holds the relation open during the call.
        unsafe { Relation::new(self.data.tg_relation) }
    }

    /// The trigger's arguments.
    pub fn arguments(&self) -> Vec<&'a [u8]> {
        // SAFETY: tgargs holds tgnargs C strings that live as long as the trigger's description.
        unsafe {
            let trigger = &*self.data.tg_trigger;
            (0..trigger.tgnargs as usize).map(|n| CStr::from_ptr(*trigger.tgargs.add(n)).to_bytes()).collect()
        }
    }

    /// Whether the trigger stands on a partition because it stands on the partitioned table.
    pub fn is_clone(&self) -> bool {
        // SAFETY: tg_trigger is valid during the call.
        unsafe { (*self.data.tg_trigger).tgisclone }
    }

    /// The command with whose events this one belongs. Functions that the statement called may have written since
    /// it began: a deletion came before what they did to the row's key, so it belongs to its own command; a new
    /// version came after what made room for it and before what replaced it, if anything did.
    pub fn place(&self) -> pg_sys::CommandId {
        // SAFETY: the header is a row's, and only a transaction's own versions know their commands.
        let ended = self.version().and_then(|header| unsafe {
            pg_sys::TransactionIdIsCurrentTransactionId(updater(&*header))
                .then(|| pg_sys::HeapTupleHeaderGetCmax(header))
        });
        match ended {
            Some(command) if self.operation() == Operation::Delete => command,
            Some(command) => command.saturating_sub(1),
            None => session::command_id(),
        }
    }

    /// The header of the version that was deleted or made, as it is on the page; none for a statement's trigger.
    fn version(&self) -> Option<pg_sys::HeapTupleHeader> {
        let tuple = match self.operation() {
            _ if !self.is_for_row() => return None,
            Operation::Update => self.data.tg_newtuple,
            _ => self.data.tg_trigtuple,
        };
        // SAFETY: a row trigger is given its tuples.
        Some(unsafe { (*tuple).t_data })
    }

    /// When what `first_row` shows was written.
    pub fn first_written(&self) -> Written {
        // SAFETY: a row trigger is given its first row, whose header is as it is on the page.
        unsafe { Written::of(&*(*self.data.tg_trigtuple).t_data) }
    }

    /// Whether the deleted row went on to another partition: its INSERT there follows, unless a trigger there
    /// swallows it.
    pub fn moves_on(&self) -> bool {
        // SAFETY: a DELETE's row trigger is given the old row, whose header is as it is on the page.
        unsafe {
            let next = (*(*self.data.tg_trigtuple).t_data).t_ctid;
            next.ip_posid == MOVED_PARTITIONS
                && next.ip_blkid.bi_hi == u16::MAX
                && next.ip_blkid.bi_lo == u16::MAX
        }
    }

    /// Whether a trigger of the table may keep rows from coming.
    pub fn can_be_swallowed(&self) -> bool {
        // SAFETY: the trigger's table is open, with a description of all its triggers.
        unsafe { (*(*self.data.tg_relation).trigdesc).trig_insert_before_row }
    }

    /// The row as it was before an UPDATE or DELETE, or as an INSERT left it.
    pub fn first_row(&self) -> Row<'a> {
        // SAFETY: a row trigger is given its row in tg_trigslot.
        unsafe { Row::in_slot(self.data.tg_trigslot) }
    }

    /// The row as an UPDATE left it.
    pub fn updated_row(&self) -> Row<'a> {
        // SAFETY: an UPDATE's row trigger is given the new row in tg_newslot.
        unsafe { Row::in_slot(self.data.tg_newslot) }
    }
}
