//! What DDL does to the trail: it is looked at before and after each command that could switch it off, and what differs
//! is refused or leaves an event.
//!
//! So it does not matter which command it was: DISABLE TRIGGER, DROP TABLE, DROP SCHEMA ... CASCADE, a table swapped by renaming,
//! CREATE OR REPLACE of a trigger or a function. Only what this transaction has locked is its doing.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::pg_sys;

use crate::ddl;
use crate::error::Result;
use crate::guard;
use crate::own::{self, Told};
use crate::pg::catalog::{self, to_utf8};
use crate::pg::ddl_command::Command;
use crate::pg::session;
use crate::tracking::Kind;
use crate::trail_state::{Part, State, Trigger};
use crate::triggers;

/// A command that has begun.
struct Begun {
    /// Which one: where its parse tree is.
    command: usize,
    /// Whether it commits before it ends.
    commits: bool,
    /// How the trail was when all that it had done was told, and in which subtransaction that was. The last counts; those
    /// before it do again when a savepoint is rolled back.
    told: Vec<(pg_sys::SubTransactionId, Rc<State>)>,
}

thread_local! {
    /// The commands that have begun, the innermost last: a function called by one may run another.
    static BEGUN: RefCell<Vec<Begun>> = const { RefCell::new(Vec::new()) };
}

/// Forgets what was told in a transaction, or in a savepoint and what came after it, that is undone.
pub fn forget(undone: Option<pg_sys::SubTransactionId>) {
    BEGUN.with_borrow_mut(|all| match undone {
        Some(undone) => all.retain_mut(|begun| {
            begun.told.retain(|(subtransaction, _)| *subtransaction < undone);
            !begun.told.is_empty()
        }),
        None => all.clear(),
    });
}

/// Forgets the commands of a transaction that is committed: they have ended.
pub fn committed() {
    BEGUN.with_borrow_mut(|all| all.retain(|begun| begun.commits));
}

/// Called before each DDL command.
pub fn begin(command: &Command) -> Result<()> {
    if ddl::is_quiet() || session::is_in_extension_script() {
        return Ok(());
    }
    // It takes the event triggers along, so that nobody is asked afterwards.
    if command.drops_own_extension() {
        return allow_before("extension audit");
    }
    // It commits before anybody is asked.
    let detached_from = command.detaches_concurrently();
    if detached_from.is_some() && detached_from == catalog::own_table(c"event") {
        allow_before("a partition of audit.event")?;
    }
    if command.may_change_the_trail()
        && let Some(now) = State::read()
    {
        let now = Rc::new(now);
        // What the command around this one has done so far is its doing.
        let outer = BEGUN.with_borrow(|all| all.last()?.told.last().map(|(_, before)| Rc::clone(before)));
        if let Some(before) = outer {
            tell(&before, &now, false)?;
            told_so_far(&now);
        }
        let begun = Begun {
            command: command.id(),
            commits: detached_from.is_some(),
            told: vec![(session::subtransaction(), now)],
        };
        BEGUN.with_borrow_mut(|all| all.push(begun));
    }
    Ok(())
}

/// Refuses what is to be dropped or detached. Otherwise the server's log says so: the audit log may be gone with the next
/// commit.
fn allow_before(what: &str) -> Result<()> {
    if !guard::allows_destruction() {
        return Err(guard::indestructible(what));
    }
    guard::log(&format!("{what} is dropped or detached: audit.allow_destruction is on"));
    Ok(())
}

/// The innermost command need not tell again what it or one inside it did until `now`.
fn told_so_far(now: &Rc<State>) {
    BEGUN.with_borrow_mut(|all| {
        if let Some(innermost) = all.last_mut() {
            innermost.told.push((session::subtransaction(), Rc::clone(now)));
        }
    });
}

/// Called after each DDL command: refuses or tells what it did.
pub fn end(command: &Command) -> Result<()> {
    let begun = BEGUN.with_borrow_mut(|all| {
        let at = all.iter().rposition(|begun| begun.command == command.id())?;
        // What is above it ended with an error that somebody caught.
        all.drain(at..).next()
    });
    let Some((_, before)) = begun.and_then(|mut begun| begun.told.pop()) else { return Ok(()) };
    let Some(mut after) = State::read() else {
        return match guard::allows_destruction() {
            true => Ok(()),
            false => Err(guard::indestructible("audit.event")),
        };
    };
    if always_again(&before, &after)?
        && let Some(now) = State::read()
    {
        after = now;
    }
    tell(&before, &after, command.renames_schema())?;
    told_so_far(&Rc::new(after));
    Ok(())
}

