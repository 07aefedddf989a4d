//! What DDL makes rows of tracked tables hold, be known by or belong to without writing them: columns that go, come filled or are
//! of another type, types whose values read otherwise, another primary key, foreign keys that lead to another scope.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};

use pgrx::pg_sys;

use crate::columns;
use crate::ddl;
use crate::error::Result;
use crate::fits;
use crate::pg::catalog;
use crate::pg::ddl_command::Command;
use crate::pg::row::OpenRelation;
use crate::tracking::Tracking;
use crate::trail_state::{Column, Reference, Rows, State, of};
use crate::trail_tracking::tell_of;
use crate::triggers;

/// What may have changed.
#[derive(Clone, Default)]
struct Touched {
    /// Relations of any kind. The server tells the relation cache of each whose columns, keys or foreign keys change.
    relations: HashSet<pg_sys::Oid>,
    /// Whether it may be others, too: the server told so many at once that it names none.
    any: bool,
}

thread_local! {
    /// What may have changed since the outermost watched command began.
    static TOUCHED: RefCell<Option<Touched>> = const { RefCell::new(None) };
}

/// Notes from now on what changes.
pub fn watch() {
    TOUCHED.set(Some(Touched::default()));
}

/// Notes no more.
pub fn watch_no_more() {
    TOUCHED.set(None);
}

/// A relation changed, or any did.
pub fn note(relation: Option<pg_sys::Oid>) {
    TOUCHED.with_borrow_mut(|touched| {
        let Some(touched) = touched else { return };
        match relation {
            Some(relation) if relation.to_u32() >= pg_sys::FirstNormalObjectId => {
                touched.relations.insert(relation);
            }
            Some(_) => {}
            None => touched.any = true,
        }
    });
}

/// Whether tables that are tracked, or that their paths lead along, may have changed.
pub fn may_concern(ended: Option<&Command>) -> bool {
    if ended.is_some_and(Command::renames_value) {
        return true;
    }
    let (Some(touched), Some(function)) = (TOUCHED.with_borrow(Option::clone), catalog::capture_function())
    else {
        return false;
    };
    let is_apart =
        |table: &pg_sys::Oid| fits::is_known(*table, |fit| fit.along.is_disjoint(&touched.relations));
    touched.any || !triggers::tables(function).iter().all(is_apart)
}

/// Tells what differs, one event a table. `ended`: the command, if it is over.
pub fn tell(before: &State, after: &State, ended: Option<&Command>) -> Result<()> {
    let tracked: Vec<_> = after.tracked().collect();
    let Some(touched) = TOUCHED.with_borrow(Option::clone).filter(|_| !tracked.is_empty()) else {
        return Ok(());
    };
    let touched: Vec<_> = match touched.any {
        true => after.relations(),
        false => touched.relations.into_iter().collect(),
    };
    let columns = (before.columns_of(&touched), after.columns_of(&touched));
    let references = Others::new(before.references_of(&touched), after.references_of(&touched));
    let types = match ended.is_some_and(Command::renames_value) {
        true => ddl::altered_types()?,
        false => Vec::new(),
    };
    let holding = holding_others(before, after, &touched, &types, &columns);
    for table in tracked {
        let (was, is) = (of(&columns.0, table), of(&columns.1, table));
        let mut reasons = column_reasons(was, is);
        reasons.extend(holding.get(&table.to_u32()).map(|names| held_reason(names)));
        reasons.extend(key_reason(was, is));
        if reasons.is_empty() && references.tables.is_empty() {
            continue;
        }
        // Settings that named a column by its old name were told to name it by its new one.
        let Some(settings) = after.settings_of(table).or_else(|| before.settings_of(table)) else {
            continue;
        };
        reasons.extend(path_reasons(table, &settings, &references));
        // A table that the command made itself had no rows before.
        if !reasons.is_empty() && before.name_of(table).is_some() {
            tell_of(
                &catalog::qualified_name(table),
                &settings,
                "audit.tracking.changed",
                reasons.join("; "),
            )?;
        }
    }
    Ok(())
}

