//! The C symbols of `sql/25_access.sql`: who may read what.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::{PgMemoryContexts, pg_guard, pg_sys};

use super::arguments::Arguments;
use super::array;
use super::call_site;
use super::entry::{or_raise, sql_function};
use super::value::{Text, varlena_bytes};
use crate::rights::{Principal, Rights};
use crate::{admin_source, admins};

sql_function!(
    /// `audit.grant_admin(…)`.
    audit_grant_admin, pg_finfo_audit_grant_admin, grant
);

unsafe fn grant(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's.
    or_raise(admins::grant(unsafe { arguments(fcinfo) }));
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.revoke_admin(…)`.
    audit_revoke_admin, pg_finfo_audit_revoke_admin, revoke
);

unsafe fn revoke(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's.
    or_raise(admins::revoke(unsafe { arguments(fcinfo) }));
    pg_sys::Datum::null()
}

/// # Safety
/// `fcinfo` must be that of a function declared with a text, a regrole, two texts and a boolean.
unsafe fn arguments(fcinfo: pg_sys::FunctionCallInfo) -> admins::Grant {
    // SAFETY: as the caller promises.
    unsafe {
        let given = Arguments::new(fcinfo);
        admins::Grant {
            actor_id: given.varlena(0),
            db_role: given.oid(1),
            organisation_id: given.varlena(2),
            project_id: given.varlena(3),
            instance_owner: given.boolean(4),
        }
    }
}

sql_function!(
    /// `audit.use_admins_from(source)`.
    audit_use_admins_from, pg_finfo_audit_use_admins_from, use_admins_from
);

unsafe fn use_admins_from(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a function of one regclass.
    or_raise(admin_source::use_from(unsafe { Arguments::new(fcinfo).oid(0) }));
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.set_organisation(organisation_id, enterprise)`.
    audit_set_organisation, pg_finfo_audit_set_organisation, set_organisation
);

unsafe fn set_organisation(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a function of a text and a boolean.
    unsafe {
        let given = Arguments::new(fcinfo);
        or_raise(admins::set_organisation(given.varlena(0), given.boolean(1)));
    }
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.readable_organisations()`.
    audit_readable_organisations, pg_finfo_audit_readable_organisations, readable_organisations
);

unsafe fn readable_organisations(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's.
    array::of_texts(unsafe { rights(fcinfo) }.organisations.iter())
}

sql_function!(
    /// `audit.readable_projects()`.
    audit_readable_projects, pg_finfo_audit_readable_projects, readable_projects
);

unsafe fn readable_projects(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's.
    array::of_texts(unsafe { rights(fcinfo) }.projects.iter())
}

sql_function!(
    /// `audit.readable_pairs()`.
    audit_readable_pairs, pg_finfo_audit_readable_pairs, readable_pairs
);

unsafe fn readable_pairs(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's.
    let rights = unsafe { rights(fcinfo) };
    array::of_texts(rights.pairs.iter().flat_map(|(organisation, project)| [organisation, project]))
}

sql_function!(
    /// `audit.readable_from()`.
    audit_readable_from, pg_finfo_audit_readable_from, readable_from
);

unsafe fn readable_from(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: fcinfo is this call's; sixteen zero bytes are a uuid.
    unsafe {
        if rights(fcinfo).instance_owner {
            return pg_sys::Datum::from(pg_sys::palloc0(16));
        }
        (*fcinfo).isnull = true;
    }
    pg_sys::Datum::null()
}

sql_function!(
    /// `audit.is_readable_pair(pairs, organisation_id, project_id)`.
    audit_is_readable_pair, pg_finfo_audit_is_readable_pair, is_readable_pair
);

unsafe fn is_readable_pair(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    // SAFETY: a function of a text[] and two texts, which live as long as the call; fn_extra is ours.
    unsafe {
        let given = (*fcinfo).args.as_slice(3);
        if given.iter().any(|argument| argument.isnull) {
            return pg_sys::Datum::from(false);
        }
        let [pairs, organisation, project] = [0, 1, 2].map(|n| given[n].value);
        let (organisation, project) = (Some(varlena_bytes(organisation)), Some(varlena_bytes(project)));
        let Some(info) = (*fcinfo).flinfo.as_mut() else {
            return Pairs::new(pairs).rights.open(organisation, project).into();
        };
        let is_current = |known: &Pairs| known.array == varlena_bytes(pairs);
        call_site::kept(info, is_current, |_| Pairs::new(pairs)).rights.open(organisation, project).into()
    }
}

/// Rights to pairs, taken out of their array once for a call site that compares them with many rows.
struct Pairs {
    array: Vec<u8>,
    rights: Rights,
}

impl Pairs {
    /// # Safety
    /// `array` must be a text[].
    unsafe fn new(array: pg_sys::Datum) -> Self {
        // SAFETY: as the caller promises.
        let (bytes, texts) = unsafe { (varlena_bytes(array).to_vec(), array::texts(array)) };
        let pair = |pair: &[Option<&[u8]>]| Some((Text::new(pair[0]?), Text::new(pair[1]?)));
        let mut pairs: Vec<_> = texts.chunks_exact(2).filter_map(pair).collect();
        pairs.sort();
        Self { array: bytes, rights: Rights { pairs, ..Rights::default() } }
    }
}

/// The rights that a running statement goes by.
struct Known {
    /// The memory that the statement has of its own.
    memory: pg_sys::MemoryContext,
    /// Whose they are: PL/pgSQL has one such memory for all that is no query in a transaction.
    principal: Principal,
    rights: Rc<Rights>,
}

thread_local! {
    static OF_STATEMENTS: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// Forgets a statement's rights when its memory goes.
struct Forget(pg_sys::MemoryContext);

impl Drop for Forget {
    fn drop(&mut self) {
        OF_STATEMENTS.with_borrow_mut(|known| known.retain(|known| known.memory != self.0));
    }
}

/// The session's rights, read once for each statement: the functions that it calls keep what they need in its memory.
///
/// # Safety
/// `fcinfo` must be what PostgreSQL passed to a function.
unsafe fn rights(fcinfo: pg_sys::FunctionCallInfo) -> Rc<Rights> {
    // SAFETY: as the caller promises.
    let Some(info) = (unsafe { (*fcinfo).flinfo.as_ref() }) else {
        return Rc::new(or_raise(Rights::of_session()));
    };
    let principal = Principal::of_session();
    let memory = info.fn_mcxt;
    let known = OF_STATEMENTS.with_borrow(|known| {
        known
            .iter()
            .find(|known| known.memory == memory && known.principal == principal)
            .map(|known| known.rights.clone())
    });
    known.unwrap_or_else(|| {
        let rights = Rc::new(or_raise(Rights::of(&principal)));
        OF_STATEMENTS
            .with_borrow_mut(|known| known.push(Known { memory, principal, rights: rights.clone() }));
        PgMemoryContexts::For(memory).leak_and_drop_on_delete(Forget(memory));
        rights
    })
}
