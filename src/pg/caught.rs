//! Errors that PostgreSQL raises about what a user wrote, caught so that they can be told with their place.

use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::CaughtError;
use pgrx::{PgSqlErrorCode, PgTryBuilder};

use super::trigger_call::Operation;

/// What is wrong with a condition.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The SQLSTATE.
    pub code: PgSqlErrorCode,
    /// What is wrong.
    pub message: String,
    /// What else is known.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Whether the hint is ours, and says it all.
    pub is_our_own: bool,
}

impl Mistake {
    fn new(code: PgSqlErrorCode, message: impl Into<String>, hint: &str) -> Self {
        Self { code, message: message.into(), detail: None, hint: Some(hint.to_owned()), is_our_own: true }
    }

    /// It is no condition at all.
    pub fn syntax(message: &str) -> Self {
        Self::new(
            PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
            message,
            "Write one SQL expression over old and new, such as new.status = 'invited'.",
        )
    }

    pub(super) fn volatile() -> Self {
        Self::new(
            PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION,
            "it calls a volatile function",
            "A condition depends on the row alone. A function that only reads can be declared STABLE or IMMUTABLE.",
        )
    }

    pub(super) fn foreign_cast(what: &str) -> Self {
        Self::new(
            PgSqlErrorCode::ERRCODE_INVALID_OBJECT_DEFINITION,
            format!("it converts by {what}, which belongs to neither the table's owner nor a superuser"),
            "It would run with the rights of the table's owner. Compare without that conversion, or let that role own it.",
        )
    }

    pub(super) fn system_column() -> Self {
        Self::new(
            PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            "it reads a system column",
            "Use the table's own columns.",
        )
    }

    pub(super) fn no_such_row(row: &str, operation: Operation) -> Self {
        let (what, hint) = match operation {
            Operation::Insert => ("an insert", "Use new."),
            _ => ("a delete", "Use old."),
        };
        Self::new(
            PgSqlErrorCode::ERRCODE_INVALID_COLUMN_REFERENCE,
            format!("it reads \"{row}\", which {what} does not have"),
            hint,
        )
    }

    pub(super) fn in_use() -> Self {
        Self::new(
            PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            "it writes to the table whose writes it judges",
            "A condition may only read. Look at the functions that it calls.",
        )
    }
}

/// Runs `work`; what PostgreSQL raises about data or SQL becomes a mistake, the rest (a cancelled query, no memory) is
/// raised on. Whoever is given a mistake has to raise an error of its own, since nothing is rolled back.
pub fn caught<R>(work: impl FnOnce() -> R) -> Result<R, Mistake> {
    PgTryBuilder::new(AssertUnwindSafe(|| Ok(work())))
        .catch_others(|error| {
            let (CaughtError::PostgresError(report) | CaughtError::ErrorReport(report)) = &error else {
                error.rethrow()
            };
            let code = match report.sql_error_code() {
                // What pgrx makes of SQLSTATEs that a user's function made up.
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR => PgSqlErrorCode::ERRCODE_EXTERNAL_ROUTINE_EXCEPTION,
                code => code,
            };
            // The first two characters of an SQLSTATE, six bits each, say its class.
            let class = [0, 6].map(|shift| b'0' + ((code as i32 >> shift) & 0x3f) as u8);
            if matches!(&class, b"40" | b"53" | b"57" | b"58" | b"XX" | b"F0") {
                error.rethrow();
            }
            Err(Mistake {
                code,
                // A condition is no trigger's WHEN clause to who writes it.
                message: report.message().replace("trigger WHEN condition", "condition"),
                detail: report.detail().map(str::to_owned),
                hint: report.hint().map(str::to_owned),
                is_our_own: false,
            })
        })
        .execute()
}
