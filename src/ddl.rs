//! Following the application's DDL: a renamed column keeps its setting, a needed one cannot be dropped.

use std::cell::Cell;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::ddl_command::PartitionChange;
use crate::pg::row::OpenRelation;
use crate::tracking::Tracking;
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

/// Called when DDL has changed a table or a type: brings every trigger's settings up to date.
///
/// All tables, since a change may cascade (a typed table's type); DDL is rare enough. Each trigger by itself,
/// since a restore makes them one after another.
pub fn follow(change: PartitionChange) -> Result<()> {
    if QUIET.get() {
        return Ok(());
    }
    // Only then: a restore makes each partition's triggers itself.
    if change.attached {
        track::add_statement_triggers(None)?;
    }
    if change.detached {
        track::drop_stray_triggers()?;
    }
    for trigger in triggers()? {
        // A damaged argument is told by the next write, which it makes fail.
        if let Ok(tracking) = Tracking::from_catalogue(&trigger.argument) {
            trigger.follow(&tracking)?;
        }
    }
    Ok(())
}

/// A trigger of a tracked table, not of its partitions.
struct Trigger {
    table: pg_sys::Oid,
    name: String,
    argument: Vec<u8>,
    enabled: String,
}

fn triggers() -> Result<Vec<Trigger>> {
    let triggers = Spi::connect(|client| {
        let rows = client.select(
            "SELECT tgrelid, tgname::text, tgargs, tgenabled::text FROM pg_catalog.pg_trigger
             WHERE tgfoid = 'audit.capture()'::regprocedure AND tgparentid = 0
             ORDER BY tgrelid, tgname",
            None,
            &[],
        )?;
        let mut triggers = Vec::new();
        for row in rows {
            if let (Some(table), Some(name), Some(argument), Some(enabled)) =
                (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)
            {
                triggers.push(Trigger { table, name, argument, enabled });
            }
        }
        Ok::<_, pgrx::spi::SpiError>(triggers)
    })?;
    Ok(triggers)
}

impl Trigger {
    fn follow(&self, tracking: &Tracking) -> Result<()> {
        let columns = OpenRelation::open(self.table).relation().attributes();
        let resolved = tracking.resolved(self.table, &columns).map_err(|unresolved| {
            let table = catalog::to_utf8(&catalog::qualified_name(self.table));
            Error::new(
                PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
                format!("the audit of {table} would lose its {}", unresolved.argument),
            )
            .detail(unresolved.to_string())
            .hint("Call audit.track with other settings first, or audit.untrack.")
        })?;
        if resolved == *tracking {
            return Ok(());
        }
        let (able, mode) = match &*self.enabled {
            "A" => ("ENABLE", "ALWAYS"),
            "R" => ("ENABLE", "REPLICA"),
            "D" => ("DISABLE", ""),
            _ => ("ENABLE", ""),
        };
        track::make_trigger(self.table, &self.name, &resolved.to_argument(), able, mode)
    }
}
