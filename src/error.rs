//! Errors as users see them: an SQLSTATE, what is wrong with which value, and what to do about it.

use std::borrow::Cow;

use audit_core::jsonb::TooLarge;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::{PgLogLevel, PgSqlErrorCode};

use crate::pg::catalog;

/// What the rooms return; [`crate::pg::entry`] raises the error.
pub type Result<T> = std::result::Result<T, Error>;

/// An error on its way to the user.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: PgSqlErrorCode,
    message: Cow<'static, str>,
    detail: Option<String>,
    hint: Option<Cow<'static, str>>,
}

impl Error {
    /// An error with its SQLSTATE and message.
    pub fn new(code: PgSqlErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts { code, message: message.into(), detail: None, hint: None }))
    }

    /// Adds what else is known.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds what to do.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Raises it as a PostgreSQL error.
    pub fn raise(self) -> ! {
        let mut report = ErrorReport::new(self.0.code, in_server_encoding(&self.0.message), "audit");
        if let Some(detail) = self.0.detail {
            report = report.set_detail(in_server_encoding(&detail));
        }
        if let Some(hint) = self.0.hint {
            report = report.set_hint(in_server_encoding(&hint));
        }
        report.report(PgLogLevel::ERROR);
        unreachable!("an error report does not return")
    }
}

/// As much of `text` as an error shows.
pub fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// `text` as it can be shown: as it is where the database is in UTF-8, otherwise with other characters than ASCII
/// spelt out.
pub fn in_server_encoding(text: &str) -> String {
    if text.is_ascii() || catalog::is_utf8() {
        return text.to_owned();
    }
    text.chars().fold(String::new(), |mut shown, character| {
        if character.is_ascii() {
            shown.push(character);
        } else {
            shown.push_str(&format!("<U+{:04X}>", u32::from(character)));
        }
        shown
    })
}

impl From<TooLarge> for Error {
    fn from(too_large: TooLarge) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED, "the row is too large for an audit event")
            .detail(too_large.to_string())
            .hint("Exclude the column with audit.track(..., exclude => ...).")
    }
}

impl From<pgrx::spi::SpiError> for Error {
    fn from(error: pgrx::spi::SpiError) -> Self {
        Self::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, format!("audit's own query failed: {error}"))
            .hint("This is a defect of the extension; please report it.")
    }
}
