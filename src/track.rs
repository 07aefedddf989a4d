//! `audit.track` and `audit.untrack`: what is checked, and the triggers they make.

use std::collections::{BTreeMap, HashSet};

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::actions;
use crate::columns::check_named_once;
use crate::ddl;
use crate::error::{Error, Result};
use crate::near::did_you_mean;
use crate::own;
use crate::pg::caught::Mistake;
use crate::pg::row::{Attribute, OpenRelation};
use crate::pg::scope::as_extension_owner;
use crate::target::Table;
use crate::tracking::Tracking;
use crate::triggers;
use crate::unresolved::{Problem, Unresolved};

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
    let (operations, rules) =
        arguments.actions.as_deref().map(actions::parse).transpose()?.unwrap_or_default();
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
        actions: operations,
        rules,
        exclude: names(arguments.exclude.unwrap_or_default(), "exclude")?,
        mask: names(arguments.mask.unwrap_or_default(), "mask")?,
        personal: names(arguments.personal.unwrap_or_default(), "personal")?,
        on_replica: arguments.on_replica.unwrap_or(false),
        attnums: BTreeMap::new(),
    };
    let tracking = resolved_and_kept(&given, target, &columns, &primary_key)?;
    // A misspelt mask would store the secret.
    if let Some((argument, column)) =
        given.optional_columns().find(|(_, column)| !tracking.attnums.contains_key(*column))
    {
        let problem = Problem::NoColumn { table: target, column: column.to_owned() };
        return Err(does_not_fit(&Unresolved { argument: argument.to_owned(), problem }));
    }
    actions::check(&tracking)?;
    tracking.check_conditions(target).map_err(|unresolved| does_not_fit(&unresolved))?;
    let previous = table.settings();
    triggers::apply(target, &tracking)?;
    // DDL names tables, and a name may have come to mean another table meanwhile.
    if table.settings().as_ref() != Some(&tracking) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            format!("table {} was renamed while it was being tracked", table.name),
        )
        .hint("Call audit.track again."));
    }
    if let Some(previous) = &previous {
        tell_changes(&table, previous, &tracking);
    }
    own::tell_tracking(target, previous.as_ref(), Some(&tracking))?;
    // What is kept out of this table's events may be another's scope.
    ddl::follow_altered(false, None)?;
    add_to_catalogue(&tracking)
}

/// The settings with the columns that they name. Others' DDL on the tables that their paths lead along ends first; what comes after
/// waits until these settings are committed, and then minds them.
fn resolved_and_kept(
    given: &Tracking,
    target: pg_sys::Oid,
    columns: &[Option<Attribute>],
    primary_key: &[usize],
) -> Result<Tracking> {
    let mut kept = HashSet::from([target]);
    loop {
        let tracking = given.resolved(target, columns, primary_key);
        let along = given.along(target, columns);
        let others: Vec<_> = along.into_iter().filter(|table| kept.insert(*table)).collect();
        if others.is_empty() {
            return tracking.map_err(|unresolved| does_not_fit(&unresolved));
        }
        for table in others {
            OpenRelation::lock_shared(table);
        }
    }
}

/// Stops tracking a table. Its events stay.
pub fn untrack(target: Option<pg_sys::Oid>) -> Result<()> {
    let target = required(target, "target", "Name the table, such as 'public.datasource'.")?;
    let table = Table::locked_alone(target)?;
    table.check_application()?;
    table.check_no_partition()?;
    if table.triggers().is_empty() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("table {} is not tracked", table.name),
        )
        .hint("SELECT target FROM audit.tracked_table lists the tables that are."));
    }
    let previous = table.settings();
    triggers::run_as_owner(
        "SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass)
         FROM pg_catalog.pg_trigger t
         WHERE t.tgrelid = $1 AND t.tgfoid = 'audit.capture()'::regprocedure",
        &[target.into()],
    )?;
    triggers::drop_stray(target)?;
    if !table.triggers().is_empty() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            format!("table {} was renamed meanwhile", table.name),
        )
        .hint("Call audit.untrack again."));
    }
    own::tell_tracking(target, previous.as_ref(), None)
}

fn required<T>(value: Option<T>, argument: &str, hint: &'static str) -> Result<T> {
    value.ok_or_else(|| {
        Error::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, format!("{argument} is NULL")).hint(hint)
    })
}

fn names(columns: Vec<Option<String>>, argument: &str) -> Result<Vec<String>> {
    (1..)
        .zip(columns)
        .map(|(at, column)| {
            required(column, &format!("{argument}[{at}]"), "Name columns, such as ARRAY['id'].")
        })
        .collect()
}

