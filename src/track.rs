//! `audit.track` and `audit.untrack`: what is checked, and the triggers they make.

use std::collections::BTreeMap;

use pgrx::datum::DatumWithOid;
use pgrx::prelude::*;
use pgrx::{JsonB, pg_sys};

use crate::ddl::run_ddl;
use crate::error::{Error, Result};
use crate::pg::row::{Attribute, OpenRelation, Operation};
use crate::pg::scope::as_extension_owner;
use crate::record::check_action;
use crate::tracking::{END_TRIGGER, Problem, ROW_TRIGGER, TRUNCATE_TRIGGER, Tracking, Unresolved};

/// The arguments of `audit.track`.
pub struct Arguments {
    /// The table.
    pub target: Option<pg_sys::Oid>,
    /// What kind of resource it holds.
    pub resource_type: Option<String>,
    /// The columns of the resource's id.
    pub resource_id: Option<Vec<Option<String>>>,
    /// The column of the organisation.
    pub organisation_id: Option<String>,
    /// The column of the project.
    pub project_id: Option<String>,
    /// Action names by operation.
    pub actions: Option<JsonB>,
    /// Columns never stored.
    pub exclude: Option<Vec<Option<String>>>,
    /// Columns stored as `[masked]`.
    pub mask: Option<Vec<Option<String>>>,
    /// Columns with a person's data.
    pub personal: Option<Vec<Option<String>>>,
    /// Whether rows that replication applies are tracked too.
    pub on_replica: Option<bool>,
}

/// Tracks a table, or replaces its settings.
pub fn track(arguments: Arguments) -> Result<()> {
    let target = required(arguments.target, "target", "Name the table, such as 'public.datasource'.")?;
    let table = Table::locked(target)?;
    table.check_trackable()?;
    let given = Tracking {
        resource_type: required(
            arguments.resource_type,
            "resource_type",
            "Name what the table's rows are, such as 'datasource'.",
        )?,
        resource_id: arguments.resource_id.map(resource_id).transpose()?,
        organisation_id: arguments.organisation_id,
        project_id: arguments.project_id,
        actions: actions(arguments.actions)?,
        exclude: names(arguments.exclude.unwrap_or_default(), "exclude")?,
        mask: names(arguments.mask.unwrap_or_default(), "mask")?,
        personal: names(arguments.personal.unwrap_or_default(), "personal")?,
        on_replica: arguments.on_replica.unwrap_or(false),
        attnums: BTreeMap::new(),
    };
    let columns = table.columns();
    let tracking = given.resolved(target, &columns).map_err(|unresolved| does_not_fit(&unresolved))?;
    // A misspelt mask would store the secret.
    if let Some((argument, column)) =
        given.named_columns().find(|(_, column)| !tracking.attnums.contains_key(*column))
    {
        let problem = Problem::NoColumn { table: target, column: column.to_owned() };
        return Err(does_not_fit(&Unresolved { argument, problem }));
    }
    check_columns(&tracking, &columns, &table)?;
    check_actions(&tracking)?;
    if let Some(previous) = settings(target)? {
        tell_changes(&table, &previous, &tracking);
    }
    apply(target, &tracking)?;
    add_to_catalogue(&tracking)
}

/// Stops tracking a table. Its events stay.
pub fn untrack(target: Option<pg_sys::Oid>) -> Result<()> {
    let target = required(target, "target", "Name the table, such as 'public.datasource'.")?;
    let table = Table::locked(target)?;
    if settings(target)?.is_none() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("table {} is not tracked", table.name),
        )
        .hint("SELECT target FROM audit.tracked_table lists the tables that are."));
    }
    run_as_owner(
        "SELECT format('DROP TRIGGER %I ON %s', $1, $2::regclass)",
        &[ROW_TRIGGER.into(), target.into()],
    )?;
    drop_stray_triggers()
}

/// The settings of a tracked table.
pub fn settings(target: pg_sys::Oid) -> Result<Option<Tracking>> {
    let argument = Spi::get_one_with_args::<Vec<u8>>(
        "SELECT (SELECT t.tgargs FROM pg_catalog.pg_trigger t
                 WHERE t.tgrelid = $1 AND t.tgname = $2 AND t.tgfoid = 'audit.capture()'::regprocedure)",
        &[target.into(), ROW_TRIGGER.into()],
    )?;
    Ok(argument.and_then(|argument| Tracking::from_catalogue(&argument).ok()))
}

