//! The trigger: one row that was written becomes one event.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use audit_core::jsonb::{Builder, TooLarge};
use pgrx::pg_sys::{CommandId, Oid};

use crate::error::Result;
use crate::moves::{self, Move};
use crate::own;
use crate::pg::output::FixedSettings;
use crate::pg::row::{Row, Written};
use crate::pg::session;
use crate::pg::trigger_call::{Operation, RowTrigger, TriggerCall};
use crate::pg::value::{built, finish_text, start_text};
use crate::relations::{self, Plan, TextColumn};
use crate::rules::Name;
use crate::scope::Scope;
use crate::writer::{self, Event};

/// What a masked value is stored as.
const MASKED: &[u8] = b"[masked]";
/// What the values of an image that was too large may have together, before they are encoded.
const SHORTENED: usize = 1 << 26;
/// A buffer that grew beyond this is not kept for the next row.
const KEPT_CAPACITY: usize = 1 << 20;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The last TRUNCATE of a partitioned table: transaction, command and table.
    static TRUNCATED: Cell<Option<((u64, CommandId), Oid)>> = const { Cell::new(None) };
}

/// A row and the plan of the table it is or was in.
#[derive(Clone, Copy)]
struct Side<'a> {
    plan: &'a Plan,
    row: Row<'a>,
    /// Of a row that is no more, when it was written.
    was_written: Option<Written>,
}

impl<'a> Side<'a> {
    /// The side of a row that left its partition.
    fn left(departure: &'a Move) -> Self {
        Self { plan: &departure.plan, row: departure.row.row(), was_written: Some(departure.written) }
    }

    /// The side of a row that an UPDATE or DELETE took away.
    fn old(plan: &'a Plan, call: &TriggerCall<'a>) -> Self {
        Self { plan, row: call.first_row(), was_written: Some(call.first_written()) }
    }

    /// The side of a row as it is now.
    fn new(plan: &'a Plan, row: Row<'a>) -> Self {
        Self { plan, row, was_written: None }
    }
}

/// Records what the trigger was called for.
pub fn capture(call: &TriggerCall<'_>) -> Result<()> {
    if !call.is_for_row() && call.operation() != Operation::Truncate {
        // The end of a statement on a partitioned table.
        return settle(session::trigger_depth());
    }
    let plan = relations::plan(call)?;
    if plan.own && own::is_restored(call.operation()) {
        return Ok(());
    }
    let command = call.place();
    match call.operation() {
        Operation::Truncate => truncated(call, &plan),
        Operation::Insert => {
            let after = Side::new(&plan, call.first_row());
            if plan.partition_of.is_some() {
                let depth = session::trigger_depth();
                while let Some(departure) = moves::take(depth) {
                    let before = Side::left(&departure);
                    // Only a trigger can keep a row from arriving, and then this may be another row.
                    let arrived = !call.can_be_swallowed() || share_key(before, after);
                    if arrived && departure.arrives(&plan, depth) {
                        return updated(before, after, command);
                    }
                    deleted(before, departure.command)?;
                }
            }
            created(after, command)
        }
        Operation::Update => {
            settle_before(&plan)?;
            let before = Side::old(&plan, call);
            let after = Side::new(&plan, call.updated_row());
            updated(before, after, command)
        }
        Operation::Delete => {
            settle_before(&plan)?;
            let before = Side::old(&plan, call);
            if plan.partition_of.is_some() && call.moves_on() {
                let columns = plan.columns.iter().map(|c| (c.position, &c.attribute));
                let copy = before.row.to_owned(columns.chain(plan.identifying()));
                moves::wait(Move::new(
                    Rc::clone(&plan),
                    (copy, call.first_written()),
                    session::trigger_depth(),
                    session::subtransaction(),
                    command,
                ));
                return Ok(());
            }
            deleted(before, command)
        }
    }
}

/// Records as deleted the rows that waited at this trigger depth or deeper and did not arrive; at depth zero all of
/// them, since the transaction is about to commit.
pub fn settle(depth: i32) -> Result<()> {
    while let Some(departure) = moves::take(depth) {
        deleted(Side::left(&departure), departure.command)?;
    }
    Ok(())
}

/// As `settle`, where the table at hand is one whose rows may move.
fn settle_before(plan: &Plan) -> Result<()> {
    if plan.partition_of.is_some() { settle(session::trigger_depth()) } else { Ok(()) }
}

