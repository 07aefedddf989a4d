//! The catalogues as they were before a command, and as they are after it, so that what differs is the command's doing; and
//! all tables as they are now.

use pgrx::pg_sys;

/// A view of all rows at one moment.
pub struct Snapshot(pg_sys::Snapshot);

impl Snapshot {
    /// Two views of what all others have committed by now: without and with what this transaction did since `command`, one
    /// of its commands, began. What others do meanwhile, or did while the command waited for a lock, is in both or in none.
    pub fn before_and_after(command: pg_sys::CommandId) -> (Self, Self) {
        // SAFETY: what GetLatestSnapshot returns stays until its next call; to register it makes a copy, which is ours alone
        // and lives until `drop`, or the transaction's abort. Rows of this transaction are seen by the commands that made and
        // deleted them.
        unsafe {
            let latest = pg_sys::GetLatestSnapshot();
            let (before, after) = (pg_sys::RegisterSnapshot(latest), pg_sys::RegisterSnapshot(latest));
            (*before).curcid = command;
            (Self(before), Self(after))
        }
    }

    /// What all have committed by now, and what this transaction has done so far, even where its isolation level shows an
    /// older state.
    pub fn latest() -> Self {
        // SAFETY: as above.
        unsafe { Self(pg_sys::RegisterSnapshot(pg_sys::GetLatestSnapshot())) }
    }

    pub(super) fn as_ptr(&self) -> pg_sys::Snapshot {
        self.0
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: registered where it was made.
            unsafe { pg_sys::UnregisterSnapshot(self.0) }
        }
    }
}
