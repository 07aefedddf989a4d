//! `audit.check_health`: what cron asks; the checks themselves are in `sql/35_health_tables.sql` and after, but for whether settings
//! fit their table.

use std::ffi::CStr;

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Error, Result, shortened};
use crate::pg::catalog::to_utf8;
use crate::pg::locks;
use crate::pg::query::{self, Parameter};
use crate::pg::row::OpenRelation;
use crate::pg::value::Text;
use crate::tracking::{Tracking, triggers_of};

/// The severities of `audit.health()`, the worst first.
const SEVERITIES: [&str; 3] = ["error", "warning", "info"];

/// Raises the problems of `severity` and worse, if there are any.
pub fn check(severity: Option<&str>) -> Result<()> {
    const PROBLEMS: &CStr =
        c"SELECT concat(h.severity, ': ', h.object, ': ', h.problem) FROM audit.health() h
        WHERE array_position($1, h.severity) IS NOT NULL";
    let Some(worst) = SEVERITIES.iter().position(|known| Some(*known) == severity) else {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("there is no severity \"{}\"", shortened(severity.unwrap_or("NULL"))),
        )
        .hint("Ask for 'error', 'warning' or 'info'."));
    };
    let wanted = SEVERITIES[..=worst].iter().map(|name| Text::new(name.as_bytes())).collect::<Vec<_>>();
    let mut problems = Vec::new();
    query::read(PROBLEMS, &[Parameter::Texts(&wanted)], |row| {
        problems.extend(row.text(1).map(|problem| to_utf8(problem.bytes())));
    });
    match problems.len() {
        0 => Ok(()),
        count => Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("the audit system has {count} {}", if count == 1 { "problem" } else { "problems" }),
        )
        .detail(problems.join("\n"))
        .hint("SELECT * FROM audit.health() says what to do about each.")),
    }
}

/// Why a tracked table's settings fit it no more, so that writes fail; `None` if they do, and while somebody alters it.
pub fn misfit(table: pg_sys::Oid) -> Option<String> {
    let _lock = locks::shared_at_once(table)?;
    let (columns, primary_key) = {
        let open = OpenRelation::peek(table)?;
        (open.relation().attributes(), open.relation().primary_key())
    };
    let settings = Tracking::carried_by(&triggers_of(table))?;
    let misfit = match settings.resolved(table, &columns, &primary_key) {
        Ok(resolved) if settings.lost_a_secret(&resolved) => {
            return Some("a masked or excluded column cannot be found".into());
        }
        Ok(resolved) => resolved.understands_conditions(table).err(),
        Err(unresolved) => Some(unresolved),
    };
    misfit.map(|unresolved| unresolved.to_string())
}