/// TRUNCATE is one event, without resource or scope; that of a partitioned table speaks for its partitions.
fn truncated(call: &TriggerCall<'_>, plan: &Plan) -> Result<()> {
    if call.row_trigger() == RowTrigger::Missing {
        // A partition that was detached, and is tracked no longer.
        return Ok(());
    }
    let command = session::command();
    if let Some((same, table)) = TRUNCATED.get()
        && same == command
        && plan.ancestors.contains(&table)
    {
        return Ok(());
    }
    if call.relation().is_partitioned() {
        TRUNCATED.set(Some((command, call.relation().oid())));
    }
    match plan.event(plan.rules.default(Operation::Truncate), session::command_id()) {
        Some(event) => writer::write(&event).map(drop),
        None => Ok(()),
    }
}

fn created(after: Side<'_>, command: CommandId) -> Result<()> {
    let name = after.plan.rules.of_row(Operation::Insert, None, Some(after.row))?;
    let all: Vec<usize> = (0..after.plan.columns.len()).collect();
    record(name, command, None, Some(after), after, &all)
}

fn deleted(before: Side<'_>, command: CommandId) -> Result<()> {
    let name = before.plan.rules.of_row(Operation::Delete, Some(before.row), None)?;
    let all: Vec<usize> = (0..before.plan.columns.len()).collect();
    record(name, command, Some(before), None, before, &all)
}

fn updated(before: Side<'_>, after: Side<'_>, command: CommandId) -> Result<()> {
    let (old, new) = (before.plan, after.plan);
    if old.columns.len() != new.columns.len() || old.rules.count() != new.rules.count() {
        // Partitions have the same columns and settings, so only a change between two rows' events leads here.
        deleted(before, command)?;
        return created(after, command);
    }
    let changed = changed(before, after);
    if changed.is_empty() {
        return Ok(());
    }
    let scope_changed = scope_changed(before, after)?;
    // A row that came from another partition may have had its columns in another order.
    let moved = (!std::ptr::eq(old, new) && new.rules.judges_updates()).then(|| {
        let pairs = old.judged.iter().zip(&new.judged).map(|((from, _), (to, _))| (*from, *to));
        before.row.rearranged(new.width, pairs)
    });
    let judged = moved.as_ref().map_or(before.row, |moved| moved.row());
    new.rules.of_update(judged, after.row, changed, |name, mut shown| {
        let always = &new.rules.naming(name).resource.always;
        if !always.is_empty() {
            shown.extend(always);
            shown.sort_unstable();
            shown.dedup();
        }
        if scope_changed {
            // It left one scope and came into another, and neither may see the other's values.
            record(name, command, Some(before), None, before, &shown)?;
            return record(name, command, None, Some(after), after, &shown);
        }
        record(name, command, Some(before), Some(after), after, &shown)
    })
}

/// Writes the event of a change, in the scope and with the resource of `whose`, unless it is dropped.
fn record(
    name: Name,
    command: CommandId,
    before: Option<Side<'_>>,
    after: Option<Side<'_>>,
    whose: Side<'_>,
    shown: &[usize],
) -> Result<()> {
    let Some(event) = whose.plan.event(name, command) else {
        return Ok(());
    };
    let resource = &whose.plan.rules.naming(name).resource;
    let mut buffer = BUFFER.take();
    buffer.clear();
    let fixed = FixedSettings::begin();
    let before = before.map(|side| image(&mut buffer, side, shown)).transpose()?;
    let after = after.map(|side| image(&mut buffer, side, shown)).transpose()?;
    let resource_id = resource_id(&mut buffer, &resource.resource_id, whose.row);
    let organisation_id = scope(&mut buffer, whose.plan.organisation_id.as_ref(), whose);
    let project_id = scope(&mut buffer, whose.plan.project_id.as_ref(), whose);
    drop(fixed);
    let value = |start: Option<usize>| start.map(|start| built(&buffer, start));
    writer::write(&Event {
        before_state: value(before),
        after_state: value(after),
        resource_id: value(resource_id),
        organisation_id: value(organisation_id),
        project_id: value(project_id),
        ..event
    })?;
    if buffer.capacity() <= KEPT_CAPACITY {
        BUFFER.set(buffer);
    }
    Ok(())
}

