//! Why settings do not fit a table, as its owner is told.

use pgrx::pg_sys;

use crate::error::{Error, shortened};
use crate::pg::catalog;
use crate::pg::caught::Mistake;

/// Why settings do not fit the table.
#[derive(Debug, PartialEq)]
pub struct Unresolved {
    /// Which argument of `audit.track` is wrong, or which part of it.
    pub argument: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a column or a path.
#[derive(Debug, PartialEq)]
pub enum Problem {
    /// The table has no such column.
    NoColumn {
        /// The table.
        table: pg_sys::Oid,
        /// The column.
        column: String,
    },
    /// A path goes on from a column that is in no foreign key.
    NoForeignKey {
        /// The table.
        table: pg_sys::Oid,
        /// The column.
        column: String,
    },
    /// The resource's id is the primary key, and there is none.
    NoKey {
        /// The table.
        table: pg_sys::Oid,
    },
    /// A column that identifies events is kept out of them.
    KeptOut {
        /// The table.
        table: pg_sys::Oid,
        /// The column.
        column: String,
    },
    /// A rule is for changes of a column that is never compared.
    Excluded {
        /// The table.
        table: pg_sys::Oid,
        /// The column.
        column: String,
    },
    /// A condition cannot be read, or does not fit the table.
    Condition {
        /// The table.
        table: pg_sys::Oid,
        /// The condition.
        text: String,
        /// What is wrong.
        mistake: Box<Mistake>,
    },
}

impl Problem {
    /// The table where the problem lies.
    pub fn table(&self) -> pg_sys::Oid {
        match self {
            Self::NoColumn { table, .. }
            | Self::NoForeignKey { table, .. }
            | Self::NoKey { table }
            | Self::KeptOut { table, .. }
            | Self::Excluded { table, .. }
            | Self::Condition { table, .. } => *table,
        }
    }

    /// Whether a foreign key yet to come may mend the path: the one that leads on, from `table` to another or further.
    pub fn awaits_foreign_key(&self, table: pg_sys::Oid) -> bool {
        match self {
            Self::NoForeignKey { .. } => true,
            Self::NoColumn { table: reached, .. } => *reached != table,
            _ => false,
        }
    }
}

impl Unresolved {
    /// What else is to be said: the condition that is meant, and what PostgreSQL adds to its message.
    pub fn detail(&self) -> Option<String> {
        let Problem::Condition { text, mistake, .. } = &self.problem else { return None };
        let condition = (!text.trim().is_empty()).then(|| format!("The condition is: {}", shortened(text)));
        let parts: Vec<String> = mistake.detail.clone().into_iter().chain(condition).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |table: &pg_sys::Oid| catalog::shown_name(*table);
        write!(f, "{}: ", self.argument)?;
        match &self.problem {
            Problem::NoColumn { table, column } => {
                write!(f, "table {} has no column \"{}\"", name(table), shortened(column))
            }
            Problem::NoForeignKey { table, column } => {
                write!(f, "column \"{column}\" of table {} is in no foreign key", name(table))
            }
            Problem::NoKey { table } => write!(f, "table {} has no primary key any more", name(table)),
            Problem::KeptOut { table, column } => {
                write!(
                    f,
                    "column \"{column}\" of table {} identifies events, so it cannot be masked or excluded",
                    name(table)
                )
            }
            Problem::Excluded { table, column } => {
                write!(
                    f,
                    "column \"{column}\" of table {} is excluded, so its changes are no events",
                    name(table)
                )
            }
            Problem::Condition { mistake, .. } => f.write_str(&mistake.message),
        }
    }
}

/// The error of a write whose condition failed.
pub fn condition_failed(table: pg_sys::Oid, place: &str, mistake: &Mistake) -> Error {
    let name = catalog::shown_name(table);
    let error =
        Error::new(mistake.code, format!("{place} of the audit of {name} failed: {}", mistake.message));
    let hint =
        "The write fails with its condition. Call audit.track with one that holds or fails for no row.";
    let error = match &mistake.detail {
        Some(detail) => error.detail(detail.clone()),
        None => error,
    };
    match &mistake.hint {
        // A condition within one's function has failed, and said so.
        Some(own) if own.ends_with(hint) => error.hint(own.clone()),
        Some(own) => error.hint(format!("{own} {hint}")),
        None => error.hint(hint),
    }
}
