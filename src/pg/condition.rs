//! SQL conditions over the old and the new row of a change, as a trigger's WHEN has them: PostgreSQL parses, checks,
//! compiles and evaluates them.
//!
//! Always as the owner of the table and under settings of our own, so that a condition means the same whoever writes,
//! and nobody lends it more rights.

use std::cell::Cell;
use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;

use super::caught::{Mistake, caught};
use super::condition_casts::refuse_foreign_casts;
use super::condition_functions::functions_called;
use super::condition_text::{PARSED, parse};
use super::output::{FixedSettings, PlanMemory};
use super::row::{OpenRelation, Relation, Row};
use super::scope::{as_restricted, with_settings};
use super::trigger_call::Operation;

/// What a condition's meaning may depend on when it is evaluated, and a client can set. What is not in `pg_catalog` has
/// to be qualified.
const EVALUATED: [(&CStr, &CStr); 8] = [
    (c"search_path", c"pg_catalog, pg_temp"),
    (c"array_nulls", c"on"),
    (c"default_text_search_config", c"pg_catalog.simple"),
    (c"lc_monetary", c"C"),
    (c"lc_numeric", c"C"),
    (c"lc_time", c"C"),
    (c"xmlbinary", c"base64"),
    (c"xmloption", c"content"),
];
/// The range table's numbers of the two rows.
const OLD: i32 = pg_sys::PRS2_OLD_VARNO as i32;
const NEW: i32 = pg_sys::PRS2_NEW_VARNO as i32;

/// A condition, ready to be evaluated for rows of one table. It is only used while the plan lives whose
/// [`PlanMemory`] it was made in.
pub struct Condition {
    state: *mut pg_sys::ExprState,
    context: *mut pg_sys::ExprContext,
    old: *mut pg_sys::TupleTableSlot,
    new: *mut pg_sys::TupleTableSlot,
    owner: pg_sys::Oid,
    /// Whether it calls what users made, or what is not immutable (a cast of text to a user's type calls users' code,
    /// too): they may look at settings.
    reads_settings: bool,
    /// The columns that it reads, by position.
    columns: Vec<usize>,
    busy: Cell<bool>,
}

impl Condition {
    /// Compiles `text`, in the database's encoding, for rows of `table` and writes of one kind, with the rights of
    /// `owner`.
    pub fn compile(
        memory: &PlanMemory,
        table: pg_sys::Oid,
        owner: pg_sys::Oid,
        operation: Operation,
        text: &[u8],
    ) -> Result<Self, Mistake> {
        // SAFETY: the relation is open; errors of PostgreSQL's are caught by `reading`.
        reading(table, owner, text, |relation, text| unsafe {
            compile(memory, relation, owner, operation, text)
        })
    }

    /// Whether `text` is a condition for rows of `table`, and the functions that it calls. Nothing of it is evaluated: whoever
    /// runs DDL must not have to run another's functions.
    pub fn check(
        table: pg_sys::Oid,
        owner: pg_sys::Oid,
        operation: Operation,
        text: &[u8],
    ) -> Result<Vec<pg_sys::Oid>, Mistake> {
        // SAFETY: as in `compile`.
        reading(table, owner, text, |relation, text| unsafe {
            analyse(relation, owner, operation, text).map(|(expression, _)| functions_called(expression))
        })
    }

    /// The columns that it reads, by position.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whether it holds; NULL counts as false. `old` and `new` are rows of the table it was compiled for, where the
    /// write has them.
    pub fn holds(&self, old: Option<Row<'_>>, new: Option<Row<'_>>) -> Result<bool, Mistake> {
        struct Busy<'a>(&'a Cell<bool>);
        impl Drop for Busy<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        if self.busy.replace(true) {
            return Err(Mistake::in_use());
        }
        let _busy = Busy(&self.busy);
        let _fixed = FixedSettings::begin();
        caught(|| {
            as_restricted(self.owner, || {
                // SAFETY: compiled by `compile`, and evaluated by nobody else meanwhile; the rows outlive the call.
                let evaluate = || unsafe { self.evaluate(old, new) };
                if self.reads_settings { with_settings(&EVALUATED, evaluate) } else { evaluate() }
            })
        })
    }

    /// # Safety
    /// The rows must be of the table that the condition was compiled for.
    unsafe fn evaluate(&self, old: Option<Row<'_>>, new: Option<Row<'_>>) -> bool {
        // SAFETY: state, context and slots live in the plan's memory. The guard turns an error into a panic, which
        // frees what Rust holds; the memory that it leaves is reset by the next evaluation.
        unsafe {
            let context = &mut *self.context;
            pg_sys::MemoryContextReset(context.ecxt_per_tuple_memory);
            for (slot, row) in [(self.old, old), (self.new, new)] {
                if let Some(row) = row {
                    row.show_in(slot);
                }
            }
            context.ecxt_innertuple = self.old;
            context.ecxt_outertuple = self.new;
            let caller = pg_sys::MemoryContextSwitchTo(context.ecxt_per_tuple_memory);
            let evaluate = (*self.state).evalfunc.expect("ExecInitExpr sets it");
            let mut is_null = false;
            let result = pg_guard_ffi_boundary(|| evaluate(self.state, context, &mut is_null));
            pg_sys::MemoryContextSwitchTo(caller);
            !is_null && result.value() as u8 != 0
        }
    }
}

