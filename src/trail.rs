//! What DDL does to the trail: the catalogues as they were before each command that could switch it off are held against
//! those after it, and what differs is refused or leaves an event.
//!
//! So it does not matter which command it was: DISABLE TRIGGER, DROP TABLE, DROP SCHEMA ... CASCADE, a table swapped by renaming,
//! CREATE OR REPLACE of a trigger or a function. Only what the command itself did differs (`src/pg/snapshot.rs`).

use std::cell::RefCell;

use pgrx::pg_sys;

use crate::error::Result;
use crate::guard;
use crate::own;
use crate::pg::catalog::{self, to_utf8};
use crate::pg::ddl_command::{Command, Watch};
use crate::pg::session;
use crate::pg::snapshot::Snapshot;
use crate::tracking::{Tracking, triggers_of};
use crate::trail_rows;
use crate::trail_state::{Column, Names, State, of};
use crate::trail_tracking::{self, tell_detached};
use crate::triggers;

/// A command that has begun.
struct Begun {
    /// Which one: where its parse tree is.
    command: usize,
    /// What it may do.
    doing: Doing,
    /// Whether it commits before it ends.
    commits: bool,
    /// Up to which command of the transaction all that it did was told, and in which subtransaction. The last counts; those
    /// before it do again when a savepoint is rolled back.
    told: Vec<(pg_sys::SubTransactionId, pg_sys::CommandId)>,
}

/// What a command may do.
#[derive(Clone, Copy)]
struct Doing {
    /// What the trail is made of.
    names: Names,
    /// What it may change.
    watch: Watch,
    /// Whether it may give tables other names.
    renames: bool,
    /// Whether it may give triggers other settings.
    makes_triggers: bool,
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
    watch_no_more_than_needed();
}

/// Forgets the commands of a transaction that is committed: they have ended, or go on in another, which counts anew.
pub fn committed() {
    BEGUN.with_borrow_mut(|all| {
        all.retain_mut(|begun| {
            begun.told = vec![(session::TOP, pg_sys::FirstCommandId)];
            begun.commits
        });
    });
    watch_no_more_than_needed();
}

/// Notes what changes while a command is watched, and no longer.
fn watch_no_more_than_needed() {
    if BEGUN.with_borrow(Vec::is_empty) {
        trail_rows::watch_no_more();
    }
}

/// Called before each DDL command.
pub fn begin(command: &Command) -> Result<()> {
    if session::is_in_own_script() {
        return Ok(());
    }
    // It takes the event triggers along, so that nobody is asked afterwards. PostgreSQL refuses others than its owner.
    if command.drops_own_extension() && catalog::own_extension_owner().is_some_and(session::has_privileges_of)
    {
        return allow_in_server_log("extension audit");
    }
    let (Some(log), Some(extension)) = (catalog::own_table(c"event"), catalog::own_extension()) else {
        return Ok(());
    };
    // It commits before anybody is asked.
    let detaches = command.detaches_concurrently();
    if let Some(detached) = &detaches {
        if detached.from != log {
            return tell_detached(detached);
        }
        allow_in_server_log("a partition of audit.event")?;
    }
    if let Some(watch) = command.watch() {
        // What the command around this one has done so far is its doing.
        tell_what_was_done(None)?;
        let begun = Begun {
            command: command.id(),
            doing: Doing {
                names: Names { log, extension },
                watch,
                renames: command.renames_tables(),
                makes_triggers: command.makes_trigger(),
            },
            commits: detaches.is_some(),
            told: vec![(session::subtransaction(), session::command_id())],
        };
        BEGUN.with_borrow_mut(|all| {
            if all.is_empty() {
                trail_rows::watch();
            }
            all.push(begun);
        });
    }
    Ok(())
}

/// Refuses what is to be dropped or detached. Otherwise the server's log says so: the audit log is gone, or may be with the
/// next commit.
fn allow_in_server_log(what: &str) -> Result<()> {
    if !guard::allows_destruction() {
        return Err(guard::indestructible(what));
    }
    guard::log(&format!("{what} is dropped or detached: audit.allow_destruction is on"));
    Ok(())
}

