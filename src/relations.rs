//! What is known of each tracked table, compiled once per backend and kept until the table changes.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use audit_core::jsonb::key_order;
use pgrx::{PgSqlErrorCode, pg_sys};

use crate::columns::{Step, resolve};
use crate::error::{Error, Result};
use crate::pg::catalog;
use crate::pg::encode::Encoder;
use crate::pg::lookup::Lookup;
use crate::pg::output::{Output, PlanMemory};
use crate::pg::row::{Attribute, OpenRelation, Relation};
use crate::pg::trigger_call::{Operation, RowTrigger, TriggerCall};
use crate::pg::value::Text;
use crate::rules::{Name, Naming, Resource, Rule, Rules};
use crate::scope::Scope;
use crate::tracking::{Tracking, triggers_of, with_generated};
use crate::unresolved::{Problem, Unresolved};
use crate::writer::Event;

/// How to turn a row of one table into an event.
pub struct Plan {
    /// `schema.table`.
    pub table_name: Text,
    /// The columns that go into images, in the order of JSONB's keys.
    pub columns: Vec<Column>,
    /// What events are called and about.
    pub rules: Rules,
    /// The columns that conditions read, by name.
    pub judged: Vec<(usize, Attribute)>,
    /// How many columns a row has, dropped ones included.
    pub width: usize,
    /// Where the organisation comes from.
    pub organisation_id: Option<Scope>,
    /// Where the project comes from.
    pub project_id: Option<Scope>,
    /// The topmost partitioned table, for a partition.
    pub partition_of: Option<pg_sys::Oid>,
    /// The partitioned tables above.
    pub ancestors: Vec<pg_sys::Oid>,
    /// Whether the table is the audit system's own.
    pub own: bool,
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
}

/// A column that is read as text.
pub struct TextColumn {
    /// Its position in the row, from zero.
    pub position: usize,
    /// Its name and type.
    pub attribute: Attribute,
    /// How its values become text.
    pub output: Output,
}