/// Lets `work` read `text` as a condition on rows of `table`, which is open meanwhile: as `owner`, under settings of our
/// own, its errors caught.
fn reading<R>(
    table: pg_sys::Oid,
    owner: pg_sys::Oid,
    text: &[u8],
    work: impl FnOnce(Relation<'_>, &CStr) -> Result<R, Mistake>,
) -> Result<R, Mistake> {
    let text = CString::new(text).map_err(|_| Mistake::syntax("it holds a zero byte"))?;
    let open = OpenRelation::peek(table).ok_or_else(|| Mistake::syntax("its table is gone"))?;
    let _fixed = FixedSettings::begin();
    let work = || work(open.relation(), &text);
    caught(|| as_restricted(owner, || with_settings(&EVALUATED, || with_settings(&PARSED, work))))?
}

/// # Safety
/// `relation` must be open.
unsafe fn compile(
    memory: &PlanMemory,
    relation: Relation<'_>,
    owner: pg_sys::Oid,
    operation: Operation,
    text: &CStr,
) -> Result<Condition, Mistake> {
    // SAFETY: node trees and lists are made by PostgreSQL in the current memory context; what has to live longer is
    // copied into the plan's.
    unsafe {
        let (expression, columns) = analyse(relation, owner, operation, text)?;
        let (mut relations, mut items) = (std::ptr::null_mut(), std::ptr::null_mut());
        pg_sys::ChangeVarNodes(expression, OLD, pg_sys::INNER_VAR, 0);
        pg_sys::ChangeVarNodes(expression, NEW, pg_sys::OUTER_VAR, 0);
        // It may inline functions, and so bring volatile ones to light.
        let planned =
            pg_sys::expression_planner_with_deps(expression.cast(), &mut relations, &mut items).cast();
        refuse_volatile(planned)?;

        let caller = pg_sys::MemoryContextSwitchTo(memory.0);
        let planned = pg_sys::copyObjectImpl(planned.cast_const().cast());
        let state = pg_sys::ExecInitExpr(planned.cast(), std::ptr::null_mut());
        let context = pg_sys::CreateStandaloneExprContext();
        let descriptor = pg_sys::CreateTupleDescCopy((*relation.as_ptr()).rd_att);
        let slot = || pg_sys::MakeTupleTableSlot(descriptor, &raw const pg_sys::TTSOpsVirtual);
        let (old, new) = (slot(), slot());
        pg_sys::MemoryContextSwitchTo(caller);
        Ok(Condition {
            state,
            context,
            old,
            new,
            owner,
            reads_settings: !items.is_null() || pg_sys::contain_mutable_functions(planned.cast()),
            columns,
            busy: Cell::new(false),
        })
    }
}

/// The condition as a boolean expression over `old` and `new`, and the columns that it reads.
///
/// # Safety
/// `relation` must be open.
unsafe fn analyse(
    relation: Relation<'_>,
    owner: pg_sys::Oid,
    operation: Operation,
    text: &CStr,
) -> Result<(*mut pg_sys::Node, Vec<usize>), Mistake> {
    // SAFETY: the parse state lives as long as this call; the rest is PostgreSQL's.
    unsafe {
        let raw = parse(text)?;
        let state = pg_sys::make_parsestate(std::ptr::null_mut());
        (*state).p_sourcetext = text.as_ptr();
        for name in [c"old", c"new"] {
            let item = pg_sys::addRangeTableEntryForRelation(
                state,
                relation.as_ptr(),
                pg_sys::AccessShareLock as i32,
                pg_sys::makeAlias(name.as_ptr(), std::ptr::null_mut()),
                false,
                false,
            );
            // Columns are not visible by their names alone: it has to be said of which row.
            pg_sys::addNSItemToQuery(state, item, false, true, false);
        }
        let expression = pg_sys::transformExpr(state, raw, pg_sys::ParseExprKind::EXPR_KIND_TRIGGER_WHEN);
        let expression = pg_sys::coerce_to_boolean(state, expression, c"if".as_ptr());
        pg_sys::assign_expr_collations(state, expression);
        pg_sys::free_parsestate(state);
        let columns = columns_read(relation, operation, expression)?;
        refuse_foreign_casts(expression, owner)?;
        refuse_volatile(expression)?;
        Ok((expression, columns))
    }
}

/// The positions of the columns that the condition reads: all of them where it reads a whole row.
///
/// # Safety
/// `relation` must be open, and `expression` over its rows.
unsafe fn columns_read(
    relation: Relation<'_>,
    operation: Operation,
    expression: *mut pg_sys::Node,
) -> Result<Vec<usize>, Mistake> {
    let mut read = std::collections::BTreeSet::new();
    // SAFETY: a set holds attribute numbers above the system columns'; the descriptor holds natts columns.
    unsafe {
        let columns = (*(*relation.as_ptr()).rd_att).natts;
        for (row, number, absent) in [("old", OLD, Operation::Insert), ("new", NEW, Operation::Delete)] {
            let mut set = std::ptr::null_mut();
            pg_sys::pull_varattnos(expression, number as u32, &mut set);
            let reads =
                |attnum| pg_sys::bms_is_member(attnum - pg_sys::FirstLowInvalidHeapAttributeNumber, set);
            if !set.is_null() && operation == absent {
                return Err(Mistake::no_such_row(row, operation));
            }
            if (pg_sys::FirstLowInvalidHeapAttributeNumber + 1..0).any(reads) {
                return Err(Mistake::system_column());
            }
            read.extend((1..=columns).filter(|attnum| reads(0) || reads(*attnum)).map(|at| at as usize - 1));
        }
    }
    Ok(read.into_iter().collect())
}

/// # Safety
/// `expression` must be valid.
unsafe fn refuse_volatile(expression: *mut pg_sys::Node) -> Result<(), Mistake> {
    // SAFETY: as the caller promises.
    if unsafe { pg_sys::contain_volatile_functions(expression) } { Err(Mistake::volatile()) } else { Ok(()) }
}