/// Refuses or tells what differs.
fn tell(before: &State, after: &State, renames_schema: bool) -> Result<()> {
    refuse_destruction(before, after)?;
    tell_guards(before, after)?;
    tell_tracking(before, after, renames_schema)
}

/// Makes triggers that were disabled and are enabled again fire always, if they have to: ENABLE TRIGGER ALL, as
/// `pg_restore --disable-triggers` says in the end, forgets that. Whether there were any.
fn always_again(before: &State, after: &State) -> Result<bool> {
    let mut any = false;
    for was in before.triggers.iter().filter(|trigger| trigger.enabled == b'D') {
        if after.trigger(was).is_some_and(|now| now.enabled == b'O')
            && session::has_locked(was.table)
            && (was.is_guard
                || catalog::is_in_own_schema(was.table)
                || was.tracking().is_some_and(|tracking| tracking.on_replica))
        {
            triggers::enable(was.table, &was.name, "ENABLE", "ALWAYS")?;
            any = true;
        }
    }
    Ok(any)
}

/// A partition of the log, a column of a table or an object of the extension that is there no more.
fn refuse_destruction(before: &State, after: &State) -> Result<()> {
    for part in before.parts.iter().filter(|part| session::has_locked(part.table)) {
        let name = to_utf8(&part.name);
        let Some(now) = after.part(part.table).filter(|now| now.is_partition || !part.is_partition) else {
            destroyed(&name)?;
            continue;
        };
        for column in part.columns.iter().filter(|column| !now.columns.contains(column)) {
            destroyed(&format!("column {column} of {name}"))?;
        }
        // Without it, an event could be restored twice.
        if part.has_key && !now.has_key {
            destroyed(&format!("the primary key of {name}"))?;
        }
    }
    for (object, member) in &before.members {
        if !after.members.contains_key(object) {
            destroyed(&member.name)?;
        }
    }
    Ok(())
}

/// Refuses that `what` is gone, or leaves the event of it.
pub fn destroyed(what: &str) -> Result<()> {
    if !guard::allows_destruction() {
        return Err(guard::indestructible(what));
    }
    guard::disabled(
        "setting",
        b"audit.allow_destruction",
        format!("{what} was dropped, detached or rewritten"),
    )
}

/// Guards of the log that are off now, row-level security that is not what it was, functions that are others.
fn tell_guards(before: &State, after: &State) -> Result<()> {
    // Switched on again, the log has an event of it, even if that of switching it off was taken away meanwhile.
    for guard in before.triggers.iter().filter(|trigger| trigger.is_guard && trigger.enabled != b'A') {
        if after.trigger(guard).is_some_and(|now| now.enabled == b'A')
            && session::has_locked(guard.table)
            && !session::is_under_restore_settings()
        {
            let reason = format!("trigger {} is always enabled again", guard.name);
            own::tell_guard("audit.guard.enabled", "table", &guard.table_name, reason)?;
        }
    }
    for guard in before.triggers.iter().filter(|trigger| trigger.is_guard && trigger.enabled == b'A') {
        let now = after.trigger(guard);
        if after.part(guard.table).is_some()
            && now.is_none_or(|now| now.enabled != b'A')
            && session::has_locked(guard.table)
        {
            let what = if now.is_some() { "not always enabled" } else { "dropped" };
            guard::disabled("table", &guard.table_name, format!("trigger {} is {what}", guard.name))?;
        }
    }
    for part in &before.parts {
        // Where there was none, nothing is lost: a restore switches it on after it has attached a partition.
        let is_other =
            |now: &Part| now.owner != part.owner || part.shield != "f" && now.shield != part.shield;
        if after.part(part.table).is_some_and(is_other) && session::has_locked(part.table) {
            guard::disabled(
                "table",
                &part.name,
                "the owner, row-level security or its policies were changed".into(),
            )?;
        }
    }
    for (object, member) in &before.members {
        if after.members.get(object).is_some_and(|now| now.state != member.state) {
            let name = member.name.trim_start_matches("function ");
            guard::disabled("function", name.as_bytes(), "the function was replaced or altered".into())?;
        }
    }
    Ok(())
}

