//! Following the application's DDL: a renamed column keeps its setting, a needed one cannot be dropped.

use std::cell::Cell;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::row::OpenRelation;
use crate::tracking::{ROW_TRIGGER, Tracking};
use crate::{pg::catalog, track};

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` without following the DDL it does itself.
fn quietly<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            QUIET.set(self.0);
        }
    }
    let _restore = Restore(QUIET.replace(true));
    work()
}

/// Runs the commands that `query` puts together, one a row, without following them.
pub fn run_ddl(query: &str, arguments: &[DatumWithOid<'_>]) -> Result<()> {
    let commands = Spi::connect(|client| {
        let mut commands = Vec::new();
        for row in client.select(query, None, arguments)? {
            commands.extend(row.get::<String>(1)?);
        }
        Ok::<_, pgrx::spi::SpiError>(commands)
    })?;
    quietly(|| commands.iter().try_for_each(|command| Spi::run(command)))?;
    Ok(())
}

/// Called when DDL has changed a table or a type: brings every table's settings up to date.
///
/// All tables, since a change may cascade (a typed table's type); DDL is rare enough.
pub fn follow() -> Result<()> {
    if QUIET.get() {
        return Ok(());
    }
    let tracked = Spi::connect(|client| {
        let rows = client.select(
            "SELECT t.tgrelid, t.tgargs FROM pg_catalog.pg_trigger t
             WHERE t.tgfoid = 'audit.capture()'::regprocedure AND t.tgname = $1 AND t.tgparentid = 0
             ORDER BY t.tgrelid",
            None,
            &[ROW_TRIGGER.into()],
        )?;
        let mut tracked = Vec::new();
        for row in rows {
            if let (Some(target), Some(argument)) = (row.get::<pg_sys::Oid>(1)?, row.get::<Vec<u8>>(2)?) {
                tracked.push((target, argument));
            }
        }
        Ok::<_, pgrx::spi::SpiError>(tracked)
    })?;
    for (target, argument) in tracked {
        // A damaged argument is told by the next write, which it makes fail.
        if let Ok(tracking) = Tracking::parse(argument.strip_suffix(b"\0").unwrap_or(&argument)) {
            follow_table(target, &tracking)?;
        }
    }
    Ok(())
}

fn follow_table(target: pg_sys::Oid, tracking: &Tracking) -> Result<()> {
    let columns = OpenRelation::open(target).relation().attributes();
    let resolved = tracking.resolved(&columns).map_err(|missing| {
        let table = catalog::to_utf8(&catalog::qualified_name(target));
        Error::new(
            PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            format!("the audit of {table} needs column \"{}\" as its {}", missing.column, missing.argument),
        )
        .hint("Call audit.track with other settings first, or audit.untrack.")
    })?;
    if resolved != *tracking {
        track::apply(target, &resolved)?;
    }
    Ok(())
}