/// Makes or replaces the table's triggers, so that they carry these settings.
fn apply(target: pg_sys::Oid, tracking: &Tracking) -> Result<()> {
    let argument = tracking.to_argument();
    make_trigger(target, ROW_TRIGGER, &argument, "ENABLE", tracking.mode())?;
    make_trigger(target, TRUNCATE_TRIGGER, &argument, "ENABLE", tracking.mode())?;
    add_statement_triggers(Some(target))
}

/// Makes the statement triggers of partitions, which PostgreSQL does not inherit as it does row triggers: all of
/// `target`'s anew, or those that are missing anywhere.
pub fn add_statement_triggers(target: Option<pg_sys::Oid>) -> Result<()> {
    let wanted = Spi::connect(|client| {
        let rows = client.select(
            "SELECT p.relid, t.name, r.tgargs
             FROM pg_catalog.pg_trigger r
             JOIN pg_catalog.pg_class root ON root.oid = r.tgrelid AND root.relkind = 'p'
             CROSS JOIN LATERAL pg_partition_tree(r.tgrelid) p
             JOIN pg_catalog.pg_class c ON c.oid = p.relid
             CROSS JOIN LATERAL (VALUES ($1, true), ($2, c.relkind = 'p')) t (name, wanted)
             WHERE r.tgname = $3 AND r.tgparentid = 0 AND r.tgfoid = 'audit.capture()'::regprocedure
               AND t.wanted AND (t.name <> $1 OR p.level > 0)
               AND CASE WHEN $4 IS NOT NULL THEN r.tgrelid = $4
                        ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger x
                                         WHERE x.tgrelid = p.relid AND x.tgname = t.name AND x.tgfoid = r.tgfoid) END
             ORDER BY p.relid, t.name",
            None,
            &[TRUNCATE_TRIGGER.into(), END_TRIGGER.into(), ROW_TRIGGER.into(), target.into()],
        )?;
        let mut wanted = Vec::new();
        for row in rows {
            if let (Some(table), Some(name), Some(argument)) =
                (row.get::<pg_sys::Oid>(1)?, row.get::<String>(2)?, row.get::<Vec<u8>>(3)?)
            {
                wanted.push((table, name, argument));
            }
        }
        Ok::<_, pgrx::spi::SpiError>(wanted)
    })?;
    for (table, name, argument) in wanted {
        let Ok(tracking) = Tracking::from_catalogue(&argument) else { continue };
        if name == END_TRIGGER {
            make_trigger(table, &name, "", "ENABLE", tracking.mode())?;
            continue;
        }
        // Names are the same in partitions, numbers are not.
        let columns = OpenRelation::open(table).relation().attributes();
        let own = Tracking { attnums: BTreeMap::new(), ..tracking }
            .resolved(table, &columns)
            .map_err(|unresolved| does_not_fit(&unresolved))?;
        make_trigger(table, &name, &own.to_argument(), "ENABLE", own.mode())?;
    }
    Ok(())
}

/// Drops the statement triggers of what is no partition of a tracked table any more.
pub fn drop_stray_triggers() -> Result<()> {
    run_as_owner(
        "SELECT format('DROP TRIGGER %I ON %s', s.tgname, s.tgrelid::regclass)
         FROM pg_catalog.pg_trigger s
         WHERE s.tgfoid = 'audit.capture()'::regprocedure AND s.tgname IN ($1, $2)
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger r
                           WHERE r.tgrelid = s.tgrelid AND r.tgname = $3 AND r.tgfoid = s.tgfoid)",
        &[TRUNCATE_TRIGGER.into(), END_TRIGGER.into(), ROW_TRIGGER.into()],
    )
}

/// Makes or replaces one trigger, as `ALTER TABLE … <able> <mode> TRIGGER` says.
pub fn make_trigger(
    target: pg_sys::Oid,
    trigger: &str,
    argument: &str,
    able: &str,
    mode: &str,
) -> Result<()> {
    let (events, level) = match trigger {
        TRUNCATE_TRIGGER => ("TRUNCATE", "STATEMENT"),
        END_TRIGGER => ("UPDATE", "STATEMENT"),
        _ => ("INSERT OR UPDATE OR DELETE", "ROW"),
    };
    run_as_owner(
        "SELECT format('CREATE OR REPLACE TRIGGER %I AFTER %s ON %s FOR EACH %s EXECUTE FUNCTION audit.capture(%s)',
                       $1, $2, $3::regclass, $4, CASE WHEN $5 <> '' THEN quote_literal($5) ELSE '' END)",
        &[trigger.into(), events.into(), target.into(), level.into(), argument.into()],
    )?;
    run_as_owner(
        "SELECT format('ALTER TABLE %s %s %s TRIGGER %I', $1::regclass, $2, $3, $4)",
        &[target.into(), able.into(), mode.into(), trigger.into()],
    )
}

