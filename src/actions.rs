//! What events are called: the argument `actions` of `audit.track`, read with an error for each mistake in it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use audit_core::action::{self, ActionError};
use pgrx::PgSqlErrorCode::{self, *};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::columns::check_named_once;
use crate::error::{Error, Result, shortened};
use crate::near::did_you_mean;
use crate::pg::trigger_call::Operation;
use crate::record::{check_action, malformed};
use crate::tracking::Tracking;

/// More rules than anyone writes by hand; each costs every row of its operation.
const MOST_RULES: usize = 256;
const OPERATIONS: [&str; 4] = ["insert", "update", "delete", "truncate"];
const RULE_KEYS: [&str; 6] = ["on", "columns", "if", "action", "resource_type", "resource_id"];
const EXAMPLE: &str = r#"Pass an object such as {"insert": "organisation.user.added", "delete": null}."#;
const RULE_EXAMPLE: &str = r#"A rule is an object such as {"on": "update", "columns": ["role"], "action": "organisation.user.role.assigned"}."#;

/// Action names by operation; `None` drops the event.
pub type Operations = BTreeMap<String, Option<String>>;

/// What an event is called where the row or its change is of a certain kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The operation.
    pub on: On,
    /// The columns whose changes it claims; `None` is all that are unclaimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// SQL over `old` and `new` that has to hold.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The event's action; `None` drops it.
    pub action: Option<String>,
    /// The event's resource type, if it is not the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_type: Option<String>,
    /// The columns of the event's resource id, if they are not the table's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_id: Option<Vec<String>>,
}

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// A row that comes.
    Insert,
    /// A row that changes.
    Update,
    /// A row that goes.
    Delete,
}

impl On {
    /// The trigger's word for it.
    pub fn operation(self) -> Operation {
        match self {
            Self::Insert => Operation::Insert,
            Self::Update => Operation::Update,
            Self::Delete => Operation::Delete,
        }
    }
}

/// Where rule `index` and its key stand in the argument.
pub fn place(index: usize, key: &str) -> String {
    format!("actions.rules[{index}].{key}")
}

/// Reads the argument.
pub fn parse(json: &str) -> Result<(Operations, Vec<Rule>)> {
    let pairs = match serde_json::from_str(json) {
        Ok(Value::Object(pairs)) => pairs,
        Ok(other) => return wrong_type("actions", &other, "an object", EXAMPLE),
        Err(error) => return Err(unreadable(json, &error)),
    };
    let mut operations = Operations::new();
    let mut rules = Vec::new();
    for (key, value) in pairs {
        if key == "rules" {
            rules = self::rules(value)?;
        } else if OPERATIONS.contains(&key.as_str()) {
            let action = text_or_null(&format!("actions.{key}"), value, EXAMPLE)?;
            operations.insert(key, action);
        } else {
            let known = [&OPERATIONS[..], &["rules"]].concat();
            return refuse(
                ERRCODE_SYNTAX_ERROR,
                format!("actions has an unknown key \"{}\"", shortened(&key)),
                format!("{}Its keys are {}.", did_you_mean(&key, &known), known.join(", ")),
            );
        }
    }
    Ok((operations, rules))
}

fn rules(value: Value) -> Result<Vec<Rule>> {
    let Value::Array(rules) = value else {
        return wrong_type(
            "actions.rules",
            &value,
            "an array",
            "Pass an array of rules, which are tried in order.",
        );
    };
    if rules.len() > MOST_RULES {
        return refuse(
            ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            format!("actions.rules holds {} rules, {MOST_RULES} are allowed", rules.len()),
            "Each rule costs every row; name what people look for, and leave the rest to the defaults.",
        );
    }
    rules.into_iter().enumerate().map(|(index, value)| rule(index, value)).collect()
}

fn rule(index: usize, value: Value) -> Result<Rule> {
    let Value::Object(mut pairs) = value else {
        return wrong_type(&format!("actions.rules[{index}]"), &value, "an object", RULE_EXAMPLE);
    };
    if let Some(key) = pairs.keys().find(|key| !RULE_KEYS.contains(&key.as_str())) {
        return refuse(
            ERRCODE_SYNTAX_ERROR,
            format!("actions.rules[{index}] has an unknown key \"{}\"", shortened(key)),
            format!("{}The keys of a rule are {}.", did_you_mean(key, &RULE_KEYS), RULE_KEYS.join(", ")),
        );
    }
    let on = on(index, &mut pairs)?;
    let Some(action) = pairs.remove("action") else {
        return refuse(
            ERRCODE_SYNTAX_ERROR,
            format!("actions.rules[{index}] has no key \"action\""),
            "Say what the event is called, or null to drop it.",
        );
    };
    let rule = Rule {
        on,
        columns: columns(index, "columns", &mut pairs)?,
        condition: text(
            index,
            "if",
            &mut pairs,
            "Write SQL over old and new, such as \"new.status = 'invited'\".",
        )?,
        action: text_or_null(&place(index, "action"), action, RULE_EXAMPLE)?,
        resource_type: text(
            index,
            "resource_type",
            &mut pairs,
            "Name what the event is about, such as \"project\".",
        )?,
        resource_id: columns(index, "resource_id", &mut pairs)?,
    };
    if rule.columns.is_some() && on != On::Update {
        return refuse(
            ERRCODE_SYNTAX_ERROR,
            format!("{} is for updates only", place(index, "columns")),
            "Whole rows come and go. Use \"if\" to tell them apart.",
        );
    }
    Ok(rule)
}

