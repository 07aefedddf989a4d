//! How a table is tracked: the settings of `audit.track`, kept as JSON in the argument of the table's trigger.
//!
//! So they live, move and die with the table: a dump carries them, a partition inherits them, dropping the table
//! drops them, and PostgreSQL tells every backend when they change. The JSON is ASCII, whatever the database's
//! encoding.

use std::collections::{BTreeMap, BTreeSet};

use pgrx::pg_sys;
use serde::{Deserialize, Serialize};

use crate::pg::catalog;
use crate::pg::lookup::{ForeignKey, foreign_keys};
use crate::pg::row::{Attribute, OpenRelation, TriggerInfo};
use crate::pg::trigger_call::Operation;

/// The triggers of a tracked table. Their names begin with `!`, which sorts before every letter, so that they run
/// before other triggers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// For each row; partitions inherit it.
    Row,
    /// On TRUNCATE; on each partition.
    Truncate,
    /// At the end of an UPDATE of a partitioned table, where a moved row must have arrived.
    End,
}

impl Kind {
    /// What a trigger with the extension's function is for.
    pub fn of(trigger: &TriggerInfo) -> Self {
        if trigger.for_row {
            Self::Row
        } else if trigger.on_truncate {
            Self::Truncate
        } else {
            Self::End
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Row => "!audit_row",
            Self::Truncate => "!audit_truncate",
            Self::End => "!audit_end",
        }
    }
}

/// The settings of one table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracking {
    /// What kind of resource the table holds.
    pub resource_type: String,
    /// The columns of the resource's id; `None` is the primary key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<Vec<String>>,
    /// The column of the organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation_id: Option<String>,
    /// The column of the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Action names by operation; `null` drops the event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub actions: BTreeMap<String, Option<String>>,
    /// Columns never stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Columns stored as `[masked]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mask: Vec<String>,
    /// Columns with a person's data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub personal: Vec<String>,
    /// Whether rows that replication applies are tracked too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_replica: bool,
    /// Whether the resource's id is the primary key, which therefore has to stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keyed: bool,
    /// The attribute number of every column named above, so that a renamed one is found again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attnums: BTreeMap<String, usize>,
}

/// Why settings do not fit the table.
#[derive(Debug, PartialEq)]
pub struct Unresolved {
    /// Which argument of `audit.track` is wrong.
    pub argument: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a column or a path.
#[derive(Debug, PartialEq)]
pub enum Problem {
    /// The table has no such column.
    NoColumn {
        /// The table.
        table: pg_sys::Oid,
        /// The column.
        column: String,
    },
    /// A path goes on from a column that is in no foreign key.
    NoForeignKey {
        /// The table.
        table: pg_sys::Oid,
        /// The column.
        column: String,
    },
    /// The resource's id is the primary key, and there is none.
    NoKey {
        /// The table.
        table: pg_sys::Oid,
    },
    /// A column that identifies events is kept out of them.
    KeptOut {
        /// The table.
        table: pg_sys::Oid,
        /// The column.
        column: String,
    },
}

impl Problem {
    /// The table where the problem lies.
    pub fn table(&self) -> pg_sys::Oid {
        match self {
            Self::NoColumn { table, .. }
            | Self::NoForeignKey { table, .. }
            | Self::NoKey { table }
            | Self::KeptOut { table, .. } => *table,
        }
    }
}

impl std::fmt::Display for Unresolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |table: &pg_sys::Oid| catalog::shown_name(*table);
        write!(f, "{}: ", self.argument)?;
        match &self.problem {
            Problem::NoColumn { table, column } => {
                write!(f, "table {} has no column \"{column}\"", name(table))
            }
            Problem::NoForeignKey { table, column } => {
                write!(f, "column \"{column}\" of table {} is in no foreign key", name(table))
            }
            Problem::NoKey { table } => write!(f, "table {} has no primary key any more", name(table)),
            Problem::KeptOut { table, column } => {
                write!(
                    f,
                    "column \"{column}\" of table {} identifies events, so it cannot be masked or excluded",
                    name(table)
                )
            }
        }
    }
}

/// One column of a path.
pub struct Step {
    /// The table it is in.
    pub table: pg_sys::Oid,
    /// Its position there, from zero.
    pub position: usize,
    /// Its name.
    pub label: String,
    /// The foreign key along which the path goes on.
    pub key: Option<ForeignKey>,
}