impl Plan {
    /// The event with this name by `command`, with what all of the table's have in common; `None` where it is
    /// dropped.
    pub fn event(&self, name: Name, command: pg_sys::CommandId) -> Option<Event<'_>> {
        let naming = self.rules.naming(name);
        Some(Event {
            action: naming.action.as_ref()?.value(),
            resource_type: Some(naming.resource.resource_type.value()),
            resource_id: None,
            organisation_id: None,
            project_id: None,
            before_state: None,
            after_state: None,
            metadata: None,
            table_name: Some(self.table_name.value()),
            command,
            own: self.own,
        })
    }

    /// The columns of the resource's id, the scope and conditions, which images may leave out.
    pub fn identifying(&self) -> impl Iterator<Item = (usize, &Attribute)> {
        let scopes = self.organisation_id.iter().chain(&self.project_id).flat_map(|scope| &scope.sources);
        let scopes = scopes.map(|(position, attribute)| (*position, attribute));
        let judged = self.judged.iter().map(|(position, attribute)| (*position, attribute));
        let keys = self.rules.resources().flat_map(|resource| &resource.resource_id);
        keys.map(|column| (column.position, &column.attribute)).chain(scopes).chain(judged)
    }

    fn depends_on(&self, relation: pg_sys::Oid) -> bool {
        self.organisation_id.iter().chain(&self.project_id).any(|scope| scope.tables().any(|t| t == relation))
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
        Some(relation) => plans
            .extract_if(|table, plan| *table == relation || plan.depends_on(relation))
            .map(|(_, plan)| plan)
            .collect(),
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
    let generated = relation.generated_columns();
    let tracking = settings_of(call, relation, &attributes)?;
    let memory = PlanMemory::create();
    let position =
        |name: &String| attributes.iter().position(|a| a.as_ref().is_some_and(|a| a.label == *name));
    let text_column = |position: usize| {
        let attribute = attributes[position].clone()?;
        Some(TextColumn { position, output: Output::of_identifier(&memory, attribute.type_oid), attribute })
    };
    let scope = |path: &String| -> Result<Scope> {
        let found = || {
            let steps = resolve(relation.oid(), &attributes, path, &BTreeMap::new()).ok()?;
            let (hops, positions) = along(&memory, &steps)?;
            let source = |position: usize| Some((position, attributes[position].clone()?));
            let sources = positions.into_iter().map(source).collect::<Option<Vec<_>>>()?;
            let type_oid = hops.last().map_or(sources[0].1.type_oid, Lookup::type_oid);
            Some(Scope::new(sources, hops, Output::of_identifier(&memory, type_oid)))
        };
        found().ok_or_else(|| damaged(format!("the scope \"{path}\" leads nowhere")))
    };
    let primary_key = relation.primary_key();
    let organisation_id = tracking.organisation_id.as_ref().map(scope).transpose()?;
    let project_id = tracking.project_id.as_ref().map(scope).transpose()?;
    let ancestors: Vec<pg_sys::Oid> = catalog::ancestors(relation.oid()).collect();
    let text = |text: String| Text::new(&catalog::from_utf8(&text));
    let masked = with_generated(&tracking.mask, &attributes, &generated);
    let excluded = with_generated(&tracking.exclude, &attributes, &generated);

    let mut columns: Vec<Column> = attributes
        .iter()
        .enumerate()
        .filter_map(|(position, attribute)| Some((position, attribute.clone()?)))
        .filter(|(_, attribute)| !excluded.contains(&attribute.label))
        .map(|(position, attribute)| Column {
            position,
            encoder: Encoder::of_type(&memory, attribute.type_oid),
            masked: masked.contains(&attribute.label),
            attribute,
        })
        .collect();
    columns.sort_by(|a, b| key_order(&a.attribute.name, &b.attribute.name));

    // Where a column is among those of images.
    let place = |position: &usize| columns.iter().position(|column| column.position == *position);
    let resource = |resource_type: &str, names: Option<&Vec<String>>| {
        let resource_id: Vec<usize> = match names {
            Some(names) => names.iter().filter_map(position).collect(),
            None => primary_key.clone(),
        };
        let always = if resource_id == primary_key { &[][..] } else { &primary_key };
        let mut always: Vec<usize> = always.iter().filter_map(place).collect();
        always.sort_unstable();
        let resource_id = resource_id.into_iter().filter_map(text_column).collect();
        Rc::new(Resource { resource_type: text(resource_type.to_owned()), resource_id, always })
    };
    let own = resource(&tracking.resource_type, tracking.resource_id.as_ref());
    let defaults = [Operation::Insert, Operation::Update, Operation::Delete, Operation::Truncate]
        .map(|operation| Naming { action: tracking.action(operation).map(text), resource: Rc::clone(&own) });
    let conditions = tracking
        .conditions(&memory, relation.oid(), configured_by(call, &ancestors))
        .map_err(|unresolved| useless(relation.oid(), &unresolved))?;
    let mut judged: BTreeMap<&str, (usize, Attribute)> = BTreeMap::new();
    let mut rules = Vec::new();
    for (rule, condition) in tracking.rules.iter().zip(conditions) {
        for position in condition.iter().flat_map(|(_, condition)| condition.columns()) {
            if let Some(attribute) = &attributes[*position] {
                judged.insert(&attribute.label, (*position, attribute.clone()));
            }
        }
        let resource = if rule.resource_type.is_none() && rule.resource_id.is_none() {
            Rc::clone(&own)
        } else {
            resource(
                rule.resource_type.as_ref().unwrap_or(&tracking.resource_type),
                rule.resource_id.as_ref().or(tracking.resource_id.as_ref()),
            )
        };
        let claims = rule.columns.as_ref();
        rules.push(Rule {
            on: rule.on.operation(),
            columns: claims
                .map(|names| names.iter().filter_map(position).filter_map(|at| place(&at)).collect()),
            condition,
            naming: Naming { action: rule.action.clone().map(text), resource },
        });
    }

    Ok(Plan {
        table_name: Text::new(&catalog::qualified_name(relation.oid())),
        judged: judged.into_values().collect(),
        width: attributes.len(),
        rules: Rules::new(relation.oid(), defaults, rules),
        columns,
        organisation_id,
        project_id,
        partition_of: ancestors.last().copied().filter(|_| call.row_trigger() == RowTrigger::Inherited),
        ancestors,
        own: catalog::is_in_own_schema(relation.oid()),
        _memory: memory,
    })
}