fn run_as_owner(query: &str, arguments: &[DatumWithOid<'_>]) -> Result<()> {
    as_extension_owner(|| run_ddl(query, arguments))
}

/// A table that someone wants to track, locked against writers and other DDL until the transaction ends.
struct Table {
    oid: pg_sys::Oid,
    name: String,
    kind: String,
    persistence: String,
    schema: String,
}

impl Table {
    /// Looks the table up, checks what the caller may do, and locks it.
    fn locked(oid: pg_sys::Oid) -> Result<Self> {
        let found = Spi::connect(|client| {
            let rows = client.select(
                "SELECT c.oid::regclass::text, c.relkind::text, c.relpersistence::text, n.nspname::text,
                        pg_has_role(current_user, c.relowner, 'USAGE'),
                        pg_has_role(current_user, 'audit_admin', 'USAGE')
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.oid = $1",
                Some(1),
                &[oid.into()],
            )?;
            let mut found = None;
            for row in rows {
                let table = Self {
                    oid,
                    name: row.get(1)?.unwrap_or_default(),
                    kind: row.get(2)?.unwrap_or_default(),
                    persistence: row.get(3)?.unwrap_or_default(),
                    schema: row.get(4)?.unwrap_or_default(),
                };
                let owns: bool = row.get(5)?.unwrap_or_default();
                let administers: bool = row.get(6)?.unwrap_or_default();
                found = Some((table, owns, administers));
            }
            Ok::<_, pgrx::spi::SpiError>(found)
        })?;
        let Some((table, owns, administers)) = found else {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                format!("there is no table with OID {}", oid.to_u32()),
            )
            .hint("Name the table, such as 'public.datasource'."));
        };
        if !administers {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "only a member of audit_admin may configure what is audited",
            )
            .hint("Ask a superuser for GRANT audit_admin TO your role."));
        }
        if !owns {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("must be owner of table {}", table.name),
            )
            .hint("Call it as the table's owner, or as a superuser."));
        }
        if matches!(&*table.kind, "r" | "p") {
            run_as_owner(
                "SELECT format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', $1::regclass)",
                &[oid.into()],
            )?;
        }
        Ok(table)
    }

    fn check_trackable(&self) -> Result<()> {
        let refuse = |what: &str, hint: &'static str| {
            Err(Error::new(
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                format!("{} is {what}, which cannot be tracked", self.name),
            )
            .hint(hint))
        };
        match &*self.kind {
            "r" | "p" => {}
            "v" => return refuse("a view", "Track the tables behind it."),
            "m" => return refuse("a materialized view", "Track the tables behind it."),
            "f" => return refuse("a foreign table", "Track the table on its own server."),
            _ => return refuse("no table", "Name a table."),
        }
        match &*self.persistence {
            "t" => {
                return refuse("a temporary table", "Its rows end with the session; nothing of it is kept.");
            }
            "u" => {
                return refuse(
                    "an unlogged table",
                    "A crash empties it without an event; ALTER TABLE ... SET LOGGED first.",
                );
            }
            _ => {}
        }
        match &*self.schema {
            "pg_catalog" | "information_schema" | "pg_toast" => refuse(
                "a system catalogue",
                "Use event triggers or the server log for changes of the schema.",
            ),
            "audit" => refuse("the audit system's own", "It records its own changes."),
            _ => Ok(()),
        }
    }

    fn columns(&self) -> Vec<Option<Attribute>> {
        OpenRelation::open(self.oid).relation().attributes()
    }
}

fn required<T>(value: Option<T>, argument: &str, hint: &'static str) -> Result<T> {
    value.ok_or_else(|| {
        Error::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{argument} is NULL")).hint(hint)
    })
}

fn names(columns: Vec<Option<String>>, argument: &str) -> Result<Vec<String>> {
    columns
        .into_iter()
        .map(|column| {
            column.ok_or_else(|| {
                Error::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{argument} holds a NULL"))
                    .hint("Name columns, such as ARRAY['id'].")
            })
        })
        .collect()
}

fn resource_id(columns: Vec<Option<String>>) -> Result<Vec<String>> {
    if columns.is_empty() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "resource_id names no column",
        )
        .hint("Leave it out for the primary key, or for a table without a key."));
    }
    names(columns, "resource_id")
}

const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];

