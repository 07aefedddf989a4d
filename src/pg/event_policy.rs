//! Whether the log's row-level security is what the extension made it: pages of the log go by rights that they read
//! themselves, which say the same as that policy and nothing else.

use std::cell::Cell;
use std::ffi::{CStr, CString};

use pgrx::{FromDatum, pg_sys};

use super::event_reader::Log;
use super::list::cells;
use super::scope::{as_extension_owner, with_settings};

/// Where the policy is written.
const SCRIPT: &str = include_str!("../../sql/25_access.sql");
const BEGINNING: &str = "CREATE POLICY readable ON audit.event";

thread_local! {
    /// The log whose policy was found to be the extension's.
    static KNOWN: Cell<Option<pg_sys::Oid>> = const { Cell::new(None) };
}

/// Forgets what is known of `relation`, or everything.
pub fn forget(relation: Option<pg_sys::Oid>) {
    if relation.is_none() || relation == KNOWN.get() {
        KNOWN.set(None);
    }
}

impl Log {
    /// Whether the extension's policy stands there alone, and as it was made.
    pub fn has_own_policy(&self) -> bool {
        // SAFETY: the relation is open; its description of policies is null or valid.
        unsafe {
            let oid = (*self.relation).rd_id;
            if KNOWN.get() == Some(oid) {
                return true;
            }
            let Some(description) = (*self.relation).rd_rsdesc.as_ref() else { return false };
            let [policy] = cells(description.policies) else { return false };
            let is_own = is_own(self.relation, &*policy.ptr_value.cast());
            KNOWN.set(is_own.then_some(oid));
            is_own
        }
    }
}

/// # Safety
/// `policy` must be one of `log`'s, which is open.
unsafe fn is_own(log: pg_sys::Relation, policy: &pg_sys::RowSecurityPolicy) -> bool {
    // SAFETY: a policy's name is a C string, its roles are an oid[]; both trees are expressions.
    unsafe {
        let roles = Vec::<pg_sys::Oid>::from_datum(pg_sys::Datum::from(policy.roles), false);
        CStr::from_ptr(policy.policy_name) == c"readable"
            && policy.permissive
            && policy.polcmd as u8 == pg_sys::ACL_SELECT_CHR
            // Zero is PUBLIC.
            && roles.is_some_and(|roles| roles == [pg_sys::InvalidOid])
            && made(log).is_some_and(|made| pg_sys::equal(made.cast(), policy.qual.cast()))
    }
}

/// The policy's expression as PostgreSQL reads it from the script.
///
/// # Safety
/// `log` must be open.
unsafe fn made(log: pg_sys::Relation) -> Option<*mut pg_sys::Node> {
    let (_, rest) = SCRIPT.split_once(BEGINNING)?;
    let (rest, _) = rest.split_once(';')?;
    let text = CString::new(format!("{BEGINNING}{rest}")).ok()?;
    let work = || {
        // SAFETY: the parser gives a list with one RawStmt, a CREATE POLICY; the parse state lives as long as this call.
        unsafe {
            let [statement] =
                cells(pg_sys::raw_parser(text.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT))
            else {
                return None;
            };
            let statement: *const pg_sys::RawStmt = statement.ptr_value.cast();
            let policy: *const pg_sys::CreatePolicyStmt = (*statement).stmt.cast();
            let state = pg_sys::make_parsestate(std::ptr::null_mut());
            (*state).p_sourcetext = text.as_ptr();
            let lock = pg_sys::AccessShareLock as i32;
            let item =
                pg_sys::addRangeTableEntryForRelation(state, log, lock, std::ptr::null_mut(), false, false);
            pg_sys::addNSItemToQuery(state, item, false, true, true);
            let made = pg_sys::transformExpr(state, (*policy).qual, pg_sys::ParseExprKind::EXPR_KIND_POLICY);
            let made = pg_sys::coerce_to_boolean(state, made, c"POLICY".as_ptr());
            pg_sys::assign_expr_collations(state, made);
            pg_sys::free_parsestate(state);
            Some(made)
        }
    };
    as_extension_owner(|| with_settings(&[(c"search_path", c"pg_catalog, pg_temp")], work))
}