/// Called after each DDL command: refuses or tells what it did.
pub fn end(command: &Command) -> Result<()> {
    let ended = BEGUN.with_borrow_mut(|all| {
        let at = all.iter().rposition(|begun| begun.command == command.id())?;
        // What is above it ended with an error that somebody caught.
        all.truncate(at + 1);
        Some(())
    });
    if ended.is_none() {
        return Ok(());
    }
    tell_what_was_done(Some(command))?;
    BEGUN.with_borrow_mut(|all| {
        all.pop();
        // The one around it need not tell that again.
        told_so_far(all);
    });
    watch_no_more_than_needed();
    Ok(())
}

/// Refuses or tells what the innermost command did since that was told last; `ended` if it is over.
fn tell_what_was_done(ended: Option<&Command>) -> Result<()> {
    let begun = BEGUN.with_borrow(|all| {
        let begun = all.last()?;
        Some((begun.doing, begun.told.last()?.1))
    });
    let Some((doing, since)) = begun else { return Ok(()) };
    if catalog::own_table(c"event") != Some(doing.names.log)
        || catalog::own_extension() != Some(doing.names.extension)
    {
        // Under another name it could be emptied where nobody looks.
        if catalog::name_of(doing.names.log).is_some() {
            return Err(guard::renamed());
        }
        return allow_in_server_log("audit.event");
    }
    if doing.watch == Watch::Rows && !trail_rows::may_concern(ended) {
        return Ok(());
    }
    let tell = |before: &State, after: &State| {
        if doing.watch == Watch::Rows {
            return trail_rows::tell(before, after, ended);
        }
        refuse_destruction(before, after)?;
        tell_guards(before, after)?;
        trail_rows::tell(before, after, ended)?;
        trail_tracking::tell(before, after, doing.renames, doing.makes_triggers)
    };
    let told = look(doing, since, |before, after| {
        // What has to be put right is looked at afterwards.
        if ended.is_some() && always_again(before, after)? {
            Ok(false)
        } else {
            tell(before, after).map(|()| true)
        }
    })?;
    if !told {
        look(doing, since, tell)?;
    }
    BEGUN.with_borrow_mut(|all| told_so_far(all));
    Ok(())
}

/// Looks at the trail as it was before the transaction's command `since`, and as it is.
fn look<R>(doing: Doing, since: pg_sys::CommandId, work: impl FnOnce(&State, &State) -> R) -> R {
    let (before, after) = Snapshot::before_and_after(since);
    let (before, after) = State::read_both(&doing.names, doing.watch, &before, &after);
    work(&before, &after)
}

fn told_so_far(all: &mut [Begun]) {
    if let Some(innermost) = all.last_mut() {
        innermost.told.push((session::subtransaction(), session::command_id()));
    }
}

/// Makes triggers that were disabled and are enabled again fire always, if they have to: ENABLE TRIGGER ALL, as
/// `pg_restore --disable-triggers` says in the end, forgets that. Whether there were any.
fn always_again(before: &State, after: &State) -> Result<bool> {
    let mut any = false;
    for was in before.triggers.iter().filter(|trigger| trigger.enabled() == b'D') {
        if after.trigger(was).is_some_and(|now| now.enabled() == b'O')
            && (was.is_guard
                || catalog::is_in_own_schema(was.table())
                || was.tracking().is_some_and(|tracking| tracking.on_replica))
        {
            triggers::enable(was.table(), was.name(), "ENABLE", "ALWAYS")?;
            any = true;
        }
    }
    Ok(any)
}