fn actions(json: Option<JsonB>) -> Result<BTreeMap<String, Option<String>>> {
    let hint = r#"Pass an object such as {"insert": "organisation.user.added", "delete": null}."#;
    let refuse = |message: String| {
        Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message).hint(hint))
    };
    let Some(JsonB(json)) = json else {
        return Ok(BTreeMap::new());
    };
    let serde_json::Value::Object(pairs) = json else {
        return refuse("actions is not a JSON object".into());
    };
    let mut actions = BTreeMap::new();
    for (key, value) in pairs {
        if !OPERATIONS.contains(&key.as_str()) {
            return refuse(format!("actions.{key} is none of {}", OPERATIONS.join(", ")));
        }
        match value {
            serde_json::Value::String(action) => actions.insert(key, Some(action)),
            serde_json::Value::Null => actions.insert(key, None),
            other => return refuse(format!("actions.{key} is {other}, not a string or null")),
        };
    }
    Ok(actions)
}

fn every_action(tracking: &Tracking) -> impl Iterator<Item = String> {
    [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate]
        .into_iter()
        .filter_map(|operation| tracking.action(operation))
}

fn check_actions(tracking: &Tracking) -> Result<()> {
    // The type makes the default actions, so it keeps to their grammar even where all of them are replaced.
    check_action(&format!("{}.created", tracking.resource_type)).map_err(|_| {
        Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("resource_type \"{}\" is malformed", tracking.resource_type),
        )
        .hint(
            "A resource type is lower case, such as 'datasource' or 'model_configuration', and not 'audit'.",
        )
    })?;
    every_action(tracking).try_for_each(|action| check_action(&action))
}

fn check_columns(tracking: &Tracking, columns: &[Option<Attribute>], table: &Table) -> Result<()> {
    let kept_out = |column: &String| tracking.exclude.contains(column) || tracking.mask.contains(column);
    let key = match &tracking.resource_id {
        Some(columns) => columns.clone(),
        None => {
            let open = OpenRelation::open(table.oid);
            let key = open.relation().primary_key();
            key.into_iter()
                .filter_map(|position| columns[position].as_ref())
                .map(|c| c.label.clone())
                .collect()
        }
    };
    // Of a path, the first column is this table's.
    let scope = tracking.organisation_id.iter().chain(&tracking.project_id).flat_map(|path| {
        let first = path.split('.').next().unwrap_or_default().to_owned();
        [path.clone(), first]
    });
    if let Some(column) = key.iter().cloned().chain(scope).find(kept_out) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("column \"{column}\" identifies the event, so it cannot be masked or excluded"),
        )
        .hint("Mask other columns, or choose another resource_id."));
    }
    Ok(())
}

fn does_not_fit(unresolved: &Unresolved) -> Error {
    match &unresolved.problem {
        Problem::NoColumn { table, .. } => {
            let columns = OpenRelation::open(*table).relation().attributes();
            let existing: Vec<&str> = columns.iter().flatten().map(|column| column.label.as_str()).collect();
            Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN, unresolved.to_string())
                .hint(format!("Its columns are {}.", existing.join(", ")))
        }
        Problem::NoForeignKey { .. } => {
            Error::new(PgSqlErrorCode::ERRCODE_INVALID_FOREIGN_KEY, unresolved.to_string())
                .hint("A path goes along foreign keys of one column, and ends with the column of the scope.")
        }
    }
}

fn tell_changes(table: &Table, before: &Tracking, after: &Tracking) {
    let object = |tracking: &Tracking| match serde_json::to_value(tracking) {
        Ok(serde_json::Value::Object(mut pairs)) => {
            pairs.remove("attnums");
            pairs
        }
        _ => serde_json::Map::new(),
    };
    let (before, after) = (object(before), object(after));
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let show = |value: Option<&serde_json::Value>| value.map_or("not set".into(), ToString::to_string);
    let changes: Vec<String> = keys
        .into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| format!("{key} was {}, is now {}", show(before.get(key)), show(after.get(key))))
        .collect();
    if changes.is_empty() {
        notice!("table {} was tracked like this before; nothing changed", table.name);
    } else {
        notice!("table {} was tracked before; {}", table.name, changes.join("; "));
    }
}

fn add_to_catalogue(tracking: &Tracking) -> Result<()> {
    for action in every_action(tracking) {
        as_extension_owner(|| {
            Spi::run_with_args(
                "INSERT INTO audit.catalogue (pattern, shows) VALUES ($1, $2) ON CONFLICT (pattern) DO NOTHING",
                &[
                    action.as_str().into(),
                    format!("Configured for resource type {}", tracking.resource_type).into(),
                ],
            )
        })?;
    }
    Ok(())
}
