//! What is known of each tracked table, compiled once per backend and kept until the table changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use audit_core::jsonb::key_order;
use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Error, Result};
use crate::pg::catalog;
use crate::pg::encode::Encoder;
use crate::pg::output::{Output, PlanMemory};
use crate::pg::row::{Attribute, Operation, Relation, TriggerCall};
use crate::pg::value::Text;
use crate::tracking::Tracking;

/// How to turn a row of one table into an event.
pub struct Plan {
    /// `schema.table`.
    pub table_name: Text,
    /// What kind of resource the table holds.
    pub resource_type: Text,
    /// The columns that go into images, in the order of JSONB's keys.
    pub columns: Vec<Column>,
    /// The columns of the resource's id, in order; empty without a key.
    pub resource_id: Vec<TextColumn>,
    /// The column of the organisation.
    pub organisation_id: Option<TextColumn>,
    /// The column of the project.
    pub project_id: Option<TextColumn>,
    actions: [Option<Text>; 4],
    // Last, since the functions above live in it.
    _memory: PlanMemory,
}

/// A column that goes into images.
pub struct Column {
    /// Its position in the row, from zero.
    pub position: usize,
    /// Its name and type.
    pub attribute: Attribute,
    /// How its values become JSONB.
    pub encoder: Encoder,
    /// Whether its value is kept from the log.
    pub masked: bool,
    /// Whether an UPDATE's images hold it even where it did not change.
    pub always: bool,
}

/// A column that is read as text.
pub struct TextColumn {
    /// Its position in the row, from zero.
    pub position: usize,
    /// How its values become text.
    pub output: Output,
}

impl Plan {
    /// The action of an operation, `None` where its event is dropped.
    pub fn action(&self, operation: Operation) -> Option<&Text> {
        self.actions[operation as usize].as_ref()
    }
}

thread_local! {
    static PLANS: RefCell<HashMap<pg_sys::Oid, Rc<Plan>>> = RefCell::new(HashMap::new());
    /// Counts what was forgotten, so that a compilation notices a change that came while it ran.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    /// Plans to be freed: freeing calls PostgreSQL, which a listener must not.
    static STALE: RefCell<Vec<Rc<Plan>>> = const { RefCell::new(Vec::new()) };
}

/// Forgets the plan of `relation`, or all of them.
pub fn forget(relation: Option<pg_sys::Oid>) {
    CHANGES.set(CHANGES.get() + 1);
    let stale: Vec<_> = PLANS.with_borrow_mut(|plans| match relation {
        Some(relation) => plans.remove(&relation).into_iter().collect(),
        None => plans.drain().map(|(_, plan)| plan).collect(),
    });
    if !stale.is_empty() {
        STALE.with_borrow_mut(|waiting| waiting.extend(stale));
    }
}

/// The plan of the table that fired the trigger.
pub fn plan(call: &TriggerCall<'_>) -> Result<Rc<Plan>> {
    let relation = call.relation();
    if let Some(known) = PLANS.with_borrow(|plans| plans.get(&relation.oid()).cloned()) {
        return Ok(known);
    }
    drop(STALE.take());
    let changes = CHANGES.get();
    let plan = Rc::new(compile(call, relation)?);
    // A change that came meanwhile is for the next row: the executor's view of this table is as old as ours.
    if changes == CHANGES.get() {
        PLANS.with_borrow_mut(|plans| plans.insert(relation.oid(), plan.clone()));
    }
    Ok(plan)
}

fn compile(call: &TriggerCall<'_>, relation: Relation<'_>) -> Result<Plan> {
    let attributes = relation.attributes();
    let tracking = settings_of(call, relation, &attributes)?;
    let memory = PlanMemory::create();
    let position =
        |name: &String| attributes.iter().position(|a| a.as_ref().is_some_and(|a| a.label == *name));
    let text_column = |position: usize| {
        let type_oid = attributes[position].as_ref().map_or(pg_sys::InvalidOid, |a| a.type_oid);
        TextColumn { position, output: Output::of_type(&memory, type_oid) }
    };
    let primary_key = relation.primary_key();
    let resource_id: Vec<usize> = match &tracking.resource_id {
        Some(names) => names.iter().filter_map(position).collect(),
        None => primary_key.clone(),
    };
    let resource_id_is_key = resource_id == primary_key;
    let resource_id = resource_id.into_iter().map(text_column).collect();
    let organisation_id = tracking.organisation_id.as_ref().and_then(position).map(text_column);
    let project_id = tracking.project_id.as_ref().and_then(position).map(text_column);
    let text = |text: String| Text::new(&catalog::from_utf8(&text));
    let actions = [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate]
        .map(|operation| tracking.action(operation).map(text));

    let mut columns: Vec<Column> = attributes
        .into_iter()
        .enumerate()
        .filter_map(|(position, attribute)| Some((position, attribute?)))
        .filter(|(_, attribute)| !tracking.exclude.contains(&attribute.label))
        .map(|(position, attribute)| Column {
            position,
            encoder: Encoder::of_type(&memory, attribute.type_oid),
            masked: tracking.mask.contains(&attribute.label),
            always: !resource_id_is_key && primary_key.contains(&position),
            attribute,
        })
        .collect();
    columns.sort_by(|a, b| key_order(&a.attribute.name, &b.attribute.name));

    Ok(Plan {
        table_name: Text::new(&catalog::qualified_name(relation.oid())),
        resource_type: text(tracking.resource_type),
        columns,
        resource_id,
        organisation_id,
        project_id,
        actions,
        _memory: memory,
    })
}

/// The settings in the trigger's argument, with the columns' names of now.
fn settings_of(
    call: &TriggerCall<'_>,
    relation: Relation<'_>,
    attributes: &[Option<Attribute>],
) -> Result<Tracking> {
    let table = || String::from_utf8_lossy(&catalog::qualified_name(relation.oid())).into_owned();
    let damaged = |message: String| {
        Err(Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
            .hint("Call audit.track for the table again, or audit.untrack if it should not be tracked."))
    };
    let arguments = call.arguments();
    let [argument] = arguments[..] else {
        return damaged(format!("the audit trigger of {} does not have one argument", table()));
    };
    let mut tracking = match Tracking::parse(argument) {
        Ok(tracking) => tracking,
        Err(error) => {
            return damaged(format!("the audit trigger of {} has a damaged argument: {error}", table()));
        }
    };
    if call.is_clone() {
        // A partition's columns have the names of the partitioned table's, and numbers of their own.
        tracking.attnums.clear();
    }
    let before = (tracking.mask.len(), tracking.exclude.len());
    match tracking.resolved(attributes) {
        Ok(resolved) if call.is_clone() && before != (resolved.mask.len(), resolved.exclude.len()) => {
            damaged(format!("a masked or excluded column of {} cannot be found", table()))
        }
        Ok(resolved) => Ok(resolved),
        Err(missing) => damaged(format!(
            "{} of {} names column \"{}\", which is not there",
            missing.argument,
            table(),
            missing.column
        )),
    }
}