/// A partition of the log, a column of a table or an object of the extension that is there no more.
fn refuse_destruction(before: &State, after: &State) -> Result<()> {
    for part in &before.parts {
        let name = to_utf8(&part.name);
        let Some(now) = after.part(part.table).filter(|now| now.is_partition || !part.is_partition) else {
            destroyed(&name)?;
            continue;
        };
        if now.columns != part.columns {
            let (was, is) = (before.columns_of(&[part.table]), after.columns_of(&[part.table]));
            let is_gone = |column: &&Column| !of(&is, part.table).iter().any(|now| now.is(column));
            for column in of(&was, part.table).iter().filter(is_gone) {
                destroyed(&format!("column {} of {name}", column.name))?;
            }
        }
        // Without it, an event could be restored twice.
        if !part.key.is_empty() && now.key != part.key {
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

/// Guards of the log that are off now, row-level security that is not what it was, functions that are others, and whatever
/// else came to the log.
fn tell_guards(before: &State, after: &State) -> Result<()> {
    let is_restore = session::is_restore();
    for guard in before.triggers.iter().filter(|trigger| trigger.is_guard) {
        if after.part(guard.table()).is_none() {
            continue;
        }
        let Some(name) = after.name_of(guard.table()) else { continue };
        let now = after.trigger(guard);
        let guards = now.is_some_and(|now| now.enabled() == b'A' && now.fires_as(guard));
        match (guard.enabled() == b'A', guards) {
            (true, false) => {
                let what = match now {
                    Some(now) if now.enabled() == b'A' => "replaced by another",
                    Some(_) => "not always enabled",
                    None => "dropped",
                };
                guard::disabled("table", &name, format!("trigger {} is {what}", guard.name()))?;
            }
            // Switched on again, the log has an event of it, even if that of switching it off was taken away meanwhile.
            (false, true) if !is_restore => {
                let reason = format!("trigger {} is always enabled again", guard.name());
                own::tell_guard("audit.guard.enabled", "table", &name, reason)?;
            }
            _ => {}
        }
    }
    for part in &after.parts {
        let Some(was) = before.part(part.table) else {
            if part.is_partition && !is_restore && before.name_of(part.table).is_some() {
                let reason = "a table became a partition of the log: its events come from elsewhere";
                guard::disabled("table", &part.name, reason.into())?;
            }
            continue;
        };
        // Where there was none, nothing is lost: a restore switches it on after it has attached a partition.
        if part.owner != was.owner || was.shield != "f" && part.shield != was.shield {
            let reason = "the owner, row-level security or its policies were changed";
            guard::disabled("table", &part.name, reason.into())?;
        }
        if part.extras != was.extras && !is_restore {
            let reason =
                "a trigger, rule, constraint or parent that is not the audit system's came, went or changed";
            guard::disabled("table", &part.name, reason.into())?;
        }
    }
    for (_, member) in after.members.iter().filter(|(object, _)| !before.members.contains_key(object)) {
        let reason = "it became part of the extension, whose objects pg_dump leaves out";
        guard::disabled("object", member.name.as_bytes(), reason.into())?;
    }
    for (object, member) in &before.members {
        if after.members.get(object).is_some_and(|now| now.state != member.state) {
            let (kind, name) = (member.kind, member.name.trim_start_matches(member.kind).trim_start());
            guard::disabled(kind, name.as_bytes(), format!("the {kind} was replaced or altered"))?;
        }
    }
    Ok(())
}

/// Called before a table is rewritten by ALTER TABLE, whatever its rows become: refuses a part of the log, and leaves an
/// event where the table is tracked.
pub fn rewritten(table: pg_sys::Oid) -> Result<()> {
    if session::is_in_own_script() {
        return Ok(());
    }
    if catalog::is_part_of_the_trail(table) {
        return destroyed(&catalog::shown_name(table));
    }
    let Some(settings) = Tracking::carried_by(&triggers_of(table)) else { return Ok(()) };
    let reason = "ALTER TABLE rewrote the table, which leaves no event for each row";
    trail_tracking::tell_of(
        &catalog::qualified_name(table),
        &settings,
        "audit.tracking.changed",
        reason.into(),
    )
}
