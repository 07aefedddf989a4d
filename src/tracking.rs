//! How a table is tracked: the settings of `audit.track`, kept as JSON in the argument of the table's trigger.
//!
//! So they live, move and die with the table: a dump carries them, a partition inherits them, dropping the table
//! drops them, and PostgreSQL tells every backend when they change. The JSON is ASCII, whatever the database's
//! encoding.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::pg::row::{Attribute, Operation};

/// The name of the row trigger; `!` sorts before every letter, so that it runs before other triggers.
pub const ROW_TRIGGER: &str = "!audit_row";
/// The name of the TRUNCATE trigger.
pub const TRUNCATE_TRIGGER: &str = "!audit_truncate";

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
    /// The attribute number of every column named above, so that a renamed one is found again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attnums: BTreeMap<String, usize>,
}

/// A column that the settings need and that is not there.
#[derive(Debug, PartialEq)]
pub struct MissingColumn {
    /// Which argument of `audit.track` names it.
    pub argument: &'static str,
    /// Its name.
    pub column: String,
}

impl Tracking {
    /// Reads the trigger's argument.
    pub fn parse(argument: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(argument)
    }

    /// Reads the trigger's argument as `pg_trigger.tgargs` holds it, with a NUL at the end.
    pub fn from_catalogue(tgargs: &[u8]) -> Result<Self, serde_json::Error> {
        Self::parse(tgargs.strip_suffix(b"\0").unwrap_or(tgargs))
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

    /// The settings with their columns as they are called now.
    ///
    /// A name that exists is believed: after a restore the numbers are others. A name that is gone is followed
    /// by its number, which a rename keeps. Columns that only say what not to store may vanish; the resource's
    /// and the scope's may not.
    pub fn resolved(&self, columns: &[Option<Attribute>]) -> Result<Self, MissingColumn> {
        let position = |name: &str| columns.iter().position(|c| c.as_ref().is_some_and(|c| c.label == name));
        let find = |name: &str| {
            if position(name).is_some() {
                return Some(name.to_owned());
            }
            let column = columns.get(self.attnums.get(name)?.checked_sub(1)?)?.as_ref()?;
            Some(column.label.clone())
        };
        let needed = |argument, name: &String| {
            find(name).ok_or_else(|| MissingColumn { argument, column: name.clone() })
        };
        let optional = |names: &[String]| names.iter().filter_map(|name| find(name)).collect::<Vec<_>>();
        let mut resolved = Self {
            resource_id: match &self.resource_id {
                Some(names) => {
                    Some(names.iter().map(|n| needed("resource_id", n)).collect::<Result<_, _>>()?)
                }
                None => None,
            },
            organisation_id: self
                .organisation_id
                .as_ref()
                .map(|n| needed("organisation_id", n))
                .transpose()?,
            project_id: self.project_id.as_ref().map(|n| needed("project_id", n)).transpose()?,
            exclude: optional(&self.exclude),
            mask: optional(&self.mask),
            personal: optional(&self.personal),
            attnums: BTreeMap::new(),
            ..self.clone()
        };
        let attnums = resolved
            .named_columns()
            .filter_map(|(_, name)| Some((name.to_owned(), position(name)? + 1)))
            .collect();
        resolved.attnums = attnums;
        Ok(resolved)
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
