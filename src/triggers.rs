//! The triggers of tracked tables: made, replaced and dropped with the extension owner's rights.

use std::collections::BTreeMap;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::ddl::is_being_altered;
use crate::error::{Error, Result};
use crate::pg::catalog;
use crate::pg::command::run_each;
use crate::pg::row::OpenRelation;
use crate::pg::scope::as_extension_owner;
use crate::pg::trigger_scan;
use crate::track::does_not_fit;
use crate::tracking::{Kind, Tracking};

/// The tables that have a trigger with this function, the extension's, which they did not get from another.
pub fn tables(function: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    let own = trigger_scan::of_functions(&[function], None).into_iter().filter(|trigger| !trigger.is_clone);
    let mut tables: Vec<_> = own.map(|trigger| trigger.table).collect();
    tables.sort_by_key(|table| table.to_u32());
    tables.dedup();
    tables
}

/// The partitions of the log.
pub fn partitions_of_the_log() -> Result<Vec<pg_sys::Oid>> {
    let Some(log) = catalog::own_table(c"event") else { return Ok(Vec::new()) };
    let oids = Spi::connect(|client| {
        let mut oids = Vec::new();
        let query = "SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent OPERATOR(pg_catalog.=) $1 ORDER BY inhrelid";
        for row in client.select(query, None, &[log.into()])? {
            oids.extend(row.get::<pg_sys::Oid>(1)?);
        }
        Ok::<_, pgrx::spi::SpiError>(oids)
    })?;
    Ok(oids)
}

/// Makes or replaces the table's triggers, so that they carry these settings.
pub fn apply(target: pg_sys::Oid, tracking: &Tracking) -> Result<()> {
    let argument = tracking.to_argument();
    make(target, Kind::Row, &argument, "ENABLE", tracking.mode())?;
    // Now, since the row trigger locked all partitions: nobody can add one any more.
    refuse_foreign_partitions(vec![target])?;
    make(target, Kind::Truncate, &argument, "ENABLE", tracking.mode())?;
    add_statement_triggers(Some(target))
}

/// The foreign tables that the event trigger's command made, and the table it attached: what it brought, in contrast
/// to what was there before.
pub fn brought_by_command(attached_name: &[u8]) -> Result<Vec<pg_sys::Oid>> {
    let brought = Spi::connect(|client| {
        // A name is enough, since nobody else's table of that name is locked by this command.
        let rows = client.select(
            "SELECT c.objid, false FROM pg_catalog.pg_event_trigger_ddl_commands() c
             WHERE c.classid = 'pg_catalog.pg_class'::regclass AND c.command_tag = 'CREATE FOREIGN TABLE'
             UNION ALL
             SELECT a.oid, true FROM pg_catalog.pg_event_trigger_ddl_commands() c
             JOIN pg_catalog.pg_inherits i ON i.inhparent = c.objid
             JOIN pg_catalog.pg_class a ON a.oid = i.inhrelid
             WHERE c.classid = 'pg_catalog.pg_class'::regclass AND c.command_tag = 'ALTER TABLE'
               AND pg_catalog.convert_to(a.relname::text, pg_catalog.getdatabaseencoding()) = $1",
            None,
            &[attached_name.to_vec().into()],
        )?;
        let mut brought = Vec::new();
        for row in rows {
            if let (Some(table), Some(attached)) = (row.get::<pg_sys::Oid>(1)?, row.get::<bool>(2)?) {
                brought.push((table, attached));
            }
        }
        Ok::<_, pgrx::spi::SpiError>(brought)
    })?;
    Ok(brought
        .into_iter()
        .filter(|(table, attached)| !attached || is_being_altered(*table))
        .map(|(table, _)| table)
        .collect())
}

