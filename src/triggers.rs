//! The triggers of tracked tables: made, replaced and dropped with the extension owner's rights.

use std::collections::BTreeMap;
use std::ffi::CStr;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::catalog;
use crate::pg::command::run_each;
use crate::pg::lookup::with_partitions;
use crate::pg::query::{self, Parameter};
use crate::pg::row::OpenRelation;
use crate::pg::scope::as_extension_owner;
use crate::pg::session;
use crate::pg::trigger_scan;
use crate::track::does_not_fit;
use crate::tracking::{Kind, Tracking, triggers_of};

/// The tables that have a trigger with this function, the extension's, which they did not get from another.
pub fn tables(function: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let own = trigger_scan::of_functions(&[function], None).into_iter().filter(|trigger| !trigger.is_clone);
    let mut tables: Vec<_> = own.map(|trigger| trigger.table).collect();
    tables.sort_by_key(|table| table.to_u32());
    tables.dedup();
    tables
}

/// Makes or replaces the table's triggers, so that they carry these settings.
pub fn apply(target: pg_sys::Oid, tracking: &Tracking) -> Result<()> {
    let argument = tracking.to_argument();
    make(target, Kind::Row, &argument, "ENABLE", tracking.mode())?;
    // Now, since the row trigger locked all partitions: nobody can add one any more.
    let tree = tree(target);
    refuse_foreign_partitions(&tree)?;
    make(target, Kind::Truncate, &argument, "ENABLE", tracking.mode())?;
    add_statement_triggers(&tree)
}

/// Gives what became a partition of a tracked table, and what is below it, the triggers that it did not inherit. The command
/// that made it one has locked it all.
pub fn complete(partition: pg_sys::Oid) -> Result<()> {
    if !triggers_of(partition).iter().any(|trigger| trigger.for_row && trigger.is_clone) {
        return Ok(());
    }
    let tree = tree(partition);
    refuse_foreign_partitions(&tree)?;
    add_statement_triggers(&tree)
}

/// The table with its partitions, which are locked already. Other tables' children are tables of their own.
fn tree(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    match catalog::kind(table) {
        b'p' => with_partitions(table),
        _ => vec![table],
    }
}

/// The partitions that the event trigger's command made.
pub fn made_by_command() -> Vec<pg_sys::Oid> {
    let made = of_command(false).into_iter();
    made.filter(|table| catalog::parent_of(*table).is_some()).collect()
}

/// The partition of this name that the event trigger's command attached.
pub fn attached_by_command(name: &[u8]) -> Vec<pg_sys::Oid> {
    let altered = of_command(true);
    let is_in_one = |table| catalog::parent_of(table).is_some_and(|parent| altered.contains(&parent));
    altered_of_name(name).filter(|table| is_in_one(*table)).collect()
}

/// The table of this name that the event trigger's command detached from a tracked one.
pub fn detached_by_command(name: &[u8]) -> Vec<pg_sys::Oid> {
    let is_tracked = |table: pg_sys::Oid| triggers_of(table).iter().any(|trigger| trigger.for_row);
    if !of_command(true).into_iter().any(is_tracked) {
        return Vec::new();
    }
    altered_of_name(name).filter(|table| catalog::parent_of(*table).is_none()).collect()
}

/// The tables that the event trigger's command altered, or that it made.
fn of_command(altered: bool) -> Vec<pg_sys::Oid> {
    const TABLES: &CStr = c"
        SELECT objid FROM pg_event_trigger_ddl_commands()
        WHERE classid = 'pg_class'::regclass AND (command_tag = 'ALTER TABLE') = $1";
    let mut tables = Vec::new();
    query::read_now(TABLES, &[Parameter::Boolean(altered)], |row| tables.push(row.oid(1)));
    tables
}

/// A name is enough, since nobody else's table of that name is locked by this command.
fn altered_of_name(name: &[u8]) -> impl Iterator<Item = pg_sys::Oid> {
    catalog::relations_named(name).into_iter().filter(|table| session::has_locked(*table))
}

/// Refuses a foreign table among tracked tables and their partitions.
fn refuse_foreign_partitions(tables: &[pg_sys::Oid]) -> Result<()> {
    let Some(foreign) = tables.iter().find(|table| catalog::kind(**table) == b'f') else { return Ok(()) };
    let carries = |table: &pg_sys::Oid| triggers_of(*table).iter().any(|t| t.for_row && !t.is_clone);
    let tracked = catalog::ancestors(*foreign).find(carries).unwrap_or(*foreign);
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        format!(
            "{} is a foreign table, which cannot be a partition of tracked table {}",
            catalog::shown_name(*foreign),
            catalog::shown_name(tracked)
        ),
    )
    .detail("PostgreSQL has no triggers for TRUNCATE of foreign tables, so it would leave no event.")
    .hint(
        "Keep these rows in an ordinary table, or track the table on its own server and leave it detached.",
    ))
}

