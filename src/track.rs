//! `audit.track` and `audit.untrack`: what is checked, and the triggers they make.

use std::collections::BTreeMap;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::ddl::run_ddl;
use crate::error::{Error, Result};
use crate::pg::catalog;
use crate::pg::row::{OpenRelation, Operation, TriggerInfo};
use crate::pg::scope::as_extension_owner;
use crate::record::check_action;
use crate::tracking::{Kind, Problem, Tracking, Unresolved};

/// The arguments of `audit.track`.
pub struct Arguments {
    /// The table.
    pub target: Option<pg_sys::Oid>,
    /// What kind of resource it holds.
    pub resource_type: Option<String>,
    /// The columns of the resource's id.
    pub resource_id: Option<Vec<Option<String>>>,
    /// Where the organisation is.
    pub organisation_id: Option<String>,
    /// Where the project is.
    pub project_id: Option<String>,
    /// Action names by operation, as JSON.
    pub actions: Option<String>,
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
    let (columns, primary_key) = {
        let open = OpenRelation::open(target);
        (open.relation().attributes(), open.relation().primary_key())
    };
    let given = Tracking {
        resource_type: required(
            arguments.resource_type,
            "resource_type",
            "Name what the table's rows are, such as 'datasource'.",
        )?,
        keyed: arguments.resource_id.is_none() && !primary_key.is_empty(),
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
    let tracking =
        given.resolved(target, &columns, &primary_key).map_err(|unresolved| does_not_fit(&unresolved))?;
    // A misspelt mask would store the secret.
    if let Some((argument, column)) =
        given.named_columns().find(|(_, column)| !tracking.attnums.contains_key(*column))
    {
        let problem = Problem::NoColumn { table: target, column: column.to_owned() };
        return Err(does_not_fit(&Unresolved { argument, problem }));
    }
    check_actions(&tracking)?;
    let previous = table.settings();
    apply(target, &tracking)?;
    // DDL names tables, and a name may have come to mean another table meanwhile.
    if table.settings().as_ref() != Some(&tracking) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            format!("table {} was renamed while it was being tracked", table.name),
        )
        .hint("Call audit.track again."));
    }
    if let Some(previous) = previous {
        tell_changes(&table, &previous, &tracking);
    }
    add_to_catalogue(&tracking)
}

/// Stops tracking a table. Its events stay.
pub fn untrack(target: Option<pg_sys::Oid>) -> Result<()> {
    let target = required(target, "target", "Name the table, such as 'public.datasource'.")?;
    let table = Table::locked(target)?;
    table.check_no_partition()?;
    if table.triggers().is_empty() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("table {} is not tracked", table.name),
        )
        .hint("SELECT target FROM audit.tracked_table lists the tables that are."));
    }
    run_as_owner(
        "SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)
         FROM pg_catalog.pg_trigger t
         WHERE t.tgrelid = $1 AND t.tgfoid = 'audit.capture()'::regprocedure",
        &[target.into()],
    )?;
    drop_stray_triggers()?;
    if !table.triggers().is_empty() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            format!("table {} was renamed meanwhile", table.name),
        )
        .hint("Call audit.untrack again."));
    }
    Ok(())
}

/// The tables that have a trigger of the extension's.
pub fn tables_with_triggers() -> Result<Vec<pg_sys::Oid>> {
    let tables = Spi::connect(|client| {
        let rows = client.select(
            "SELECT DISTINCT t.tgrelid FROM pg_catalog.pg_trigger t
             JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
             WHERE n.nspname = 'audit' AND p.proname = 'capture' AND t.tgparentid = 0
             ORDER BY t.tgrelid",
            None,
            &[],
        )?;
        let mut tables = Vec::new();
        for row in rows {
            tables.extend(row.get::<pg_sys::Oid>(1)?);
        }
        Ok::<_, pgrx::spi::SpiError>(tables)
    })?;
    Ok(tables)
}

/// Makes or replaces the table's triggers, so that they carry these settings.
fn apply(target: pg_sys::Oid, tracking: &Tracking) -> Result<()> {
    let argument = tracking.to_argument();
    make_trigger(target, Kind::Row, &argument, "ENABLE", tracking.mode())?;
    make_trigger(target, Kind::Truncate, &argument, "ENABLE", tracking.mode())?;
    add_statement_triggers(Some(target))
}

