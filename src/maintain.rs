//! `CALL audit.maintain()`: partitions for the months ahead, and the catch-all emptied into its months.

use std::ffi::{CStr, CString};
use std::ops::Range;
use std::time::Instant;

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::months::{self, Missing};
use crate::pg::command::run_each;
use crate::pg::query::{self, Parameter};
use crate::pg::scope::{Commits, as_extension_owner, with_settings};
use crate::pg::snapshot::Snapshot;
use crate::pg::value::Text;
use crate::pg::{catalog, event_move, locks};
use crate::triggers;

/// How long a step waits for a lock, unless the session has its own `lock_timeout`.
const LOCK_TIMEOUT: &CStr = c"5s";

/// Makes the missing months, one transaction each where the caller allows it.
///
/// Each step takes ACCESS EXCLUSIVE only on the new partition and, for as long as the rows of one month take to
/// move, on the catch-all, and on `audit.event` if there are any; else there SHARE UPDATE EXCLUSIVE, which readers and
/// writers do not notice.
pub fn maintain(may_commit: bool) -> Result<()> {
    let commits = may_commit.then(Commits::connect);
    let mut done = Vec::new();
    // One month after another, each looked up anew: another run may have made it while this one waited.
    while let Some(month) = with_own_settings(|| {
        one_at_a_time()?;
        let next = months::missing().into_iter().find(|missing| !done.contains(&missing.month));
        next.iter().try_for_each(make_month)?;
        Ok::<_, Error>(next.map(|missing| missing.month))
    })? {
        done.push(month);
        if let Some(commits) = &commits {
            commits.commit();
        }
    }
    Ok(())
}

fn with_own_settings<R>(work: impl FnOnce() -> R) -> R {
    let own_timeout =
        Spi::get_one::<bool>("SELECT pg_catalog.current_setting('lock_timeout') OPERATOR(pg_catalog.<>) '0'");
    let mut settings = vec![
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"timezone", c"UTC"),
        (c"datestyle", c"ISO, YMD"),
        // The caller's may be ones that it has no right to.
        (c"default_tablespace", c""),
        (c"default_table_access_method", c"heap"),
    ];
    if own_timeout != Ok(Some(true)) {
        settings.push((c"lock_timeout", LOCK_TIMEOUT));
    }
    with_settings(&settings, || as_extension_owner(work))
}

/// Runs wait for one another; readers and writers do not notice.
fn one_at_a_time() -> Result<()> {
    Spi::run("LOCK TABLE audit.event IN SHARE UPDATE EXCLUSIVE MODE")?;
    Ok(())
}

fn make_month(missing: &Missing) -> Result<()> {
    if missing.warn_if_in_the_way() {
        return Ok(());
    }
    let month = &*missing.month;
    let command = |query: &str| run_each(query, &[month.into()]).map_err(Error::from);
    command(
        "SELECT format('CREATE TABLE audit.%I (LIKE audit.event_default INCLUDING ALL)', 'event_' || $1)",
    )?;
    command(
        "SELECT format('COMMENT ON TABLE audit.%I IS %L', 'event_' || $1,
                       'Events of ' || to_char(to_date($1, 'YYYY_MM'), 'FMMonth YYYY') || ' (UTC)')",
    )?;
    // Default privileges may have granted something.
    command(
        "SELECT DISTINCT format('REVOKE ALL ON audit.%I FROM %s', c.relname,
                                CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
         FROM pg_class c, aclexplode(c.relacl) a
         WHERE c.oid = format('audit.%I', 'event_' || $1)::regclass AND a.grantee <> c.relowner",
    )?;
    let partition = own_table(&CString::new(format!("event_{month}")).unwrap_or_default())?;
    triggers::guard_partition(partition)?;
    lock_catch_all(month)?;
    event_move::move_events(own_table(c"event_default")?, partition, times_of(month)?)?;
    command(
        "SELECT format('ALTER TABLE audit.event ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)', 'event_' || $1,
                       to_date($1, 'YYYY_MM')::timestamp AT TIME ZONE 'UTC',
                       (to_date($1, 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC')",
    )
}

/// When the month begins and when the next one does.
fn times_of(month: &str) -> Result<Range<i64>> {
    let (start, end) = Spi::get_two_with_args::<TimestampWithTimeZone, TimestampWithTimeZone>(
        "SELECT to_date($1, 'YYYY_MM')::timestamptz, (to_date($1, 'YYYY_MM') + interval '1 month')::timestamptz",
        &[month.into()],
    )?;
    let micros = |time: Option<TimestampWithTimeZone>| time.map(pg_sys::TimestampTz::from);
    Ok(micros(start).unwrap_or_default()..micros(end).unwrap_or_default())
}

/// Locks the catch-all, so that writers of this month wait. Where it holds events of the month, readers of the log have to wait
/// before they plan their query, too: planned with the partitions of before and executed afterwards, it would miss
/// what was moved. While it waits for one of the two locks it holds none of the other, or whoever reads and writes would
/// make a deadlock of it.
fn lock_catch_all(month: &str) -> Result<()> {
    let (log, catch_all) = (own_table(c"event")?, own_table(c"event_default")?);
    let begun = Instant::now();
    loop {
        locks::wait_for(catch_all);
        if !catch_all_holds(month) || locks::try_lock(log) {
            return Ok(());
        }
        locks::release(catch_all);
        locks::wait_for(log);
        if locks::try_lock(catch_all) {
            return Ok(());
        }
        locks::release(log);
        if locks::timeout().is_some_and(|timeout| begun.elapsed() > timeout) {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
                "readers and writers of the log leave no moment to move events out of audit.event_default",
            )
            .hint("Nothing is lost: call audit.maintain() again at a quieter time, or with a longer lock_timeout."));
        }
    }
}

fn own_table(name: &CStr) -> Result<pg_sys::Oid> {
    catalog::own_table(name).ok_or_else(|| {
        Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("there is no table audit.{}", name.to_string_lossy()),
        )
        .hint("Install the extension again.")
    })
}

fn catch_all_holds(month: &str) -> bool {
    const HOLDS: &CStr = c"
        SELECT FROM audit.event_default WHERE occurred_at >= to_date($1, 'YYYY_MM')::timestamptz
        AND occurred_at < (to_date($1, 'YYYY_MM') + interval '1 month')::timestamptz LIMIT 1";
    let mut holds = false;
    let month = Text::new(month.as_bytes());
    // What writers committed while it waited for them, too, whatever the isolation level.
    query::read_at(&Snapshot::latest(), HOLDS, &[Parameter::Text(Some(&month))], |_| holds = true);
    holds
}