fn column_reasons(was: &[Column], is: &[Column]) -> Vec<String> {
    let same = |columns: &'_ [Column], column: &Column| {
        columns.iter().position(|other| other.number == column.number)
    };
    let others = was.iter().flat_map(|column| {
        let Some(now) = same(is, column).map(|at| &is[at]) else {
            return vec![format!("column {} was dropped", column.name)];
        };
        let renamed =
            (now.name != column.name).then(|| format!("column {} is {} now", column.name, now.name));
        let retyped = (now.kind != column.kind)
            .then(|| format!("column {} is of type {} now", now.name, now.kind_name));
        renamed.into_iter().chain(retyped).collect()
    });
    let came = is.iter().filter(|column| column.is_filled && same(was, column).is_none());
    let came =
        came.map(|column| format!("column {} came with a value for the rows that were there", column.name));
    others.chain(came).collect()
}

/// Rows are known by their primary key, unless settings say otherwise.
fn key_reason(was: &[Column], is: &[Column]) -> Option<String> {
    fn key(columns: &[Column]) -> Vec<&Column> {
        let mut key: Vec<_> = columns.iter().filter(|column| column.place_in_key.is_some()).collect();
        key.sort_by_key(|column| column.place_in_key);
        key
    }
    let numbers = |key: &[&Column]| key.iter().map(|column| column.number.clone()).collect::<Vec<_>>();
    let names =
        |key: &[&Column]| key.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let (was, is) = (key(was), key(is));
    if numbers(&was) == numbers(&is) {
        return None;
    }
    Some(match (was.is_empty(), is.is_empty()) {
        (_, true) => format!("the primary key ({}) was dropped", names(&was)),
        (true, _) => format!("the primary key is ({}) now", names(&is)),
        _ => format!("the primary key is ({}) now, and was ({})", names(&is), names(&was)),
    })
}

/// The columns, by table, that hold values of types that the command altered so that these read otherwise: enums whose values
/// have other names, composite types and tables whose columns went, have other names or are of other types.
fn holding_others(
    before: &State,
    after: &State,
    touched: &[pg_sys::Oid],
    types: &[pg_sys::Oid],
    (was, is): &(Rows<Column>, Rows<Column>),
) -> Rows<String> {
    let (old_values, new_values) = (before.values_of(types), after.values_of(types));
    let of_types = types.iter().filter(|kind| of(&old_values, **kind) != of(&new_values, **kind));
    let is_other = |table: &&pg_sys::Oid| !column_reasons(of(was, **table), of(is, **table)).is_empty();
    let of_tables = touched.iter().filter(is_other);
    let (types, tables): (Vec<_>, Vec<_>) = (of_types.copied().collect(), of_tables.copied().collect());
    match types.is_empty() && tables.is_empty() {
        true => Rows::new(),
        false => after.holding(&types, &tables),
    }
}

fn held_reason(names: &[String]) -> String {
    match names {
        [name] => format!("column {name} holds values of a type that was altered"),
        names => format!("columns {} hold values of a type that was altered", names.join(", ")),
    }
}

/// Foreign keys, as they were and as they are.
struct Others {
    was: Rows<Reference>,
    is: Rows<Reference>,
    /// The tables of which some differ.
    tables: BTreeSet<u32>,
}

impl Others {
    fn new(was: Rows<Reference>, is: Rows<Reference>) -> Self {
        let tables = was.keys().chain(is.keys()).copied().filter(|table| was.get(table) != is.get(table));
        let tables = tables.collect();
        Self { was, is, tables }
    }

    /// Whether they differ in those that have this column of the table.
    fn are_at(&self, table: pg_sys::Oid, number: usize) -> bool {
        let has = |reference: &&Reference| reference.has(number);
        let (was, is) = (of(&self.was, table), of(&self.is, table));
        self.tables.contains(&table.to_u32()) && was.iter().filter(has).ne(is.iter().filter(has))
    }
}

/// A path leads elsewhere where the foreign keys of one of its columns are others; up to the first such column it led along the
/// same tables before.
fn path_reasons(table: pg_sys::Oid, settings: &Tracking, others: &Others) -> Vec<String> {
    if others.tables.is_empty() {
        return Vec::new();
    }
    let Some(columns) = OpenRelation::peek(table).map(|open| open.relation().attributes()) else {
        return Vec::new();
    };
    let reason = |(argument, path): (&str, &String)| {
        // One that leads nowhere is refused, or somebody else's doing.
        let steps = columns::resolve(table, &columns, path, &settings.attnums).ok()?;
        let step =
            steps.iter().find(|step| step.key.is_some() && others.are_at(step.table, step.position + 1))?;
        Some(format!(
            "a foreign key of {} ({}), along which {argument} is found, came, went or leads elsewhere",
            catalog::shown_name(step.table),
            step.label
        ))
    };
    settings.paths().filter_map(reason).collect()
}
