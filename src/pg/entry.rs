//! The C symbols that `sql/` declares. Each unpacks its arguments, hands over to a room and raises its errors.

use pgrx::prelude::*;
use pgrx::{PgSqlErrorCode, pg_guard, pg_sys};

use super::arguments::Arguments;
use super::ddl_command;
use super::trigger_call::{Operation, TriggerCall};
use super::value::varlena_bytes;
use super::{match_call, match_index, match_share};
use crate::error::{Error, Result};
use crate::tracking::Tracking;
use crate::{capture, ddl, guard, health, maintain, matching, record, track, trail};

/// What a room returned; its error is raised.
pub(super) fn or_raise<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| error.raise())
}

/// Exports `$name` as a version-1 C function with the body `$body`, a safe or unsafe function of `fcinfo`. Errors and
/// panics end at a guard, which `unguarded` leaves out.
macro_rules! sql_function {
    (unguarded $(#[$attribute:meta])* $name:ident, $finfo:ident, $body:expr) => {
        $(#[$attribute])*
        ///
        /// # Safety
        /// Only PostgreSQL calls it, with a valid `fcinfo`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
            // SAFETY: PostgreSQL calls it with a valid fcinfo.
            unsafe { $body(fcinfo) }
        }

        /// The calling convention of the function above.
        #[unsafe(no_mangle)]
        pub extern "C-unwind" fn $finfo() -> &'static pg_sys::Pg_finfo_record {
            const VERSION_1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &VERSION_1
        }
    };
    ($(#[$doc:meta])* $name:ident, $finfo:ident, $body:expr) => {
        sql_function!(unguarded $(#[$doc])* #[pg_guard] $name, $finfo, $body);
    };
}

pub(super) use sql_function;

sql_function!(
    /// `audit.capture()`: the row and TRUNCATE trigger of tracked tables.
    audit_capture, pg_finfo_audit_capture, capture
);

unsafe fn capture(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's.
    let Some(call) = (unsafe { TriggerCall::new(fcinfo) }) else {
        Error::new(
            PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            "audit.capture() was not called as an AFTER trigger",
        )
        .hint("Track tables with audit.track, which makes the triggers.")
        .raise()
    };
    or_raise(capture::capture(&call));
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.guard()`: refuses changes of the log.
    audit_guard, pg_finfo_audit_guard, guard_trigger
);

unsafe fn guard_trigger(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's; a context with the tag T_TriggerData is a TriggerData.
    let call = unsafe {
        let context = (*fcinfo).context.cast::<pg_sys::TriggerData>();
        (!context.is_null() && (*context).type_ == pg_sys::NodeTag::T_TriggerData).then(|| &*context)
    };
    let Some(call) = call else {
        Error::new(
            PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            "audit.guard() was not called as a trigger",
        )
        .hint("It guards the audit log.")
        .raise()
    };
    // SAFETY: the call's table is open.
    or_raise(guard::write(Operation::of(call.tg_event), unsafe { (*call.tg_relation).rd_id }));
    // A row goes on to be deleted; of a statement PostgreSQL expects nothing.
    match call.tg_event & pg_sys::TRIGGER_EVENT_ROW {
        0 => pg_sys::Datum::null(),
        _ => pg_sys::Datum::from(call.tg_trigtuple),
    }
}

sql_function!(
    /// `audit.before_ddl()`: the event trigger that comes before a command.
    audit_before_ddl, pg_finfo_audit_before_ddl, before_ddl
);

unsafe fn before_ddl(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's.
    or_raise(trail::begin(&unsafe { ddl_command::Command::new(fcinfo) }));
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.follow_ddl()`: the event trigger that keeps settings in step with tables.
    audit_follow_ddl, pg_finfo_audit_follow_ddl, follow_ddl
);

unsafe fn follow_ddl(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's.
    let command = unsafe { ddl_command::Command::new(fcinfo) };
    or_raise(ddl::follow(&command.change()));
    or_raise(trail::end(&command));
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.before_rewrite()`: the event trigger that comes before ALTER TABLE rewrites a table.
    audit_before_rewrite, pg_finfo_audit_before_rewrite, before_rewrite
);

unsafe fn before_rewrite(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's. What it tells is not needed, but it has to be told.
    let _command = unsafe { ddl_command::Command::new(fcinfo) };
    if let Some(table) = ddl_command::table_to_rewrite() {
        or_raise(trail::rewritten(table));
    }
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.maintain()`: a procedure, which may commit where it is called outside a transaction block.
    audit_maintain, pg_finfo_audit_maintain, maintain
);

unsafe fn maintain(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's; a context with the tag T_CallContext is a CallContext.
    let may_commit = unsafe {
        pg_sys::PreventCommandIfReadOnly(c"audit.maintain()".as_ptr());
        let context = (*fcinfo).context;
        !context.is_null()
            && (*context).type_ == pg_sys::NodeTag::T_CallContext
            && !(*context.cast::<pg_sys::CallContext>()).atomic
    };
    or_raise(maintain::maintain(may_commit));
    pg_sys::Datum::null()
}

sql_function!(
    unguarded
    /// `pg_catalog.audit_match(action, pattern)`.
    audit_match, pg_finfo_audit_match, match_call::audit_match
);

sql_function!(
    /// `audit.match_support(request)`.
    audit_match_support, pg_finfo_audit_match_support, match_support
);

unsafe fn match_support(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a strict function of one internal, which SQL cannot make: a request of the planner's, which is what its tag
    // says.
    unsafe {
        let request: *mut pg_sys::Node = (*fcinfo).args.as_slice(1)[0].value.cast_mut_ptr();
        let answer = match (*request).type_ {
            pg_sys::NodeTag::T_SupportRequestIndexCondition => {
                match_index::condition(&mut *request.cast()).map(|conditions| conditions.into_pg().cast())
            }
            pg_sys::NodeTag::T_SupportRequestSelectivity => {
                match_share::estimate(&mut *request.cast()).map(|()| request)
            }
            _ => None,
        };
        // Without an answer PostgreSQL does what it does with any function.
        answer.map_or(pg_sys::Datum::null(), pg_sys::Datum::from)
    }
}

sql_function!(
    /// `audit.pattern_low(pattern)`.
    audit_pattern_low, pg_finfo_audit_pattern_low, match_index::pattern_low
);

sql_function!(
    /// `audit.pattern_high(pattern)`.
    audit_pattern_high, pg_finfo_audit_pattern_high, match_index::pattern_high
);

sql_function!(
    /// `audit.check_pattern(pattern)`.
    audit_check_pattern, pg_finfo_audit_check_pattern, check_pattern
);

unsafe fn check_pattern(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a strict function of one text.
    unsafe {
        let pattern = varlena_bytes((*fcinfo).args.as_slice(1)[0].value);
        match matching::check(pattern) {
            Some(problem) => problem.into_datum().unwrap_or(pg_sys::Datum::null()),
            None => {
                (*fcinfo).isnull = true;
                pg_sys::Datum::null()
            }
        }
    }
}

sql_function!(
    /// `audit.check_health(severity)`.
    audit_check_health, pg_finfo_audit_check_health, check_health
);

unsafe fn check_health(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a function of one text, which may be NULL.
    let severity = unsafe { Arguments::new(fcinfo).text(0) };
    or_raise(health::check(severity.as_deref()));
    "ok".into_datum().unwrap_or(pg_sys::Datum::null())
}

sql_function!(
    /// `audit.misfit(target)`.
    audit_misfit, pg_finfo_audit_misfit, misfit
);

unsafe fn misfit(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a strict function of one OID, whose result is copied into the current memory context.
    unsafe {
        let problem = Arguments::new(fcinfo).oid(0).and_then(health::misfit);
        problem.and_then(|problem| problem.into_datum()).unwrap_or_else(|| {
            (*fcinfo).isnull = true;
            pg_sys::Datum::null()
        })
    }
}

sql_function!(
    /// `audit.trigger_settings(arguments)`.
    audit_trigger_settings, pg_finfo_audit_trigger_settings, trigger_settings
);

unsafe fn trigger_settings(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a strict function of one bytea, whose result is copied into the current memory context.
    unsafe {
        let argument = Arguments::new(fcinfo).varlena(0);
        match argument.and_then(|argument| Tracking::shown_in(argument.bytes())) {
            Some(settings) => pg_sys::pg_detoast_datum_copy(settings.value().datum().cast_mut_ptr()).into(),
            None => {
                (*fcinfo).isnull = true;
                pg_sys::Datum::null()
            }
        }
    }
}

sql_function!(
    /// `audit.record(…)`.
    audit_record, pg_finfo_audit_record, record
);

unsafe fn record(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a function of five texts and three jsonb, each of which may be NULL; the id is copied into the
    // current memory context.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(c"audit.record()".as_ptr());
        let given = Arguments::new(fcinfo);
        let id = or_raise(record::record(&record::Arguments {
            action: given.varlena(0),
            resource_type: given.varlena(1),
            resource_id: given.varlena(2),
            organisation_id: given.varlena(3),
            project_id: given.varlena(4),
            before_state: given.varlena(5),
            after_state: given.varlena(6),
            metadata: given.varlena(7),
        }));
        let copy = pg_sys::palloc(id.len()).cast::<u8>();
        copy.copy_from_nonoverlapping(id.as_ptr(), id.len());
        pg_sys::Datum::from(copy)
    }
}

sql_function!(
    /// `audit.default_pattern(project_id)`.
    audit_default_pattern, pg_finfo_audit_default_pattern, default_pattern
);

unsafe fn default_pattern(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a function of one text, which may be NULL.
    let in_project = unsafe { !(*fcinfo).args.as_slice(1)[0].isnull };
    matching::default_pattern(in_project).into_datum().unwrap_or(pg_sys::Datum::null())
}

sql_function!(
    /// `audit.track(…)`.
    audit_track, pg_finfo_audit_track, track
);

unsafe fn track(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: the arguments are read as sql/20_api.sql declares them.
    let arguments = unsafe {
        let given = Arguments::new(fcinfo);
        track::Arguments {
            target: given.oid(0),
            resource_type: given.text(1),
            resource_id: given.texts(2),
            organisation_id: given.text(3),
            project_id: given.text(4),
            actions: given.json(5),
            exclude: given.texts(6),
            mask: given.texts(7),
            personal: given.texts(8),
            on_replica: given.boolean(9),
        }
    };
    or_raise(track::track(arguments));
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.untrack(target)`.
    audit_untrack, pg_finfo_audit_untrack, untrack
);

unsafe fn untrack(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a function of one regclass.
    let target = unsafe { Arguments::new(fcinfo).oid(0) };
    or_raise(track::untrack(target));
    pg_sys::Datum::null()
}
