//! What keeps the log and the extension from being edited, truncated or dropped.

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode, pg_sys};

use crate::error::{Error, Result, in_server_encoding};
use crate::own;
use crate::pg::catalog::{self, to_utf8};
use crate::pg::session;
use crate::pg::trigger_call::Operation;
use crate::settings;

/// Refuses a statement on the log, or a row of it. A superuser may insert: silently what comes back from a dump, otherwise
/// there is an event of it.
pub fn write(operation: Operation, table: pg_sys::Oid) -> Result<()> {
    let refused = |message: &'static str| Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message);
    if operation != Operation::Insert {
        return Err(refused("the audit log is append-only")
            .detail("Events are never updated, deleted or truncated.")
            .hint("Correct the application's tables instead; the correction is an event of its own."));
    }
    if !session::is_superuser() {
        return Err(refused("events are not inserted")
            .detail("They come from writes to tracked tables and from audit.record; a superuser's restore may insert them.")
            .hint("Call audit.record, as a member of audit_writer."));
    }
    if own::is_restored(operation) {
        return Ok(());
    }
    disabled("table", &catalog::qualified_name(table), "a superuser inserted events".into())
}

/// Leaves the event of a guard that is off or passed by, and a line in the server's log: whoever switches a guard of the log off
/// can take the event away next.
pub fn disabled(resource_type: &'static str, name: &[u8], reason: String) -> Result<()> {
    log(&format!("audit.guard.disabled: {resource_type} {}: {reason}", to_utf8(name)));
    own::tell_guard("audit.guard.disabled", resource_type, name, reason)
}

/// Tells the server's log, and who did it.
pub fn log(message: &str) {
    let role = to_utf8(&catalog::role_name(session::outer_role()));
    ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, in_server_encoding(message), "audit")
        .set_detail(in_server_encoding(&format!("Role {role}.")))
        .report(PgLogLevel::LOG);
}

/// Whether a superuser said that the log or the extension may be destroyed in this session.
pub fn allows_destruction() -> bool {
    settings::allow_destruction() && session::is_superuser()
}

/// The error of a command that would drop `what`, detach it or rewrite its rows.
pub fn indestructible(what: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("{what} is part of the audit trail, and stays"),
    )
    .detail("Nothing is taken from the log or from the extension by accident, or quietly.")
    .hint("If it has to be, a superuser may SET audit.allow_destruction = on in this session first. That is recorded.")
}

/// The error of a command that would give the log another name or schema.
pub fn renamed() -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, "audit.event keeps its name")
        .detail("Under another one nothing would be written to it, and nothing would guard it.")
        .hint("A view may give its rows another name: CREATE VIEW ... WITH (security_invoker) AS SELECT * FROM audit.event.")
}