/// Makes the statement triggers of partitions, which PostgreSQL does not inherit as it does row triggers: all of
/// `target`'s anew, or those that are missing anywhere.
pub fn add_statement_triggers(target: Option<pg_sys::Oid>) -> Result<()> {
    let wanted = as_extension_owner(|| {
        Spi::connect(|client| {
            let rows = client.select(
                "SELECT p.relid, t.on_truncate, r.tgargs
                 FROM pg_catalog.pg_trigger r
                 JOIN pg_catalog.pg_class root ON root.oid = r.tgrelid AND root.relkind = 'p'
                 CROSS JOIN LATERAL pg_catalog.pg_partition_tree(r.tgrelid) p
                 JOIN pg_catalog.pg_class c ON c.oid = p.relid
                 CROSS JOIN LATERAL (VALUES ($1, true, p.level > 0), ($2, false, c.relkind = 'p'))
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
            make_trigger(table, Kind::End, "", "ENABLE", tracking.mode())?;
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
        make_trigger(table, Kind::Truncate, &own.to_argument(), "ENABLE", own.mode())?;
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
        &[Kind::Truncate.name().into(), Kind::End.name().into(), Kind::Row.name().into()],
    )
}

/// Makes or replaces one trigger, as `ALTER TABLE … <able> <mode> TRIGGER` says.
pub fn make_trigger(target: pg_sys::Oid, kind: Kind, argument: &str, able: &str, mode: &str) -> Result<()> {
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
    run_as_owner(
        "SELECT format('ALTER TABLE %s %s %s TRIGGER %I', $1::regclass, $2, $3, $4)",
        &[target.into(), able.into(), mode.into(), kind.name().into()],
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
    /// Checks what the caller may do, locks the table by its OID, and checks again.
    fn locked(oid: pg_sys::Oid) -> Result<Self> {
        let missing = || {
            Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                format!("there is no table with OID {}", oid.to_u32()),
            )
            .hint("Name the table, such as 'public.datasource'.")
        };
        Self::may_configure(oid)?.ok_or_else(missing)?;
        OpenRelation::lock(oid).ok_or_else(missing)?;
        let (kind, persistence, schema) = Self::may_configure(oid)?.ok_or_else(missing)?;
        let name = catalog::to_utf8(&catalog::qualified_name(oid));
        // The schema of a temporary table has a number that says nothing.
        let name =
            if persistence == "t" { name.rsplit('.').next().unwrap_or_default().to_owned() } else { name };
        Ok(Self { oid, name, kind, persistence, schema })
    }

    /// The table's kind, persistence and schema, if the caller is an audit_admin who owns it.
    fn may_configure(oid: pg_sys::Oid) -> Result<Option<(String, String, String)>> {
        let found = Spi::connect(|client| {
            let rows = client.select(
                "SELECT c.relkind::text, c.relpersistence::text,
                        CASE WHEN n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'audit')
                             THEN n.nspname::text ELSE '' END,
                        pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE'),
                        pg_catalog.pg_has_role(current_user, 'audit_admin', 'USAGE')
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.oid = $1",
                Some(1),
                &[oid.into()],
            )?;
            let mut found = None;
            for row in rows {
                let text = |at| Ok::<_, pgrx::spi::SpiError>(row.get::<String>(at)?.unwrap_or_default());
                let holds = |at| Ok::<_, pgrx::spi::SpiError>(row.get::<bool>(at)?.unwrap_or_default());
                found = Some(((text(1)?, text(2)?, text(3)?), holds(4)?, holds(5)?));
            }
            Ok::<_, pgrx::spi::SpiError>(found)
        })?;
        let Some((table, owns, administers)) = found else {
            return Ok(None);
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
                format!("must be owner of table {}", catalog::to_utf8(&catalog::qualified_name(oid))),
            )
            .hint("Call it as the table's owner, or as a superuser."));
        }
        Ok(Some(table))
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
            "" => {}
            "audit" => return refuse("the audit system's own", "It records its own changes."),
            _ => {
                return refuse(
                    "a system catalogue",
                    "Use event triggers or the server log for changes of the schema.",
                );
            }
        }
        self.check_no_partition()?;
        self.check_no_tracked_partition()?;
        self.check_no_foreign_trigger()
    }

    /// A partition of a tracked table has that table's settings.
    fn check_no_partition(&self) -> Result<()> {
        if self.triggers().iter().any(|trigger| trigger.is_clone) {
            let root = catalog::to_utf8(&catalog::qualified_name(catalog::root_of(self.oid)));
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                format!("{} is tracked as a partition of {root}", self.name),
            )
            .hint(format!("Configure {root}.")));
        }
        Ok(())
    }

    /// Tracking the partitioned table would take a partition's own settings away, its masks among them.
    fn check_no_tracked_partition(&self) -> Result<()> {
        if self.kind != "p" {
            return Ok(());
        }
        let function = catalog::capture_function();
        for table in
            crate::pg::lookup::with_partitions(self.oid).into_iter().filter(|table| *table != self.oid)
        {
            let triggers = function.and_then(|f| Some(OpenRelation::peek(table)?.relation().triggers(f)));
            if triggers.is_some_and(|t| t.iter().any(|trigger| trigger.for_row && !trigger.is_clone)) {
                let partition = catalog::to_utf8(&catalog::qualified_name(table));
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("partition {partition} of {} is tracked with settings of its own", self.name),
                )
                .hint(format!("SELECT audit.untrack('{partition}') first.")));
            }
        }
        Ok(())
    }

    /// A trigger of someone else's with a name of ours would be replaced.
    fn check_no_foreign_trigger(&self) -> Result<()> {
        let foreign = Spi::get_one_with_args::<bool>(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                            WHERE t.tgrelid = $1 AND t.tgname IN ($2, $3, $4)
                              AND t.tgfoid <> 'audit.capture()'::regprocedure)",
            &[
                self.oid.into(),
                Kind::Row.name().into(),
                Kind::Truncate.name().into(),
                Kind::End.name().into(),
            ],
        )?;
        if foreign == Some(true) {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
                format!("table {} has a trigger with a name of the audit system's", self.name),
            )
            .hint("Rename the table's triggers that begin with !audit."));
        }
        Ok(())
    }

    fn triggers(&self) -> Vec<TriggerInfo> {
        // Not kept open: PostgreSQL alters no table that is in use.
        let open = OpenRelation::peek(self.oid);
        open.zip(catalog::capture_function()).map(|(open, f)| open.relation().triggers(f)).unwrap_or_default()
    }

    /// The settings that the row trigger carries now.
    fn settings(&self) -> Option<Tracking> {
        let triggers = self.triggers();
        let row = triggers.iter().find(|trigger| trigger.for_row)?;
        Tracking::parse(row.argument.as_ref()?).ok()
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
    let columns = names(columns, "resource_id")?;
    let refuse = |message: String| {
        Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message)
            .hint("Leave it out for the primary key, or for a table without a key."))
    };
    if columns.is_empty() {
        return refuse("resource_id names no column".into());
    }
    if let Some(twice) = columns.iter().enumerate().find(|(at, column)| columns[..*at].contains(column)) {
        return refuse(format!("resource_id names column \"{}\" twice", twice.1));
    }
    Ok(columns)
}

