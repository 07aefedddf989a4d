//! The C symbols of `sql/26_reading.sql`: pages of the log.

use pgrx::{pg_guard, pg_sys};

use super::arguments::Arguments;
use super::entry::{or_raise, sql_function};
use super::event_set::EventSet;
use crate::log;

sql_function!(
    /// `audit.log(…)`.
    audit_log, pg_finfo_audit_log, log
);

unsafe fn log(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the arguments are read as sql/26_reading.sql declares them.
    unsafe {
        let given = Arguments::new(fcinfo);
        let arguments = log::Arguments {
            organisation_id: given.varlena(0),
            project_id: given.varlena(1),
            pattern: given.varlena(2),
            before: given.uuid(3),
            max_rows: given.integer(4),
            actor_id: given.varlena(5),
            resource_type: given.varlena(6),
            resource_id: given.varlena(7),
            since: given.timestamp(8),
            until: given.timestamp(9),
        };
        or_raise(log::log(arguments, &mut EventSet::of_call(fcinfo)));
    }
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.history(…)`.
    audit_history, pg_finfo_audit_history, history
);

unsafe fn history(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the arguments are read as sql/26_reading.sql declares them.
    unsafe {
        let given = Arguments::new(fcinfo);
        or_raise(log::history(
            given.varlena(0),
            given.varlena(1),
            given.uuid(2),
            given.integer(3),
            &mut EventSet::of_call(fcinfo),
        ));
    }
    pg_sys::Datum::null()
}
