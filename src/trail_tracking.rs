//! What DDL does to tracked tables: those that are tracked no more, or under another name, or otherwise, or again.

use pgrx::pg_sys;

use crate::error::Result;
use crate::own::{self, Told};
use crate::pg::catalog::{self, to_utf8};
use crate::pg::ddl_command::Detached;
use crate::pg::session;
use crate::tracking::{Tracking, triggers_of};
use crate::trail_state::{State, Trigger};

/// Leaves the event of a table's tracking, whose settings are as they were.
pub fn tell_of(name: &[u8], settings: &Tracking, action: &'static str, reason: String) -> Result<()> {
    tell_settings(name, (Some(settings), Some(settings)), action, reason)
}

/// Leaves the event of a table's tracking. `settings`: as they were and as they are, nothing where damaged.
fn tell_settings(
    name: &[u8],
    settings: (Option<&Tracking>, Option<&Tracking>),
    action: &'static str,
    reason: String,
) -> Result<()> {
    let (was, is) = settings;
    let shown = |settings: Option<&Tracking>| settings.map(Tracking::shown);
    let (before, after) = match action {
        "audit.tracking.enabled" => (None, shown(is.or(was))),
        "audit.tracking.disabled" => (shown(was.or(is)), None),
        _ => (shown(was), shown(is)),
    };
    own::tell(Told { action, resource_type: "table", name, before, after, reason: Some(reason) })
}

/// Tells of a partition that is about to be detached in two transactions: once the first is committed it is gone, even if the
/// second never comes.
pub fn tell_detached(detached: &Detached) -> Result<()> {
    match Tracking::carried_by(&triggers_of(detached.partition)) {
        Some(settings) => tell_of(
            &catalog::qualified_name(detached.partition),
            &settings,
            "audit.tracking.disabled",
            format!("detached concurrently from {}", catalog::shown_name(detached.from)),
        ),
        None => Ok(()),
    }
}

/// Tells what differs. `renames`: the command may have given tables other names; `makes_triggers`: it may have given triggers
/// other settings, which otherwise `ddl::follow` does, and tells.
pub fn tell(before: &State, after: &State, renames: bool, makes_triggers: bool) -> Result<()> {
    let of_tables = before.triggers.iter().chain(&after.triggers).filter(|trigger| !trigger.is_guard);
    let mut tables: Vec<_> = of_tables.map(Trigger::table).collect();
    tables.sort_by_key(|table| table.to_u32());
    tables.dedup();
    for table in tables {
        let of = |state: &State| {
            state
                .tracking_of(table)
                .map(|trigger| (trigger.name().to_owned(), trigger.enabled()))
                .collect::<Vec<_>>()
        };
        tell_children(table, before, after)?;
        let replaced = replaced(before, after, table, makes_triggers);
        // Names cost a query each.
        if renames || !replaced.is_empty() || of(before) != of(after) {
            Table { table, before, after, replaced }.tell()?;
        }
    }
    Ok(())
}

/// Tells of tables that began or ceased to inherit from a tracked one: their rows, which are its rows too, came or went without
/// an event.
fn tell_children(table: pg_sys::Oid, before: &State, after: &State) -> Result<()> {
    let Some(settings) = after.settings_of(table) else { return Ok(()) };
    for (what, children) in [
        ("inherits from it now", after.children.difference(&before.children)),
        ("inherits from it no more", before.children.difference(&after.children)),
    ] {
        for (_, child) in children.filter(|(parent, _)| *parent == table.to_u32()) {
            let child = pg_sys::Oid::from(*child);
            let Some(child) = after.name_of(child).or_else(|| before.name_of(child)) else { continue };
            let reason =
                format!("{} {what}, whose own rows leave an event only if it is tracked", to_utf8(&child));
            tell_of(&catalog::qualified_name(table), &settings, "audit.tracking.changed", reason)?;
        }
    }
    Ok(())
}

/// The triggers that have their names and are others.
fn replaced<'a>(
    before: &'a State,
    after: &State,
    table: pg_sys::Oid,
    makes_triggers: bool,
) -> Vec<&'a Trigger> {
    let is_replaced = |was: &&Trigger| {
        after.trigger(was).is_some_and(|is| !is.fires_as(was) || makes_triggers && !is.carries_as(was))
    };
    before.tracking_of(table).filter(is_replaced).collect()
}

/// A table of which something may differ.
struct Table<'a> {
    table: pg_sys::Oid,
    before: &'a State<'a>,
    after: &'a State<'a>,
    replaced: Vec<&'a Trigger>,
}

impl Table<'_> {
    fn tell(&self) -> Result<()> {
        let settings = (self.before.settings_of(self.table), self.after.settings_of(self.table));
        let settings = (settings.0.as_ref(), settings.1.as_ref());
        // Made by this very command, it has nobody to tell it from.
        let Some(old_name) = self.before.name_of(self.table) else { return Ok(()) };
        let told = |action, name: &[u8], reason| tell_settings(name, settings, action, reason);
        let Some(new_name) = self.after.name_of(self.table) else {
            return told("audit.tracking.disabled", &old_name, "the table was dropped".into());
        };
        if new_name != old_name {
            told("audit.tracking.disabled", &old_name, format!("the table is {} now", to_utf8(&new_name)))?;
            told("audit.tracking.enabled", &new_name, format!("the table was {}", to_utf8(&old_name)))?;
        }
        for (action, names, what) in self.changes() {
            if !names.is_empty() {
                told(action, &new_name, format!("trigger {}: {what}", names.join(", ")))?;
            }
        }
        Ok(())
    }

    /// What became of its triggers: the action, their names, and how to say it.
    fn changes(&self) -> [(&'static str, Vec<&str>, &'static str); 6] {
        let was = || self.before.tracking_of(self.table);
        let is = || self.after.tracking_of(self.table);
        let where_ = |is_change: &dyn Fn(&Trigger, Option<&Trigger>) -> bool| {
            let changed = was().filter(|was| is_change(was, self.after.trigger(was)));
            changed.map(Trigger::name).collect::<Vec<_>>()
        };
        // What comes back from a dump was told when it was made.
        let is_new = was().next().is_none() && !session::is_restore();
        let came =
            if is_new { is().filter(|is| is.is_on()).map(Trigger::name).collect() } else { Vec::new() };
        let how = match is().any(Trigger::is_clone) {
            true => "attached as a partition, whose rows of before left no event",
            false => "made by a superuser",
        };
        [
            (
                "audit.tracking.disabled",
                where_(&|was, is| was.is_on() && is.is_none()),
                "dropped, replaced, or that of a partition detached",
            ),
            (
                "audit.tracking.disabled",
                where_(&|was, is| was.is_on() && is.is_some_and(|is| !is.is_on())),
                "disabled, or enabled for replicas alone",
            ),
            (
                "audit.tracking.changed",
                where_(&|was, is| was.enabled() == b'A' && is.is_some_and(|is| is.enabled() == b'O')),
                "no more enabled for replicas",
            ),
            (
                "audit.tracking.changed",
                self.replaced.iter().map(|trigger| trigger.name()).collect(),
                "replaced by one of other settings, or that fires for other rows",
            ),
            (
                "audit.tracking.enabled",
                where_(&|was, is| !was.is_on() && is.is_some_and(Trigger::is_on)),
                "enabled again",
            ),
            ("audit.tracking.enabled", came, how),
        ]
    }
}