/// Refuses a foreign table at or below `tables` that is a partition of a tracked table.
pub fn refuse_foreign_partitions(tables: Vec<pg_sys::Oid>) -> Result<()> {
    let found = as_extension_owner(|| {
        Spi::get_two_with_args::<pg_sys::Oid, pg_sys::Oid>(
            "SELECT c.oid, r.tgrelid
             FROM pg_catalog.unnest($1) t (root)
             CROSS JOIN LATERAL pg_catalog.pg_partition_tree(t.root) p
             JOIN pg_catalog.pg_class c ON c.oid = p.relid AND c.relkind = 'f'
             CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(c.oid) a
             JOIN pg_catalog.pg_trigger r ON r.tgrelid = a.relid
             WHERE r.tgname = $2 AND r.tgparentid = 0 AND r.tgfoid = 'audit.capture()'::regprocedure
             UNION ALL SELECT NULL, NULL LIMIT 1",
            &[tables.into(), Kind::Row.name().into()],
        )
    })?;
    let (Some(foreign), Some(tracked)) = found else { return Ok(()) };
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        format!(
            "{} is a foreign table, which cannot be a partition of tracked table {}",
            catalog::shown_name(foreign),
            catalog::shown_name(tracked)
        ),
    )
    .detail("PostgreSQL has no triggers for TRUNCATE of foreign tables, so it would leave no event.")
    .hint(
        "Keep these rows in an ordinary table, or track the table on its own server and leave it detached.",
    ))
}

/// Makes the statement triggers of partitions, which PostgreSQL does not inherit as it does row triggers: all of
/// `target`'s anew, or those that are missing anywhere. A foreign table has none: `audit.tracked_table` tells that one
/// was made a partition behind the event trigger's back, and nobody else's DDL is refused for it.
pub fn add_statement_triggers(target: Option<pg_sys::Oid>) -> Result<()> {
    let wanted = as_extension_owner(|| {
        Spi::connect(|client| {
            let rows = client.select(
                "SELECT p.relid, t.on_truncate, r.tgargs
                 FROM pg_catalog.pg_trigger r
                 JOIN pg_catalog.pg_class root ON root.oid = r.tgrelid AND root.relkind = 'p'
                 CROSS JOIN LATERAL pg_catalog.pg_partition_tree(r.tgrelid) p
                 JOIN pg_catalog.pg_class c ON c.oid = p.relid
                 CROSS JOIN LATERAL (VALUES ($1, true, p.level > 0 AND c.relkind <> 'f'), ($2, false, c.relkind = 'p'))
                     t (name, on_truncate, wanted)
                 WHERE r.tgname = $3 AND r.tgparentid = 0 AND r.tgfoid = 'audit.capture()'::regprocedure AND t.wanted
                   AND CASE WHEN $4 IS NOT NULL THEN r.tgrelid = $4
                            ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger x
                                             WHERE x.tgrelid = p.relid AND x.tgname = t.name AND x.tgfoid = r.tgfoid) END
                 ORDER BY p.relid, t.name",
                None,
                &[
                    Kind::Truncate.name().into(),
                    Kind::End.name().into(),
                    Kind::Row.name().into(),
                    target.into(),
                ],
            )?;
            let mut wanted = Vec::new();
            for row in rows {
                if let (Some(table), Some(on_truncate), Some(argument)) =
                    (row.get::<pg_sys::Oid>(1)?, row.get::<bool>(2)?, row.get::<Vec<u8>>(3)?)
                {
                    wanted.push((table, on_truncate, argument));
                }
            }
            Ok::<_, pgrx::spi::SpiError>(wanted)
        })
    })?;
    for (table, on_truncate, argument) in wanted {
        let Ok(tracking) = Tracking::parse(argument.strip_suffix(b"\0").unwrap_or(&argument)) else {
            continue;
        };
        if !on_truncate {
            make(table, Kind::End, "", "ENABLE", tracking.mode())?;
            continue;
        }
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
    Ok(())
}

/// Drops the statement triggers of what is no partition of a tracked table any more.
pub fn drop_stray() -> Result<()> {
    run_as_owner(
        "SELECT format('DROP TRIGGER %I ON %s', s.tgname, s.tgrelid::regclass)
         FROM pg_catalog.pg_trigger s
         WHERE s.tgfoid = 'audit.capture()'::regprocedure AND s.tgname IN ($1, $2)
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger r
                           WHERE r.tgrelid = s.tgrelid AND r.tgname = $3 AND r.tgfoid = s.tgfoid)",
        &[Kind::Truncate.name().into(), Kind::End.name().into(), Kind::Row.name().into()],
    )
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