/// The columns that `path` names: one of the table's own, or one after another along foreign keys. `attnums`
/// finds a renamed one, by the path that leads to it.
pub fn resolve(
    table: pg_sys::Oid,
    columns: &[Option<Attribute>],
    path: &str,
    attnums: &BTreeMap<String, usize>,
) -> Result<Vec<Step>, Problem> {
    let find = |columns: &[Option<Attribute>], name: &str, way: &str| {
        let named = columns.iter().position(|c| c.as_ref().is_some_and(|c| c.label == name));
        let position = named.or_else(|| attnums.get(way)?.checked_sub(1))?;
        Some((position, columns.get(position)?.as_ref()?.label.clone()))
    };
    // A column's name may have dots in it.
    if let Some((position, label)) =
        find(columns, path, path).filter(|(_, label)| !path.contains('.') || label == path)
    {
        return Ok(vec![Step { table, position, label, key: None }]);
    }
    let mut steps: Vec<Step> = Vec::new();
    let mut end = 0;
    for name in path.split('.') {
        end += name.len();
        let way = &path[..end];
        end += 1;
        let Some(last) = steps.last_mut() else {
            let Some((position, label)) = find(columns, name, way) else {
                return Err(Problem::NoColumn { table, column: name.to_owned() });
            };
            steps.push(Step { table, position, label, key: None });
            continue;
        };
        // Of several foreign keys the one that leads on.
        let mut keys = foreign_keys(last.table, last.position);
        let next = keys.iter().enumerate().find_map(|(number, key)| {
            let columns = OpenRelation::peek(key.table)?.relation().attributes();
            let (position, label) = find(&columns, name, way)?;
            Some((number, Step { table: key.table, position, label, key: None }))
        });
        let Some((number, step)) = next else {
            return Err(match keys.first() {
                None => Problem::NoForeignKey { table: last.table, column: last.label.clone() },
                Some(key) => Problem::NoColumn { table: key.table, column: name.to_owned() },
            });
        };
        last.key = Some(keys.swap_remove(number));
        steps.push(step);
    }
    Ok(steps)
}

/// Whether the audit of `table`, if it is tracked, keeps `column` out of the log.
fn is_kept_out_of(table: pg_sys::Oid, column: &str) -> bool {
    let tracking = Tracking::carried_by(&triggers_of(table));
    tracking.zip(OpenRelation::peek(table)).is_some_and(|(tracking, open)| {
        tracking
            .kept_out(&open.relation().attributes(), &open.relation().generated_columns())
            .contains(column)
    })
}

/// The table's triggers with the extension's function. It is not kept open: PostgreSQL alters no table that is in use.
pub fn triggers_of(table: pg_sys::Oid) -> Vec<TriggerInfo> {
    let open = OpenRelation::peek(table);
    open.zip(catalog::capture_function()).map(|(open, f)| open.relation().triggers(f)).unwrap_or_default()
}

/// The columns `names` and those that are generated from them: a value made from what must not be stored must not be
/// stored either.
pub fn with_generated(
    names: &[String],
    columns: &[Option<Attribute>],
    generated: &[(usize, Vec<usize>)],
) -> BTreeSet<String> {
    let label = |position: &usize| Some(&columns.get(*position)?.as_ref()?.label);
    let made_from_them = generated
        .iter()
        .filter(|(_, sources)| sources.iter().filter_map(label).any(|source| names.contains(source)))
        .filter_map(|(position, _)| label(position));
    names.iter().chain(made_from_them).cloned().collect()
}

impl Tracking {
    /// Reads the trigger's argument.
    pub fn parse(argument: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(argument)
    }

    /// The settings that a table's row trigger carries.
    pub fn carried_by(triggers: &[TriggerInfo]) -> Option<Self> {
        let row = triggers.iter().find(|trigger| trigger.for_row)?;
        Self::parse(row.argument.as_ref()?).ok()
    }