fn on(index: usize, pairs: &mut Map<String, Value>) -> Result<On> {
    let known = ["insert", "update", "delete"];
    let hint = |given: &str| format!("{}A rule is on insert, update or delete.", did_you_mean(given, &known));
    match pairs.remove("on") {
        Some(Value::String(on)) => match on.as_str() {
            "insert" => Ok(On::Insert),
            "update" => Ok(On::Update),
            "delete" => Ok(On::Delete),
            "truncate" => refuse(
                ERRCODE_FEATURE_NOT_SUPPORTED,
                format!("{} is \"truncate\", which has no rows to tell apart", place(index, "on")),
                "Use the key \"truncate\" of actions.",
            ),
            other => refuse(
                ERRCODE_INVALID_PARAMETER_VALUE,
                format!("{} is \"{}\", which is no operation", place(index, "on"), shortened(other)),
                hint(other),
            ),
        },
        Some(other) => wrong_type(&place(index, "on"), &other, "a string", hint("")),
        None => refuse(ERRCODE_SYNTAX_ERROR, format!("actions.rules[{index}] has no key \"on\""), hint("")),
    }
}

fn columns(index: usize, key: &str, pairs: &mut Map<String, Value>) -> Result<Option<Vec<String>>> {
    const HINT: &str = r#"Name columns of the table, such as ["project_id"]."#;
    let place = place(index, key);
    let names = match pairs.remove(key) {
        None => return Ok(None),
        Some(Value::Array(names)) => names,
        Some(other) => return wrong_type(&place, &other, "an array", HINT),
    };
    if names.is_empty() {
        return refuse(ERRCODE_INVALID_PARAMETER_VALUE, format!("{place} names no column"), HINT);
    }
    let name = |(at, name)| match name {
        Value::String(name) => Ok(name),
        other => wrong_type(&format!("{place}[{at}]"), &other, "a string", HINT),
    };
    let columns: Vec<String> = names.into_iter().enumerate().map(name).collect::<Result<_>>()?;
    check_named_once(&place, &columns)?;
    Ok(Some(columns))
}

fn text(
    index: usize,
    key: &str,
    pairs: &mut Map<String, Value>,
    hint: &'static str,
) -> Result<Option<String>> {
    match pairs.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => wrong_type(&place(index, key), &other, "a string", hint),
    }
}

fn text_or_null(place: &str, value: Value, hint: &'static str) -> Result<Option<String>> {
    match value {
        Value::String(text) => Ok(Some(text)),
        Value::Null => Ok(None),
        other => wrong_type(place, &other, "a string or null", hint),
    }
}

/// The value, as far as it is short enough to be shown.
fn kind(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => shortened(&other.to_string()),
    }
}

fn wrong_type<T>(
    place: &str,
    value: &Value,
    expected: &str,
    hint: impl Into<Cow<'static, str>>,
) -> Result<T> {
    refuse(ERRCODE_DATATYPE_MISMATCH, format!("{place} is {}, not {expected}", kind(value)), hint)
}

fn refuse<T>(code: PgSqlErrorCode, message: String, hint: impl Into<Cow<'static, str>>) -> Result<T> {
    Err(Error::new(code, message).hint(hint))
}

/// The error of what jsonb can hold and we cannot: a number out of range, or too much nesting.
fn unreadable(json: &str, error: &serde_json::Error) -> Error {
    // The error's line and column count in PostgreSQL's spelling of the value, which nobody wrote.
    let what = error.to_string();
    let what = what.split(" at line ").next().unwrap_or_default();
    let read = String::from_utf8_lossy(&json.as_bytes()[..error.column().min(json.len())]);
    let read: Vec<char> =
        read.trim_end_matches(|c: char| c.is_ascii_digit() || "+-.".contains(c)).chars().collect();
    let before: String = read[read.len().saturating_sub(40)..].iter().collect();
    Error::new(ERRCODE_INVALID_JSON_TEXT, format!("actions cannot be read: {what}"))
        .detail(format!("It stands after {}", before.trim_end()))
        .hint(EXAMPLE)
}

/// Every action that the settings can emit.
pub fn every(tracking: &Tracking) -> impl Iterator<Item = String> {
    [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate]
        .into_iter()
        .filter_map(|operation| tracking.action(operation))
        .chain(tracking.rules.iter().filter_map(|rule| rule.action.clone()))
}

/// Refuses names that break the grammar or belong to the audit system, and says where they stand.
pub fn check(tracking: &Tracking) -> Result<()> {
    check_resource_type("resource_type", &tracking.resource_type)?;
    for (key, action) in &tracking.actions {
        action.iter().try_for_each(|action| check_action(&format!("actions.{key}"), action))?;
    }
    for (index, rule) in tracking.rules.iter().enumerate() {
        rule.action.iter().try_for_each(|action| check_action(&place(index, "action"), action))?;
        rule.resource_type
            .iter()
            .try_for_each(|name| check_resource_type(&place(index, "resource_type"), name))?;
    }
    Ok(())
}

/// The type makes the default actions, so it keeps to their grammar even where all of them are replaced.
fn check_resource_type(place: &str, name: &str) -> Result<()> {
    const LONGEST_DEFAULT: &str = ".truncated";
    if let Err(error) = action::check(&format!("{name}{LONGEST_DEFAULT}")) {
        let why = match error {
            ActionError::TooLong(_) => format!("with \"{LONGEST_DEFAULT}\" {error}"),
            _ if name.is_empty() => "it is empty".to_owned(),
            _ => error.to_string(),
        };
        return Err(malformed(place, name, &error, &why).hint(
            "A resource type is made of lower-case letters, digits, _, - and dots, such as 'datasource' or \
             'model_configuration'.",
        ));
    }
    if action::is_reserved(&format!("{name}.")) {
        return refuse(
            ERRCODE_RESERVED_NAME,
            format!("{place} \"{}\" is reserved", shortened(name)),
            "Resource type \"audit\" is the audit system's own; choose another name.",
        );
    }
    Ok(())
}
