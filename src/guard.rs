//! What keeps the log and the extension from being edited, truncated or dropped.

use pgrx::PgSqlErrorCode;

use crate::error::Error;
use crate::pg::session;
use crate::settings;

/// The error of a change to the log; `is_insert` where events would only be added.
pub fn append_only(is_insert: bool) -> Error {
    let refused = |message: &'static str| Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, message);
    if is_insert {
        return refused("events are not inserted")
            .detail("They come from writes to tracked tables and from audit.record; a superuser's restore may insert them.")
            .hint("Call audit.record, as a member of audit_writer.");
    }
    refused("the audit log is append-only")
        .detail("Events are never updated, deleted or truncated.")
        .hint("Correct the application's tables instead; the correction is an event of its own.")
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
