//! How a table is tracked: the settings of `audit.track`, kept as JSON in the argument of the table's trigger.
//!
//! So they live, move and die with the table: a dump carries them, a partition inherits them, dropping the table
//! drops them, and PostgreSQL tells every backend when they change. The JSON is ASCII, whatever the database's
//! encoding.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use pgrx::{PgSqlErrorCode, pg_sys};
use serde::{Deserialize, Serialize};

use crate::actions::{Operations, Rule, place};
use crate::columns::{find, renamed, resolve, walk};
use crate::pg::catalog;
use crate::pg::caught::Mistake;
use crate::pg::condition::Condition;
use crate::pg::output::PlanMemory;
use crate::pg::row::{Attribute, OpenRelation, TriggerInfo};
use crate::pg::session;
use crate::pg::trigger_call::Operation;
use crate::pg::value::Text;
use crate::unresolved::{Problem, Unresolved};

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
    pub actions: Operations,
    /// What rows and changes of a certain kind are called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
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

    /// What a trigger's argument shows, as `pg_trigger.tgargs` has it; `None` where it is damaged.
    pub fn shown_in(arguments: &[u8]) -> Option<Text> {
        let settings = Self::parse(arguments.strip_suffix(b"\0")?).ok()?;
        session::jsonb_object(settings.shown())
    }

    /// The settings as `audit.track` takes them, without what is only for following DDL.
    pub fn shown(&self) -> serde_json::Map<String, serde_json::Value> {
        let Ok(serde_json::Value::Object(mut pairs)) = serde_json::to_value(self) else {
            return serde_json::Map::new();
        };
        pairs.remove("attnums");
        pairs.remove("keyed");
        // One argument to the caller.
        if let Some(rules) = pairs.remove("rules") {
            let actions = pairs.entry("actions").or_insert_with(|| serde_json::json!({}));
            actions["rules"] = rules;
        }
        pairs
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
        let mut along = |argument: &str, path: &str| -> Result<String, Unresolved> {
            let steps = resolve(table, columns, path, &self.attnums)
                .map_err(|problem| Unresolved { argument: argument.to_owned(), problem })?;
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
        let organisation_id =
            self.organisation_id.as_ref().map(|path| along("organisation_id", path)).transpose()?;
        let project_id = self.project_id.as_ref().map(|path| along("project_id", path)).transpose()?;
        let mut own = |name: &str| -> Option<String> {
            let (position, label) = find(columns, name, name, &self.attnums)?;
            attnums.insert(label.clone(), position + 1);
            Some(label)
        };
        let mut needed = |argument: String, names: &[String]| -> Result<Vec<String>, Unresolved> {
            let of = |name: &String| {
                let missing = || Problem::NoColumn { table, column: name.clone() };
                own(name).ok_or_else(|| Unresolved { argument: argument.clone(), problem: missing() })
            };
            names.iter().map(of).collect()
        };
        let resource_id =
            self.resource_id.as_ref().map(|names| needed("resource_id".into(), names)).transpose()?;
        let mut rules = self.rules.clone();
        for (index, rule) in rules.iter_mut().enumerate() {
            for (key, names) in [("columns", &mut rule.columns), ("resource_id", &mut rule.resource_id)] {
                if let Some(names) = names {
                    *names = needed(place(index, key), names)?;
                }
            }
        }
        for (index, rule) in rules.iter_mut().enumerate() {
            if let Some(condition) = &mut rule.condition {
                *condition = renamed(condition, &mut own).map_err(|mistake| Unresolved {
                    argument: place(index, "if"),
                    problem: Problem::Condition { table, text: condition.clone(), mistake: mistake.into() },
                })?;
            }
        }
        let mut or_kept = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| own(name).unwrap_or_else(|| name.clone())).collect()
        };
        let resolved = Self {
            resource_id,
            organisation_id,
            project_id,
            rules,
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
            return Err(Unresolved { argument: "resource_id".into(), problem: Problem::NoKey { table } });
        }
        let own_key = || {
            let label = |at: &usize| Some(columns.get(*at)?.as_ref()?.label.clone());
            self.resource_id.clone().unwrap_or_else(|| primary_key.iter().filter_map(label).collect())
        };
        let generated =
            OpenRelation::peek(table).map(|open| open.relation().generated_columns()).unwrap_or_default();
        let kept_out = self.kept_out(columns, &generated);
        let of_rules = self.rules.iter().enumerate();
        let keys =
            of_rules.filter_map(|(at, rule)| Some((place(at, "resource_id"), rule.resource_id.clone()?)));
        for (argument, key) in std::iter::once(("resource_id".to_owned(), own_key())).chain(keys) {
            if let Some(column) = key.into_iter().find(|name| kept_out.contains(name)) {
                return Err(Unresolved { argument, problem: Problem::KeptOut { table, column } });
            }
        }
        let excluded = with_generated(&self.exclude, columns, &generated);
        for (index, rule) in self.rules.iter().enumerate() {
            if let Some(column) = rule.columns.iter().flatten().find(|name| excluded.contains(*name)) {
                let problem = Problem::Excluded { table, column: column.clone() };
                return Err(Unresolved { argument: place(index, "columns"), problem });
            }
        }
        for (argument, path) in self.paths() {
            let Ok(steps) = resolve(table, columns, path, &self.attnums) else { continue };
            let (first, last) = (&steps[0], &steps[steps.len() - 1]);
            let hidden = if kept_out.contains(&first.label) {
                Some(first)
            } else {
                (steps.len() > 1 && is_kept_out_of(last.table, &last.label)).then_some(last)
            };
            if let Some(step) = hidden {
                let problem = Problem::KeptOut { table: step.table, column: step.label.clone() };
                return Err(Unresolved { argument: argument.to_owned(), problem });
            }
        }
        Ok(())
    }

    /// The rules' conditions, compiled for rows of `table` with the rights of `owner`: each with where it stands.
    pub fn conditions(
        &self,
        memory: &PlanMemory,
        table: pg_sys::Oid,
        owner: pg_sys::Oid,
    ) -> Result<Vec<Option<(String, Condition)>>, Unresolved> {
        self.each_condition(table, |rule, text| {
            Condition::compile(memory, table, owner, rule.on.operation(), text)
        })
    }

    /// Compiles the rules' conditions to see whether they can be: with the rights of the owner of `table`, which carries
    /// these settings.
    pub fn check_conditions(&self, table: pg_sys::Oid) -> Result<(), Unresolved> {
        let owner = catalog::table_owner(table).unwrap_or(pg_sys::InvalidOid);
        self.conditions(&PlanMemory::create(), table, owner).map(drop)
    }

    /// Whether the rules' conditions still fit `table`, which carries these settings, and what else they name; the functions
    /// that they call.
    ///
    /// Rights are not looked at: a restore grants them last, so a write without them has to tell.
    pub fn understands_conditions(&self, table: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>, Unresolved> {
        let owner = catalog::table_owner(table).unwrap_or(pg_sys::InvalidOid);
        let check = |rule: &Rule, text: &[u8]| match Condition::check(table, owner, rule.on.operation(), text)
        {
            Err(mistake) if mistake.code == PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE => Ok(Vec::new()),
            checked => checked,
        };
        let called = self.each_condition(table, check)?;
        Ok(called.into_iter().flatten().flat_map(|(_, functions)| functions).collect())
    }

    /// What `work` makes of each rule's condition, in the database's encoding, with where it stands.
    fn each_condition<R>(
        &self,
        table: pg_sys::Oid,
        work: impl Fn(&Rule, &[u8]) -> Result<R, Mistake>,
    ) -> Result<Vec<Option<(String, R)>>, Unresolved> {
        let each = |(index, rule): (usize, &Rule)| {
            let Some(text) = &rule.condition else { return Ok(None) };
            let argument = place(index, "if");
            match work(rule, &catalog::from_utf8(text)) {
                Ok(result) => Ok(Some((argument, result))),
                Err(mistake) => {
                    let problem = Problem::Condition { table, text: text.clone(), mistake: mistake.into() };
                    Err(Unresolved { argument, problem })
                }
            }
        };
        self.rules.iter().enumerate().map(each).collect()
    }

    /// The columns whose values are not stored.
    fn kept_out(&self, columns: &[Option<Attribute>], generated: &[(usize, Vec<usize>)]) -> BTreeSet<String> {
        with_generated(&[&self.mask[..], &self.exclude].concat(), columns, generated)
    }

    /// The scopes' paths, with the arguments of `audit.track` that name them.
    pub fn paths(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let paths = [("organisation_id", &self.organisation_id), ("project_id", &self.project_id)];
        paths.into_iter().filter_map(|(argument, path)| Some((argument, path.as_ref()?)))
    }

    /// The tables that the scopes' paths lead along, as far as they lead, and `table` itself.
    pub fn along(&self, table: pg_sys::Oid, columns: &[Option<Attribute>]) -> HashSet<pg_sys::Oid> {
        let mut along = HashSet::from([table]);
        for (_, path) in self.paths() {
            // Where it ends does not matter.
            let _ = walk(table, columns, path, &self.attnums, |next| {
                along.insert(next);
            });
        }
        along
    }

    /// Whether a masked or excluded column that was there when these settings were made is not in `resolved`.
    pub fn lost_a_secret(&self, resolved: &Self) -> bool {
        let gone = |(old, new): (&String, &String)| {
            self.attnums.contains_key(old) && !resolved.attnums.contains_key(new)
        };
        self.mask.iter().zip(&resolved.mask).any(gone) || self.exclude.iter().zip(&resolved.exclude).any(gone)
    }

    /// The columns that settings may name though they are gone, with the argument of `audit.track` that names them.
    pub fn optional_columns(&self) -> impl Iterator<Item = (&'static str, &String)> {
        [("exclude", &self.exclude), ("mask", &self.mask), ("personal", &self.personal)]
            .into_iter()
            .flat_map(|(argument, names)| names.iter().map(move |name| (argument, name)))
    }
}