/// Whether two rows agree in a column of their keys. Of a key, a row that moves changes what chose its partition.
fn share_key(a: Side<'_>, b: Side<'_>) -> bool {
    let (key, other_key) = (&a.plan.rules.resource().resource_id, &b.plan.rules.resource().resource_id);
    let mut columns = key.iter().zip(other_key);
    columns.any(|(x, y)| match (a.row.get(x.position), b.row.get(y.position)) {
        (Some(value), Some(other)) => !x.attribute.differ(value, other),
        (value, other) => value.is_none() && other.is_none(),
    })
}

/// The columns whose values differ, as places among the plan's.
fn changed(before: Side<'_>, after: Side<'_>) -> Vec<usize> {
    let pairs = before.plan.columns.iter().zip(&after.plan.columns).enumerate();
    pairs
        .filter(|(_, (old, new))| match (before.row.get(old.position), after.row.get(new.position)) {
            (None, None) => false,
            (Some(old), Some(value)) => new.attribute.differ(old, value),
            _ => true,
        })
        .map(|(place, _)| place)
        .collect()
}

/// Whether an UPDATE took the row to another organisation or project.
fn scope_changed(before: Side<'_>, after: Side<'_>) -> Result<bool> {
    let _fixed = FixedSettings::begin();
    let mut differs = false;
    for (old, new) in [
        (&before.plan.organisation_id, &after.plan.organisation_id),
        (&before.plan.project_id, &after.plan.project_id),
    ] {
        let (Some(old), Some(new)) = (old, new) else { continue };
        if old.same_source(before.row, new, after.row) {
            continue;
        }
        let (mut was, mut is) = (Vec::new(), Vec::new());
        let was_there = old.push_text(&mut was, before.row, before.was_written);
        let is_there = new.push_text(&mut is, after.row, after.was_written);
        differs |= (was_there, was) != (is_there, is);
    }
    Ok(differs)
}

/// Appends the row's image to `buffer` and returns where it begins. What no JSONB can hold, 256 MB, is told by
/// the size of its largest values: auditing never refuses a legal write.
fn image(buffer: &mut Vec<u8>, side: Side<'_>, shown: &[usize]) -> Result<usize> {
    let start = buffer.len();
    match image_up_to(usize::MAX, buffer, side, shown) {
        Err(TooLarge(_)) => {
            buffer.truncate(start);
            Ok(image_up_to(SHORTENED / shown.len().max(1), buffer, side, shown)?)
        }
        image => Ok(image?),
    }
}

/// As `image`, with values of more than `largest` bytes replaced by their size.
fn image_up_to(
    largest: usize,
    buffer: &mut Vec<u8>,
    side: Side<'_>,
    shown: &[usize],
) -> std::result::Result<usize, TooLarge> {
    let columns = || shown.iter().map(|index| &side.plan.columns[*index]);
    let mut builder = Builder::new(buffer);
    let mut object = builder.object(shown.len())?;
    for column in columns() {
        builder.key(&mut object, &column.attribute.name)?;
    }
    for column in columns() {
        let value = side.row.get(column.position);
        let too_large = || value.map(|value| column.attribute.size(value)).filter(|size| *size > largest);
        if column.masked {
            builder.string(&mut object, MASKED)?;
        } else if let Some(size) = (largest < usize::MAX).then(too_large).flatten() {
            builder.string(&mut object, format!("[too large: {size} bytes]").as_bytes())?;
        } else {
            column.encoder.push(&mut builder, &mut object, value)?;
        }
    }
    Ok(builder.finish(object))
}

/// Appends the columns' values, joined with `:`, and returns where the text begins; `None` without a column or
/// where all of them are NULL.
fn resource_id(buffer: &mut Vec<u8>, columns: &[TextColumn], row: Row<'_>) -> Option<usize> {
    columns.iter().find(|column| row.get(column.position).is_some())?;
    let start = start_text(buffer);
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            buffer.push(b':');
        }
        if let Some(value) = row.get(column.position) {
            column.output.with_text(value, |text| buffer.extend_from_slice(text));
        }
    }
    finish_text(buffer, start);
    Some(start)
}

/// Appends the scope and returns where the text begins.
fn scope(buffer: &mut Vec<u8>, scope: Option<&Scope>, whose: Side<'_>) -> Option<usize> {
    let start = start_text(buffer);
    scope?.push_text(buffer, whose.row, whose.was_written).then(|| {
        finish_text(buffer, start);
        start
    })
}
