//! Following the application's DDL: a renamed column keeps its setting, a needed one cannot be dropped.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::fits::{self, Fit};
use crate::own;
use crate::pg::catalog;
use crate::pg::ddl_command::Change;
use crate::pg::locks;
use crate::pg::row::{OpenRelation, TriggerInfo};
use crate::pg::session;
use crate::tracking::{Kind, Tracking};
use crate::trail_tracking::tell_of;
use crate::triggers;
use crate::unresolved::{Problem, Unresolved};

/// Called after each DDL command: brings the settings of the tables it changed up to date.
///
/// It reads the relation cache without locks, and acts only on what this transaction has locked for DDL: others'
/// tables are others' business, and waiting for them would deadlock migrations and parallel restores.
pub fn follow(change: &Change) -> Result<()> {
    if change.brings_triggers {
        refuse_foreign_triggers()?;
    }
    // Only then: a restore makes each partition's triggers itself.
    for partition in brought(change) {
        match catalog::parent_of(partition) == catalog::own_table(c"event") {
            true => guard_new_partition(partition)?,
            false => triggers::complete(partition)?,
        }
    }
    for table in change.detached.iter().flat_map(|name| triggers::detached_by_command(name)) {
        triggers::drop_stray(table)?;
    }
    let functions = if change.of_meaning { Some(altered_functions()?) } else { None };
    follow_altered(change.takes_away, functions.as_deref())
}

/// The partitions that the command made or attached. Others' are others' business.
fn brought(change: &Change) -> Vec<pg_sys::Oid> {
    match &change.attached {
        Some(name) => triggers::attached_by_command(name),
        None if change.makes_partitions => triggers::made_by_command(),
        None => Vec::new(),
    }
}

/// A partition of the log that a superuser made or brought back gets what `audit.maintain` gives its own. A restore makes
/// that itself.
fn guard_new_partition(partition: pg_sys::Oid) -> Result<()> {
    match session::is_restore() {
        true => Ok(()),
        false => triggers::guard_partition(partition),
    }
}

/// The functions that the event trigger's command made anew or altered.
fn altered_functions() -> Result<Vec<pg_sys::Oid>> {
    altered("pg_catalog.pg_proc")
}

/// The types that it altered; not composite ones.
pub fn altered_types() -> Result<Vec<pg_sys::Oid>> {
    altered("pg_catalog.pg_type")
}

fn altered(catalogue: &str) -> Result<Vec<pg_sys::Oid>> {
    let objects = Spi::get_one_with_args::<Vec<pg_sys::Oid>>(
        "SELECT pg_catalog.array_agg(DISTINCT objid) FROM pg_catalog.pg_event_trigger_ddl_commands()
         WHERE classid = $1::pg_catalog.regclass",
        &[catalogue.into()],
    )?;
    Ok(objects.unwrap_or_default())
}

/// Brings the settings of the tables that this transaction is altering, or that lead through them, up to date, or
/// refuses what breaks them. `takes_away`: columns or constraints may be gone, so that a path that leads nowhere is this
/// command's doing, and not that of a restore, which makes foreign keys last. `of_meaning`: functions, types or operators
/// may be others than before, so that conditions have to be looked at; the functions that certainly are.
pub fn follow_altered(takes_away: bool, of_meaning: Option<&[pg_sys::Oid]>) -> Result<()> {
    let Some(function) = catalog::capture_function() else {
        return Ok(());
    };
    let fits =
        |fit: &Fit| !(takes_away && fit.awaits_foreign_key || of_meaning.is_some() && fit.has_conditions);
    for table in triggers::tables(function) {
        if fits::is_known(table, fits) {
            continue;
        }
        let changes = fits::changes();
        if let Some(fit) = follow_table(table, function, takes_away, of_meaning)? {
            fits::remember(table, fit, changes);
        }
    }
    Ok(())
}