/// Tables that are tracked no more, or under another name, or again.
fn tell_tracking(before: &State, after: &State, renames_schema: bool) -> Result<()> {
    let triggers: Vec<&Trigger> = before.triggers.iter().filter(|trigger| !trigger.is_guard).collect();
    for triggers in triggers.chunk_by(|one, other| one.table == other.table) {
        let table = triggers[0].table;
        // ALTER SCHEMA ... RENAME locks none of its tables.
        let is_ours = session::has_locked(table);
        if !(is_ours || renames_schema) {
            continue;
        }
        let Some(settings) = triggers.iter().find_map(|trigger| trigger.tracking()) else {
            continue;
        };
        let told = |action, name, reason: String| {
            let shown = || Some(settings.shown());
            let (before, after) = match action {
                "audit.tracking.enabled" => (None, shown()),
                "audit.tracking.disabled" => (shown(), None),
                _ => (shown(), shown()),
            };
            own::tell(Told { action, resource_type: "table", name, before, after, reason: Some(reason) })
        };
        let old_name = &triggers[0].table_name;
        let Some(new_name) = after.name_of(table) else {
            if is_ours {
                told("audit.tracking.disabled", old_name, "the table was dropped".into())?;
            }
            continue;
        };
        if new_name[..] != old_name[..] {
            told("audit.tracking.disabled", old_name, format!("the table is {} now", to_utf8(&new_name)))?;
            told("audit.tracking.enabled", &new_name, format!("the table was {}", to_utf8(old_name)))?;
        }
        if !is_ours {
            continue;
        }
        let now: Vec<_> = triggers.iter().map(|trigger| after.trigger(trigger)).collect();
        let changes = |is_change: &dyn Fn(&Trigger, Option<&Trigger>) -> bool| {
            let changed = triggers.iter().zip(&now).filter(|(was, is)| is_change(was, **is));
            changed.map(|(was, _)| was.name.clone()).collect::<Vec<_>>().join(", ")
        };
        let gone = changes(&|was, is| was.is_on() && is.is_none());
        let off = changes(&|was, is| was.is_on() && is.is_some_and(|is| !is.is_on()));
        let on = changes(&|was, is| !was.is_on() && is.is_some_and(Trigger::is_on));
        let skipped = changes(&|was, is| was.enabled == b'A' && is.is_some_and(|is| is.enabled == b'O'));
        for (action, names, what) in [
            ("audit.tracking.disabled", gone, "dropped, replaced, or that of a partition detached"),
            ("audit.tracking.disabled", off, "disabled, or enabled for replicas alone"),
            ("audit.tracking.changed", skipped, "no more enabled for replicas"),
            ("audit.tracking.enabled", on, "enabled again"),
        ] {
            if !names.is_empty() {
                told(action, &new_name, format!("trigger {names}: {what}"))?;
            }
        }
    }
    Ok(())
}

/// Called before a table is rewritten by ALTER TABLE, whatever its rows become: refuses a part of the log, and leaves an
/// event where the table is tracked.
pub fn rewritten(table: pg_sys::Oid) -> Result<()> {
    if session::is_in_extension_script() {
        return Ok(());
    }
    let Some(state) = State::read() else { return Ok(()) };
    if let Some(part) = state.part(table) {
        return destroyed(&to_utf8(&part.name));
    }
    let tracked =
        state.triggers.iter().find(|trigger| trigger.table == table && trigger.name == Kind::Row.name());
    let Some(settings) = tracked.and_then(Trigger::tracking) else {
        return Ok(());
    };
    own::tell(Told {
        action: "audit.tracking.changed",
        resource_type: "table",
        name: &catalog::qualified_name(table),
        before: Some(settings.shown()),
        after: Some(settings.shown()),
        reason: Some("ALTER TABLE rewrote the table, which leaves no event for each row".into()),
    })
}
