//! Rows that move between partitions: PostgreSQL tells their triggers of a DELETE here and an INSERT there, and to
//! their owner it is one UPDATE.
//!
//! The DELETE waits here for its INSERT. Whatever else comes first (the next row's change, the end of the
//! statement, of the transaction or savepoint) shows that a trigger swallowed the INSERT: then it was a deletion.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::pg_sys;

use crate::pg::row::{OwnedRow, Written};
use crate::relations::Plan;

/// A row on its way.
pub struct Move {
    /// The plan of the partition it left.
    pub plan: Rc<Plan>,
    /// The row as it was.
    pub row: OwnedRow,
    /// When it was written.
    pub written: Written,
    /// The command that took it away.
    pub command: pg_sys::CommandId,
    depth: i32,
    subtransaction: pg_sys::SubTransactionId,
}

impl Move {
    /// A row that left its partition by `command`, at this trigger depth and in this subtransaction.
    pub fn new(
        plan: Rc<Plan>,
        (row, written): (OwnedRow, Written),
        depth: i32,
        subtransaction: pg_sys::SubTransactionId,
        command: pg_sys::CommandId,
    ) -> Self {
        Self { plan, row, written, command, depth, subtransaction }
    }

    /// Whether an INSERT into a partition with this plan, at this trigger depth, can be its arrival.
    pub fn arrives(&self, plan: &Plan, depth: i32) -> bool {
        self.depth == depth && self.plan.partition_of == plan.partition_of
    }
}

thread_local! {
    /// At most one a trigger depth, deepest last.
    static WAITING: RefCell<Vec<Move>> = const { RefCell::new(Vec::new()) };
}

/// Lets a row wait for its arrival.
pub fn wait(departure: Move) {
    WAITING.with_borrow_mut(|waiting| waiting.push(departure));
}

/// The row that waits at this trigger depth or deeper, if any: what comes next settles it.
pub fn take(depth: i32) -> Option<Move> {
    WAITING.with_borrow_mut(|waiting| waiting.pop_if(|last| last.depth >= depth))
}

/// Forgets rows of a subtransaction that was rolled back, or of the whole transaction.
pub fn forget(subtransaction: Option<pg_sys::SubTransactionId>) {
    WAITING.with_borrow_mut(|waiting| match subtransaction {
        // Subtransactions count upwards: whatever began inside this one has a higher number.
        Some(aborted) => waiting.retain(|row| row.subtransaction < aborted),
        None => waiting.clear(),
    });
}