/// Does so for one table. `None` where its settings do not fit it, for which somebody else has to care.
fn follow_table(
    table: pg_sys::Oid,
    function: pg_sys::Oid,
    takes_away: bool,
    of_meaning: Option<&[pg_sys::Oid]>,
) -> Result<Option<Fit>> {
    // Nobody else may drop it meanwhile. Whoever alters it does this himself.
    let Some(_lock) = locks::shared_at_once(table) else { return Ok(None) };
    let Some(open) = OpenRelation::peek(table) else { return Ok(None) };
    let ours = open.relation().triggers(function);
    let columns = open.relation().attributes();
    let primary_key = open.relation().primary_key();
    let (altered, permanent) = (open.is_being_altered(), open.relation().is_permanent());
    drop(open);
    if altered {
        check_table(table, &ours, permanent)?;
    }
    let mut fit = Some(Fit::default());
    for trigger in ours.iter().filter(|trigger| !trigger.is_clone) {
        // A damaged argument is told by the next write, which it makes fail.
        let Some(tracking) = trigger.argument.as_ref().and_then(|json| Tracking::parse(json).ok()) else {
            continue;
        };
        let resolved = tracking.resolved(table, &columns, &primary_key);
        if trigger.for_row
            && (altered || of_meaning.is_some())
            && let Ok(resolved) = &resolved
        {
            let called =
                resolved.understands_conditions(table).map_err(|unresolved| refused(table, &unresolved))?;
            for function in of_meaning.unwrap_or_default().iter().filter(|function| called.contains(function))
            {
                let name = catalog::shown_function(*function);
                let reason = format!("{name}, which a condition calls, was replaced or altered");
                let table = catalog::qualified_name(table);
                tell_of(&table, resolved, "audit.tracking.changed", reason)?;
            }
        }
        let along = tracking.along(table, &columns);
        let mut awaits_foreign_key = false;
        match resolved {
            Ok(resolved) if resolved == tracking => {}
            Ok(resolved) if along.iter().any(|table| is_being_altered(*table)) => {
                bring_up_to_date(table, trigger, &resolved)?;
                if trigger.for_row {
                    own::tell_tracking(table, Some(&tracking), Some(&resolved))?;
                }
                fit = None;
            }
            Err(unresolved) if !takes_away && unresolved.problem.awaits_foreign_key(table) => {
                awaits_foreign_key = true;
            }
            // A restore with --clean takes foreign keys away before the tables, and makes all of it again.
            Err(unresolved)
                if (altered || is_being_altered(unresolved.problem.table())) && !session::is_restore() =>
            {
                return Err(refused(table, &unresolved));
            }
            _ => fit = None,
        }
        if let Some(fit) = &mut fit {
            fit.along.extend(along);
            fit.awaits_foreign_key |= awaits_foreign_key;
            fit.has_conditions |= tracking.rules.iter().any(|rule| rule.condition.is_some());
        }
    }
    Ok(fit)
}

/// Whether this transaction has locked the table as DDL does.
pub fn is_being_altered(table: pg_sys::Oid) -> bool {
    OpenRelation::peek(table).is_some_and(|open| open.is_being_altered())
}

/// Triggers with the extension's function are made by `audit.track`, which checks their settings, and by a
/// superuser's restore.
fn refuse_foreign_triggers() -> Result<()> {
    let foreign = Spi::get_one::<bool>(
        "SELECT NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
            AND EXISTS (SELECT FROM pg_catalog.pg_event_trigger_ddl_commands() c
                        JOIN pg_catalog.pg_trigger t ON t.oid = c.objid
                        JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
                        JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
                        WHERE c.classid = 'pg_catalog.pg_trigger'::regclass AND c.command_tag = 'CREATE TRIGGER'
                          AND n.nspname = 'audit')",
    )?;
    if foreign == Some(true) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "only audit.track makes triggers with the audit system's functions",
        )
        .hint("Call audit.track, as the table's owner and a member of audit_admin."));
    }
    Ok(())
}

/// What a tracked table may not become.
fn check_table(table: pg_sys::Oid, triggers: &[TriggerInfo], permanent: bool) -> Result<()> {
    let name = || catalog::shown_name(table);
    if !permanent && !triggers.is_empty() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!("table {} is tracked, so it cannot become unlogged", name()),
        )
        .hint("A crash would empty it without an event. Call audit.untrack first."));
    }
    if let Some(misnamed) = triggers.iter().find(|trigger| Kind::of(trigger).name() != trigger.name) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            format!(
                "trigger \"{}\" of table {} has to be called \"{}\"",
                misnamed.name,
                name(),
                Kind::of(misnamed).name()
            ),
        )
        .hint(
            "audit.track makes the audit system's triggers, and their names make them run before others.",
        ));
    }
    Ok(())
}

fn refused(table: pg_sys::Oid, unresolved: &Unresolved) -> Error {
    let table = catalog::shown_name(table);
    let what = match unresolved.problem {
        Problem::Condition { .. } => "would no longer understand its",
        _ => "would lose its",
    };
    Error::new(
        PgSqlErrorCode::ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
        format!("the audit of {table} {what} {}", unresolved.argument),
    )
    .detail(unresolved.detail().map_or(format!("{unresolved}."), |more| format!("{unresolved}. {more}")))
    .hint("Call audit.track with other settings first, or audit.untrack.")
}

fn bring_up_to_date(table: pg_sys::Oid, trigger: &TriggerInfo, resolved: &Tracking) -> Result<()> {
    let (able, mode) = match trigger.enabled {
        b'A' => ("ENABLE", "ALWAYS"),
        b'R' => ("ENABLE", "REPLICA"),
        b'D' => ("DISABLE", ""),
        _ => ("ENABLE", ""),
    };
    triggers::make(table, Kind::of(trigger), &resolved.to_argument(), able, mode)
}
