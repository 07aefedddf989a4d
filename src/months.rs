//! The months that should have a partition and have none, and what keeps one of them from being made.

use std::ffi::CStr;

use pgrx::pg_sys;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use crate::error::in_server_encoding;
use crate::pg::catalog::{self, to_utf8};
use crate::pg::query::{self, Parameter};
use crate::pg::snapshot::Snapshot;
use crate::pg::value::Text;

/// How many months are made ahead of the current one.
const MONTHS_AHEAD: i32 = 3;

/// A month without a partition.
pub struct Missing {
    /// As `YYYY_MM`.
    pub month: String,
    starts: String,
    ends: String,
    /// A partition that holds a part of it.
    overlaps: Option<pg_sys::Oid>,
    /// What has the name that its partition would have.
    named: Option<pg_sys::Oid>,
    /// Whether that is a table, and no partition.
    is_detached: bool,
    /// Whether the catch-all holds events of it.
    waits: bool,
}

/// What has a partition is told by their bounds: a superuser may have renamed one, or made one by hand. The months are those
/// ahead, and those of which the catch-all holds events.
const MISSING: &CStr = c"
    WITH held (partition, period) AS (
        SELECT i.inhrelid, tstzrange(bound[1]::timestamptz, bound[2]::timestamptz)
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
             replace(replace(pg_get_expr(c.relpartbound, c.oid), 'MINVALUE', '''-infinity'''), 'MAXVALUE', '''infinity''') bounds,
             regexp_match(bounds, 'FROM [(]''(.+)''[)] TO [(]''(.+)''[)]') bound
        WHERE i.inhparent = 'audit.event'::regclass AND bound IS NOT NULL
    ), waiting (month) AS (
        SELECT DISTINCT date_trunc('month', occurred_at) FROM audit.event_default
        WHERE occurred_at >= '0001-01-01' AND occurred_at < '9999-01-01'
    ), wanted (month, period, name) AS (
        SELECT month, tstzrange(month, month + interval '1 month'), to_char(month, 'YYYY_MM')
        FROM (SELECT generate_series(date_trunc('month', now()), date_trunc('month', now()) + make_interval(months => $1::int),
                                     interval '1 month')
              UNION
              SELECT month FROM waiting) months (month)
    )
    SELECT w.name, lower(w.period)::text, upper(w.period)::text,
           (SELECT h.partition FROM held h WHERE h.period && w.period ORDER BY h.period LIMIT 1),
           c.oid, coalesce(c.relkind = 'r' AND NOT c.relispartition, false), w.month IN (SELECT month FROM waiting)
    FROM wanted w
    LEFT JOIN pg_class c ON c.relname = 'event_' || w.name AND c.relnamespace = 'audit'::regnamespace
    WHERE NOT coalesce(w.period <@ (SELECT range_agg(h.period) FROM held h), false)
    ORDER BY w.month";

/// All of them, under `DateStyle` ISO and `TimeZone` UTC; also in a transaction that sees an older state, since another run
/// may have made some meanwhile.
pub fn missing() -> Vec<Missing> {
    let ahead = Text::new(MONTHS_AHEAD.to_string().as_bytes());
    let mut months = Vec::new();
    query::read_at(&Snapshot::latest(), MISSING, &[Parameter::Text(Some(&ahead))], |row| {
        let text = |at| row.text(at).map_or(String::new(), |text| to_utf8(text.bytes()));
        let oid = |at| Some(row.oid(at)).filter(|oid| *oid != pg_sys::InvalidOid);
        let boolean = |at| row.boolean(at).unwrap_or_default();
        months.push(Missing {
            month: text(1),
            starts: text(2),
            ends: text(3),
            overlaps: oid(4),
            named: oid(5),
            is_detached: boolean(6),
            waits: boolean(7),
        });
    });
    months
}

impl Missing {
    /// Whether something keeps it from being made. That is said with what to do about it: the other months go on, and this
    /// one's events are safe where they are.
    pub fn warn_if_in_the_way(&self) -> bool {
        let Self { month, starts, ends, .. } = self;
        let (problem, remedy) = match (self.overlaps, self.named) {
            (Some(partition), named) => {
                let table = catalog::shown_name(partition);
                let detach = format!(
                    "SET audit.allow_destruction = on; ALTER TABLE audit.event DETACH PARTITION {table}; \
                     RESET audit.allow_destruction; "
                );
                let rest = if named == Some(partition) { self.made_anew(&table) } else { self.made(&table) };
                (format!("{table} holds a part of {month}"), detach + &rest)
            }
            (None, Some(_)) if self.is_detached => (
                format!("audit.event_{month} is there, but is no partition of audit.event"),
                // PostgreSQL refuses to attach it beside a catch-all that holds events of it.
                if self.waits {
                    self.made_anew(&format!("audit.event_{month}"))
                } else {
                    format!(
                        "ALTER TABLE audit.event ATTACH PARTITION audit.event_{month} FOR VALUES FROM ('{starts}') TO ('{ends}');"
                    )
                },
            ),
            (None, Some(_)) => (
                format!("audit.event_{month} is there, but is another partition of audit.event, or no table"),
                format!(
                    "ALTER TABLE audit.event_{month} RENAME TO event_{month}_misnamed; CALL audit.maintain();"
                ),
            ),
            (None, None) => return false,
        };
        ErrorReport::new(PgSqlErrorCode::ERRCODE_DUPLICATE_TABLE, in_server_encoding(&problem), "audit")
            .set_detail("The month's other events stay in audit.event_default.")
            .set_hint(in_server_encoding(&format!("Run as a superuser: {remedy}")))
            .report(PgLogLevel::WARNING);
        true
    }

    /// The commands that make the month and copy what `table`, which was its partition, holds.
    fn made(&self, table: &str) -> String {
        format!("CALL audit.maintain(); INSERT INTO audit.event SELECT * FROM {table};")
    }

    /// The same where `table` has the month's name.
    fn made_anew(&self, table: &str) -> String {
        let before = format!("event_{}_before", self.month);
        format!("ALTER TABLE {table} RENAME TO {before}; {}", self.made(&format!("audit.{before}")))
    }
}
