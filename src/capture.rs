//! The trigger: one row that was written becomes one event.

use std::cell::RefCell;

use audit_core::jsonb::Builder;

use crate::error::Result;
use crate::pg::output::FixedSettings;
use crate::pg::row::{Operation, Row, TriggerCall};
use crate::pg::value::{built, finish_text, start_text};
use crate::relations::{self, Column, Plan, TextColumn};
use crate::writer::{self, Event};

/// What a masked value is stored as.
const MASKED: &[u8] = b"[masked]";
/// A buffer that grew beyond this is not kept for the next row.
const KEPT_CAPACITY: usize = 1 << 20;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Records what the trigger was called for.
pub fn capture(call: &TriggerCall<'_>) -> Result<()> {
    let plan = relations::plan(call)?;
    let operation = call.operation();
    let Some(action) = plan.action(operation) else {
        return Ok(());
    };
    let mut event = Event {
        action: action.value(),
        resource_type: Some(plan.resource_type.value()),
        resource_id: None,
        organisation_id: None,
        project_id: None,
        before_state: None,
        after_state: None,
        metadata: None,
        table_name: Some(plan.table_name.value()),
    };
    let (before, after) = match operation {
        Operation::Insert => (None, Some(call.first_row())),
        Operation::Update => (Some(call.first_row()), Some(call.updated_row())),
        Operation::Delete => (Some(call.first_row()), None),
        Operation::Truncate => {
            writer::write(&event)?;
            return Ok(());
        }
    };
    let shown = match (before, after) {
        (Some(before), Some(after)) => {
            let shown = changed(&plan, before, after);
            if shown.is_empty() {
                return Ok(());
            }
            shown
        }
        _ => plan.columns.iter().collect(),
    };
    // The row as it is now says what it is and where it belongs.
    let Some(row) = after.or(before) else {
        return Ok(());
    };

    let mut buffer = BUFFER.take();
    buffer.clear();
    let fixed = FixedSettings::begin();
    let before = before.map(|row| image(&mut buffer, &shown, row)).transpose()?;
    let after = after.map(|row| image(&mut buffer, &shown, row)).transpose()?;
    let resource_id = text_of(&mut buffer, &plan.resource_id, row);
    let organisation_id = text_of(&mut buffer, plan.organisation_id.as_slice(), row);
    let project_id = text_of(&mut buffer, plan.project_id.as_slice(), row);
    drop(fixed);
    let value = |start: Option<usize>| start.map(|start| built(&buffer, start));
    event.before_state = value(before);
    event.after_state = value(after);
    event.resource_id = value(resource_id);
    event.organisation_id = value(organisation_id);
    event.project_id = value(project_id);
    writer::write(&event)?;
    if buffer.capacity() <= KEPT_CAPACITY {
        BUFFER.set(buffer);
    }
    Ok(())
}

/// The columns whose values differ, and the key's where images need it; none if nothing differs.
fn changed<'p>(plan: &'p Plan, before: Row<'_>, after: Row<'_>) -> Vec<&'p Column> {
    let differs = |column: &Column| match (before.get(column.position), after.get(column.position)) {
        (None, None) => false,
        (Some(before), Some(after)) => column.attribute.differ(before, after),
        _ => true,
    };
    let mut any = false;
    let mut shown = Vec::new();
    for column in &plan.columns {
        let differs = differs(column);
        any |= differs;
        if differs || column.always {
            shown.push(column);
        }
    }
    if any { shown } else { Vec::new() }
}

/// Appends the row's image to `buffer` and returns where it begins.
fn image(buffer: &mut Vec<u8>, columns: &[&Column], row: Row<'_>) -> Result<usize> {
    let mut builder = Builder::new(buffer);
    let mut object = builder.object(columns.len())?;
    for column in columns {
        builder.key(&mut object, &column.attribute.name)?;
    }
    for column in columns {
        if column.masked {
            builder.string(&mut object, MASKED)?;
        } else {
            column.encoder.push(&mut builder, &mut object, row.get(column.position))?;
        }
    }
    Ok(builder.finish(object))
}

/// Appends the columns' values, joined with `:`, and returns where the text begins; `None` without a column or
/// where all of them are NULL.
fn text_of(buffer: &mut Vec<u8>, columns: &[TextColumn], row: Row<'_>) -> Option<usize> {
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
