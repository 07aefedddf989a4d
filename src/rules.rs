//! Which events a change makes and what they are called: the rules of `audit.track`, compiled for one table.

use std::rc::Rc;

use crate::error::Result;
use crate::pg::condition::Condition;
use crate::pg::row::Row;
use crate::pg::trigger_call::Operation;
use crate::pg::value::Text;
use crate::relations::TextColumn;
use crate::unresolved::condition_failed;

/// What identifies the resource of an event.
pub struct Resource {
    /// What kind of resource it is.
    pub resource_type: Text,
    /// The columns of its id, in order; empty without a key.
    pub resource_id: Vec<TextColumn>,
    /// The columns that an UPDATE's images hold even where they did not change: the primary key's, where it is not the
    /// resource's id. Places among the plan's columns.
    pub always: Vec<usize>,
}

/// What an event is called and about.
pub struct Naming {
    /// Its action; `None` drops the event.
    pub action: Option<Text>,
    /// Its resource.
    pub resource: Rc<Resource>,
}

/// Which of a table's namings an event has. Partitions number theirs alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name(usize);

/// One rule.
pub struct Rule {
    /// What it is for.
    pub on: Operation,
    /// The columns it claims, places among the plan's columns; `None` for all.
    pub columns: Option<Vec<usize>>,
    /// What has to hold, and where it stands in the settings.
    pub condition: Option<(String, Condition)>,
    /// What the event is called.
    pub naming: Naming,
}

/// All namings of a table.
pub struct Rules {
    table: pgrx::pg_sys::Oid,
    defaults: [Naming; 4],
    rules: Vec<Rule>,
}

impl Rules {
    /// The rules in order, and what applies where none does, by operation.
    pub fn new(table: pgrx::pg_sys::Oid, defaults: [Naming; 4], rules: Vec<Rule>) -> Self {
        Self { table, defaults, rules }
    }

    /// How many rules there are.
    pub fn count(&self) -> usize {
        self.rules.len()
    }

    /// The naming behind `name`.
    pub fn naming(&self, Name(index): Name) -> &Naming {
        self.defaults.get(index).unwrap_or_else(|| &self.rules[index - self.defaults.len()].naming)
    }

    /// The name of an operation's events where no rule holds.
    pub fn default(&self, operation: Operation) -> Name {
        Name(operation as usize)
    }

    /// The table's own resource.
    pub fn resource(&self) -> &Resource {
        &self.defaults[0].resource
    }

    /// Every resource that events may be about.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        let rules = self.rules.iter().map(|rule| &*rule.naming.resource);
        std::iter::once(self.resource()).chain(rules)
    }

    /// Whether a rule for updates looks at rows.
    pub fn judges_updates(&self) -> bool {
        self.rules.iter().any(|rule| rule.on == Operation::Update && rule.condition.is_some())
    }

    /// The name of the event of a row that came (`new`) or went (`old`): that of the first rule that holds.
    pub fn of_row(&self, operation: Operation, old: Option<Row<'_>>, new: Option<Row<'_>>) -> Result<Name> {
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.on == operation && self.holds(rule, old, new)? {
                return Ok(Name(self.defaults.len() + index));
            }
        }
        Ok(self.default(operation))
    }

    /// The events of an UPDATE that changed the columns `changed` (places among the plan's columns, in order): hands
    /// each one's name and columns to `event`. Each rule that holds claims what it names, and the rest is an event too.
    pub fn of_update(
        &self,
        old: Row<'_>,
        new: Row<'_>,
        changed: Vec<usize>,
        mut event: impl FnMut(Name, Vec<usize>) -> Result<()>,
    ) -> Result<()> {
        let mut unclaimed = changed;
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.on != Operation::Update {
                continue;
            }
            let claims = |column: &usize| rule.columns.as_ref().is_none_or(|all| all.contains(column));
            if !unclaimed.iter().any(claims) || !self.holds(rule, Some(old), Some(new))? {
                continue;
            }
            let (claimed, rest) = unclaimed.into_iter().partition(claims);
            unclaimed = rest;
            event(Name(self.defaults.len() + index), claimed)?;
        }
        if unclaimed.is_empty() {
            return Ok(());
        }
        event(self.default(Operation::Update), unclaimed)
    }

    fn holds(&self, rule: &Rule, old: Option<Row<'_>>, new: Option<Row<'_>>) -> Result<bool> {
        match &rule.condition {
            None => Ok(true),
            Some((place, condition)) => {
                condition.holds(old, new).map_err(|mistake| condition_failed(self.table, place, &mistake))
            }
        }
    }
}