/// Makes the statement triggers of partitions and partitioned tables anew, which PostgreSQL does not inherit as it does the
/// row trigger: that one has the settings.
fn add_statement_triggers(tables: &[pg_sys::Oid]) -> Result<()> {
    for &table in tables {
        let triggers = triggers_of(table);
        let Some(tracking) = Tracking::carried_by(&triggers) else { continue };
        if catalog::kind(table) == b'p' {
            make(table, Kind::End, "", "ENABLE", tracking.mode())?;
        }
        if triggers.iter().any(|trigger| trigger.for_row && trigger.is_clone) {
            // Names are the same in partitions, numbers are not.
            let (columns, primary_key) = {
                let open = OpenRelation::open(table);
                (open.relation().attributes(), open.relation().primary_key())
            };
            let own = Tracking { attnums: BTreeMap::new(), keyed: false, ..tracking }
                .resolved(table, &columns, &primary_key)
                .map_err(|unresolved| does_not_fit(&unresolved))?;
            make(table, Kind::Truncate, &own.to_argument(), "ENABLE", own.mode())?;
        }
    }
    Ok(())
}

/// Drops the statement triggers at and below `table` that are left of a row trigger, whose end has locked them. What is left
/// elsewhere is somebody else's.
pub fn drop_stray(table: pg_sys::Oid) -> Result<()> {
    let Some(function) = catalog::capture_function() else { return Ok(()) };
    let is_below = |stray| stray == table || catalog::ancestors(stray).any(|above| above == table);
    for stray in tables(function).into_iter().filter(|stray| session::has_locked(*stray) && is_below(*stray))
    {
        let triggers = triggers_of(stray);
        if triggers.iter().any(|trigger| trigger.for_row) {
            continue;
        }
        for trigger in triggers {
            run_as_owner(
                "SELECT format('DROP TRIGGER %I ON %s', $2, $1::regclass)",
                &[stray.into(), trigger.name.into()],
            )?;
        }
    }
    Ok(())
}

/// Makes or replaces one trigger, as `ALTER TABLE … <able> <mode> TRIGGER` says.
pub fn make(target: pg_sys::Oid, kind: Kind, argument: &str, able: &str, mode: &str) -> Result<()> {
    let (events, level) = match kind {
        Kind::Row => ("INSERT OR UPDATE OR DELETE", "ROW"),
        Kind::Truncate => ("TRUNCATE", "STATEMENT"),
        Kind::End => ("UPDATE", "STATEMENT"),
    };
    run_as_owner(
        "SELECT format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION audit.capture(%s)',
                       $1, $2, $3::regclass, $4, CASE WHEN $5 <> '' THEN quote_literal($5) ELSE '' END)",
        &[kind.name().into(), events.into(), target.into(), level.into(), argument.into()],
    )?;
    enable(target, kind.name(), able, mode)
}

/// `ALTER TABLE … <able> <mode> TRIGGER`.
pub fn enable(table: pg_sys::Oid, trigger: &str, able: &str, mode: &str) -> Result<()> {
    run_as_owner(
        "SELECT format('ALTER TABLE %s %s %s TRIGGER %I', $1::regclass, $2, $3, $4)",
        &[table.into(), able.into(), mode.into(), trigger.into()],
    )
}

/// Gives a partition of the log what PostgreSQL does not: row-level security without a policy, and the statement guard. The
/// row guard it copies.
pub fn guard_partition(table: pg_sys::Oid) -> Result<()> {
    const GUARD: &str = "!audit_statement_guard";
    run_as_owner("SELECT format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', $1::regclass)", &[table.into()])?;
    run_as_owner(
        "SELECT format('CREATE OR REPLACE TRIGGER %I BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
                        FOR EACH STATEMENT EXECUTE FUNCTION audit.guard()', $2, $1::regclass)",
        &[table.into(), GUARD.into()],
    )?;
    enable(table, GUARD, "ENABLE", "ALWAYS")
}

/// Runs the commands that `query` puts together, one a row, with the extension owner's rights.
pub fn run_as_owner(query: &str, arguments: &[DatumWithOid<'_>]) -> Result<()> {
    Ok(as_extension_owner(|| run_each(query, arguments))?)
}