/// The owner of the table that carries the settings: for a partition, the one above that `audit.track` was called for.
fn configured_by(call: &TriggerCall<'_>, ancestors: &[pg_sys::Oid]) -> pg_sys::Oid {
    let own = call.relation().oid();
    let carries = |table: &&pg_sys::Oid| triggers_of(**table).iter().any(|t| t.for_row && !t.is_clone);
    let table =
        if call.row_trigger() == RowTrigger::Inherited { ancestors.iter().find(carries) } else { None };
    catalog::table_owner(*table.unwrap_or(&own)).unwrap_or(pg_sys::InvalidOid)
}

/// The lookups that lead along `steps`, and the columns of the first table that they start from.
fn along(memory: &PlanMemory, steps: &[Step]) -> Option<(Vec<Lookup>, Vec<usize>)> {
    let (last, way) = steps.split_last()?;
    // Each lookup reads what the next one starts from; the last one the scope.
    let mut hops = Vec::new();
    let (mut table, mut wanted) = (last.table, vec![last.position]);
    for step in way.iter().rev() {
        let key = step.key.as_ref()?;
        let columns = OpenRelation::peek(table)?.relation().attributes();
        let label = |position: &usize| Some(columns.get(*position)?.as_ref()?.label.clone());
        let labels = wanted.iter().map(label).collect::<Option<Vec<_>>>()?;
        hops.insert(0, Lookup::new(memory, step.table, key, &labels)?);
        (table, wanted) = (step.table, key.columns());
    }
    Some((hops, wanted))
}

/// The error of a condition that cannot be compiled: no DDL could break it, but its owner may have lost a right.
fn useless(table: pg_sys::Oid, unresolved: &Unresolved) -> Error {
    let table = catalog::shown_name(table);
    match &unresolved.problem {
        Problem::Condition { mistake, .. }
            if mistake.code == PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE =>
        {
            Error::new(mistake.code, format!("the owner of {table} may not evaluate {unresolved}")).hint(
                "Grant the table's owner what the condition uses, or call audit.track with another one.",
            )
        }
        _ => damaged(format!("the audit of {table} is damaged: {unresolved}")),
    }
}

/// An error that only DDL behind the extension's back leads to.
fn damaged(message: String) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        .hint("Call audit.track for the table again, or audit.untrack if it should not be tracked.")
}

/// The settings in the trigger's argument, with the columns' names of now.
fn settings_of(
    call: &TriggerCall<'_>,
    relation: Relation<'_>,
    attributes: &[Option<Attribute>],
) -> Result<Tracking> {
    let table = || catalog::shown_name(relation.oid());
    let arguments = call.arguments();
    let [argument] = arguments[..] else {
        return Err(damaged(format!("the audit trigger of {} does not have one argument", table())));
    };
    let tracking = Tracking::parse(argument).map_err(|error| {
        damaged(format!("the audit trigger of {} has a damaged argument: {error}", table()))
    })?;
    // A partition's columns have the names of the partitioned table's, and numbers of their own.
    let own = if call.is_clone() {
        Tracking { attnums: BTreeMap::new(), ..tracking.clone() }
    } else {
        tracking.clone()
    };
    let resolved = own
        .resolved(relation.oid(), attributes, &relation.primary_key())
        .map_err(|unresolved| damaged(format!("the audit of {} is damaged: {unresolved}", table())))?;
    // DDL that the event trigger did not see may have hidden what must not be stored.
    if tracking.lost_a_secret(&resolved) {
        return Err(damaged(format!("a masked or excluded column of {} cannot be found", table())));
    }
    Ok(resolved)
}