    /// The trigger's argument.
    pub fn to_argument(&self) -> String {
        let json = serde_json::to_string(self).expect("strings and booleans are JSON");
        json.chars().fold(String::new(), |mut ascii, character| {
            if character.is_ascii() {
                ascii.push(character);
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    ascii.push_str(&format!("\\u{unit:04x}"));
                }
            }
            ascii
        })
    }

    /// The mode of `ALTER TABLE … ENABLE <mode> TRIGGER`.
    pub fn mode(&self) -> &'static str {
        if self.on_replica { "ALWAYS" } else { "" }
    }

    /// The action of an operation, `None` where its event is dropped.
    pub fn action(&self, operation: Operation) -> Option<String> {
        let (key, default) = match operation {
            Operation::Insert => ("insert", "created"),
            Operation::Update => ("update", "updated"),
            Operation::Delete => ("delete", "deleted"),
            Operation::Truncate => ("truncate", "truncated"),
        };
        match self.actions.get(key) {
            Some(configured) => configured.clone(),
            None => Some(format!("{}.{default}", self.resource_type)),
        }
    }

    /// The settings with their columns as they are called now, given the table's columns and primary key.
    ///
    /// A name that exists is believed. A name that is gone is followed by its number, which a rename keeps. The
    /// resource's and the scope's columns have to be there; a masked or excluded one may be gone, and its name stays,
    /// so that a column that replaces it is masked or excluded too.
    pub fn resolved(
        &self,
        table: pg_sys::Oid,
        columns: &[Option<Attribute>],
        primary_key: &[usize],
    ) -> Result<Self, Unresolved> {
        let mut attnums = BTreeMap::new();
        let mut find = |argument, path: &str| -> Result<String, Unresolved> {
            let steps = resolve(table, columns, path, &self.attnums)
                .map_err(|problem| Unresolved { argument, problem })?;
            let mut way = String::new();
            for step in steps {
                if !way.is_empty() {
                    way.push('.');
                }
                way.push_str(&step.label);
                attnums.insert(way.clone(), step.position + 1);
            }
            Ok(way)
        };
        let resource_id = match &self.resource_id {
            Some(names) => {
                Some(names.iter().map(|name| find("resource_id", name)).collect::<Result<_, _>>()?)
            }
            None => None,
        };
        let organisation_id =
            self.organisation_id.as_ref().map(|path| find("organisation_id", path)).transpose()?;
        let project_id = self.project_id.as_ref().map(|path| find("project_id", path)).transpose()?;
        let mut or_kept = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| find("", name).unwrap_or_else(|_| name.clone())).collect()
        };
        let resolved = Self {
            resource_id,
            organisation_id,
            project_id,
            exclude: or_kept(&self.exclude),
            mask: or_kept(&self.mask),
            personal: or_kept(&self.personal),
            attnums,
            ..self.clone()
        };
        resolved.check_identity(table, columns, primary_key)?;
        Ok(resolved)
    }

    /// What identifies an event must be there, and may not be what is kept out of it.
    fn check_identity(
        &self,
        table: pg_sys::Oid,
        columns: &[Option<Attribute>],
        primary_key: &[usize],
    ) -> Result<(), Unresolved> {
        if self.keyed && primary_key.is_empty() {
            return Err(Unresolved { argument: "resource_id", problem: Problem::NoKey { table } });
        }
        let key: Vec<&str> = match &self.resource_id {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => {
                primary_key.iter().filter_map(|at| Some(columns.get(*at)?.as_ref()?.label.as_str())).collect()
            }
        };
        let generated =
            OpenRelation::peek(table).map(|open| open.relation().generated_columns()).unwrap_or_default();
        let kept_out = self.kept_out(columns, &generated);
        if let Some(column) = key.iter().find(|name| kept_out.contains(**name)) {
            let problem = Problem::KeptOut { table, column: (*column).to_owned() };
            return Err(Unresolved { argument: "resource_id", problem });
        }
        for (argument, path) in [("organisation_id", &self.organisation_id), ("project_id", &self.project_id)]
        {
            let Some(steps) =
                path.as_ref().and_then(|path| resolve(table, columns, path, &self.attnums).ok())
            else {
                continue;
            };
            let (first, last) = (&steps[0], &steps[steps.len() - 1]);
            let hidden = if kept_out.contains(&first.label) {
                Some(first)
            } else {
                (steps.len() > 1 && is_kept_out_of(last.table, &last.label)).then_some(last)
            };
            if let Some(step) = hidden {
                let problem = Problem::KeptOut { table: step.table, column: step.label.clone() };
                return Err(Unresolved { argument, problem });
            }
        }
        Ok(())
    }

    /// The columns whose values are not stored.
    fn kept_out(&self, columns: &[Option<Attribute>], generated: &[(usize, Vec<usize>)]) -> BTreeSet<String> {
        with_generated(&[&self.mask[..], &self.exclude].concat(), columns, generated)
    }

    /// Whether a scope's path leads through another table that this transaction is altering.
    pub fn leads_through_altered_tables(&self, table: pg_sys::Oid, columns: &[Option<Attribute>]) -> bool {
        self.organisation_id
            .iter()
            .chain(&self.project_id)
            .filter_map(|path| resolve(table, columns, path, &self.attnums).ok())
            .flatten()
            .any(|step| crate::ddl::is_being_altered(step.table))
    }

    /// Whether a masked or excluded column that was there when these settings were made is not in `resolved`.
    pub fn lost_a_secret(&self, resolved: &Self) -> bool {
        let gone = |(old, new): (&String, &String)| {
            self.attnums.contains_key(old) && !resolved.attnums.contains_key(new)
        };
        self.mask.iter().zip(&resolved.mask).any(gone) || self.exclude.iter().zip(&resolved.exclude).any(gone)
    }

    /// Every column that the settings name, with the argument of `audit.track` that names it.
    pub fn named_columns(&self) -> impl Iterator<Item = (&'static str, &str)> {
        fn named<'a>(
            argument: &'static str,
            columns: impl IntoIterator<Item = &'a String>,
        ) -> impl Iterator<Item = (&'static str, &'a str)> {
            columns.into_iter().map(move |column| (argument, column.as_str()))
        }
        named("resource_id", self.resource_id.iter().flatten())
            .chain(named("organisation_id", &self.organisation_id))
            .chain(named("project_id", &self.project_id))
            .chain(named("exclude", &self.exclude))
            .chain(named("mask", &self.mask))
            .chain(named("personal", &self.personal))
    }
}