fn resource_id(columns: Vec<Option<String>>) -> Result<Vec<String>> {
    let columns = names(columns, "resource_id")?;
    if columns.is_empty() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            "resource_id names no column",
        )
        .hint("Leave it out for the primary key, or for a table without a key."));
    }
    check_named_once("resource_id", &columns)?;
    Ok(columns)
}

/// The error of settings that do not fit the table.
pub fn does_not_fit(unresolved: &Unresolved) -> Error {
    let error = |code| Error::new(code, unresolved.to_string());
    match &unresolved.problem {
        Problem::NoColumn { table, column } => {
            let existing = column_names(*table);
            let existing: Vec<&str> = existing.iter().map(String::as_str).collect();
            error(PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN).hint(format!(
                "{}Its columns are {}.",
                did_you_mean(column, &existing),
                shown(&existing)
            ))
        }
        Problem::NoForeignKey { .. } => error(PgSqlErrorCode::ERRCODE_INVALID_FOREIGN_KEY)
            .hint("A path goes along foreign keys, and ends with the column of the scope."),
        Problem::NoKey { .. } => {
            error(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT).hint("Name columns as resource_id.")
        }
        Problem::KeptOut { .. } => error(PgSqlErrorCode::ERRCODE_INVALID_COLUMN_REFERENCE)
            .hint("Take it out of mask and exclude, or name another column here."),
        Problem::Excluded { .. } => error(PgSqlErrorCode::ERRCODE_INVALID_COLUMN_REFERENCE)
            .hint("Take it out of exclude; \"action\": null drops the event of its changes."),
        Problem::Condition { table, mistake, .. } => {
            let error = error(mistake.code).hint(advice(*table, mistake));
            match unresolved.detail() {
                Some(detail) => error.detail(detail),
                None => error,
            }
        }
    }
}

/// What to do about a mistake in a condition on rows of `table`: PostgreSQL's hint and ours.
fn advice(table: pg_sys::Oid, mistake: &Mistake) -> String {
    use PgSqlErrorCode::*;
    let ours = match mistake.code {
        ERRCODE_UNDEFINED_COLUMN => {
            let names = column_names(table);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            &format!("Write new.<column> or old.<column>; the columns are {}.", shown(&names))
        }
        ERRCODE_UNDEFINED_TABLE => "A condition knows the rows new and old, and no others.",
        ERRCODE_UNDEFINED_FUNCTION | ERRCODE_UNDEFINED_OBJECT | ERRCODE_INVALID_SCHEMA_NAME => {
            "What is not in pg_catalog has to be qualified: schema.function(...), schema.type, OPERATOR(schema.+)."
        }
        ERRCODE_FEATURE_NOT_SUPPORTED | ERRCODE_GROUPING_ERROR | ERRCODE_WINDOWING_ERROR => {
            "A condition looks at one change: no subquery, aggregate, window or set-returning function. \
             A STABLE function may look elsewhere."
        }
        ERRCODE_INVALID_TEXT_REPRESENTATION => "Compare a column with a value that its type has.",
        ERRCODE_DATATYPE_MISMATCH => "Compare it with something, such as new.status = 'invited'.",
        ERRCODE_UNDEFINED_PARAMETER => "A condition has no parameters: write the value itself.",
        ERRCODE_INSUFFICIENT_PRIVILEGE => "A condition is evaluated with the rights of the table's owner.",
        _ => "A condition is one SQL expression over old and new, such as new.status = 'invited'.",
    };
    match &mistake.hint {
        Some(hint) if mistake.is_our_own => hint.clone(),
        // Of a column that is not qualified PostgreSQL says that it cannot be referenced, though it can.
        Some(hint)
            if mistake.code != ERRCODE_UNDEFINED_COLUMN
                || hint.contains("\"new.")
                || hint.contains("\"old.") =>
        {
            format!("{hint} {ours}")
        }
        _ => ours.to_owned(),
    }
}

fn column_names(table: pg_sys::Oid) -> Vec<String> {
    let columns = OpenRelation::peek(table).map(|open| open.relation().attributes()).unwrap_or_default();
    columns.into_iter().flatten().map(|column| column.label).collect()
}

/// The names, as far as they fit into a hint.
fn shown(names: &[&str]) -> String {
    const MOST: usize = 20;
    let more = names.len().saturating_sub(MOST);
    let listed = names[..names.len() - more].join(", ");
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}

fn tell_changes(table: &Table, before: &Tracking, after: &Tracking) {
    let (before, after) = (before.shown(), after.shown());
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
    for action in actions::every(tracking) {
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