const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];

fn actions(json: Option<String>) -> Result<BTreeMap<String, Option<String>>> {
    let hint = r#"Pass an object such as {"insert": "organisation.user.added", "delete": null}."#;
    let refuse = |message: String| {
        Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, message).hint(hint))
    };
    let Some(json) = json else {
        return Ok(BTreeMap::new());
    };
    let pairs = match serde_json::from_str(&json) {
        Ok(serde_json::Value::Object(pairs)) => pairs,
        Ok(_) => return refuse("actions is not a JSON object".into()),
        Err(error) => return refuse(format!("actions cannot be read: {error}")),
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

fn does_not_fit(unresolved: &Unresolved) -> Error {
    let error = |code| Error::new(code, unresolved.to_string());
    match &unresolved.problem {
        Problem::NoColumn { table, .. } => {
            let columns =
                OpenRelation::peek(*table).map(|open| open.relation().attributes()).unwrap_or_default();
            let existing: Vec<&str> = columns.iter().flatten().map(|column| column.label.as_str()).collect();
            error(PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN)
                .hint(format!("Its columns are {}.", existing.join(", ")))
        }
        Problem::NoForeignKey { .. } => error(PgSqlErrorCode::ERRCODE_INVALID_FOREIGN_KEY)
            .hint("A path goes along foreign keys of one column, and ends with the column of the scope."),
        Problem::NoKey { .. } => {
            error(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT).hint("Name columns as resource_id.")
        }
        Problem::KeptOut { .. } => error(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE)
            .hint("Mask other columns, or choose another resource_id."),
    }
}

fn tell_changes(table: &Table, before: &Tracking, after: &Tracking) {
    let object = |tracking: &Tracking| match serde_json::to_value(tracking) {
        Ok(serde_json::Value::Object(mut pairs)) => {
            pairs.remove("attnums");
            pairs.remove("keyed");
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
    let changes = if changes.is_empty() { "nothing changed".to_owned() } else { changes.join("; ") };
    notice!(
        "{}",
        crate::error::in_server_encoding(&format!("table {} was tracked before; {changes}", table.name))
    );
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
