//! Names and OIDs from the system catalogues.

use std::ffi::{CStr, CString};

use pgrx::{PgSqlErrorCode, pg_sys};

use super::naming::PlainQuotes;
use super::query;
use crate::error::{Error, shortened};

/// `schema.table`, quoted where SQL needs it and not where the client would, in the database's encoding. Of a table that is
/// gone, or that somebody drops meanwhile, what is still known: its OID.
pub fn qualified_name(relation: pg_sys::Oid) -> Vec<u8> {
    name_of(relation).unwrap_or_else(|| relation.to_u32().to_string().into_bytes())
}

/// The same, `None` where there is no such table.
pub fn name_of(relation: pg_sys::Oid) -> Option<Vec<u8>> {
    let _quotes = PlainQuotes::begin();
    // SAFETY: look-ups by OID; names are null or C strings in the current memory context, copied here.
    unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relation));
        let name = pg_sys::get_rel_name(relation);
        (!schema.is_null() && !name.is_null())
            .then(|| CStr::from_ptr(pg_sys::quote_qualified_identifier(schema, name)).to_bytes().to_vec())
    }
}

/// The same in UTF-8, for messages.
pub fn shown_name(relation: pg_sys::Oid) -> String {
    to_utf8(&qualified_name(relation))
}

/// A function's name and arguments, in UTF-8, for messages.
pub fn shown_function(function: pg_sys::Oid) -> String {
    // SAFETY: a look-up by OID; the result is a C string in the current memory context, copied here.
    to_utf8(unsafe { CStr::from_ptr(pg_sys::format_procedure_qualified(function)) }.to_bytes())
}

/// Whether a table is in the extension's schema.
pub fn is_in_own_schema(relation: pg_sys::Oid) -> bool {
    // SAFETY: look-ups by OID and C string.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"audit".as_ptr(), true);
        schema != pg_sys::InvalidOid && pg_sys::get_rel_namespace(relation) == schema
    }
}

/// Whether a table or view is the extension's, or a partition of the log.
pub fn is_part_of_the_trail(relation: pg_sys::Oid) -> bool {
    // SAFETY: a look-up by OID.
    let extension = unsafe { pg_sys::getExtensionOfObject(pg_sys::RelationRelationId, relation) };
    (extension != pg_sys::InvalidOid && own_extension() == Some(extension))
        || parent_of(relation).is_some_and(|parent| own_table(c"event") == Some(parent))
}

/// The OID of the extension, `None` if it is not there.
pub fn own_extension() -> Option<pg_sys::Oid> {
    // SAFETY: a look-up by C string.
    let oid = unsafe { pg_sys::get_extension_oid(c"audit".as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The owner of the extension.
pub fn own_extension_owner() -> Option<pg_sys::Oid> {
    let mut owner = None;
    query::read_now(c"SELECT extowner FROM pg_extension WHERE extname = 'audit'", &[], |row| {
        owner = Some(row.oid(1))
    });
    owner
}

/// The OID of a table of the extension, `None` if it is not there.
pub fn own_table(name: &CStr) -> Option<pg_sys::Oid> {
    table_named(b"audit", name.to_bytes())
}

/// The OID of `audit.capture()`, `None` if it is not there.
pub fn capture_function() -> Option<pg_sys::Oid> {
    own_function(c"capture", &[])
}

/// The OID of a function of the extension, `None` if it is not there.
pub fn own_function(name: &CStr, arguments: &[pg_sys::Oid]) -> Option<pg_sys::Oid> {
    // SAFETY: syscache look-ups by C string and OID; the list of argument types is copied.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"audit".as_ptr(), true);
        let arguments = pg_sys::buildoidvector(arguments.as_ptr(), arguments.len() as i32);
        let oid = pg_sys::GetSysCacheOid(
            pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as i32,
            pg_sys::Anum_pg_proc_oid as i16,
            pg_sys::Datum::from(name.as_ptr()),
            pg_sys::Datum::from(arguments),
            pg_sys::Datum::from(schema),
            pg_sys::Datum::null(),
        );
        (oid != pg_sys::InvalidOid).then_some(oid)
    }
}

/// The OID of a table or view by its schema's name and its own, `None` if it is not there.
pub fn table_named(schema: &[u8], name: &[u8]) -> Option<pg_sys::Oid> {
    let (schema, name) = (CString::new(schema).ok()?, CString::new(name).ok()?);
    // SAFETY: look-ups by C string.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(schema.as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The same, locked until the end of the transaction, so that nobody puts another in its place. For the extension's
/// owner, who may look into every schema.
pub fn table_locked(schema: &[u8], name: &[u8]) -> Option<pg_sys::Oid> {
    let (schema, name) = (CString::new(schema).ok()?, CString::new(name).ok()?);
    // SAFETY: makeRangeVar and the look-up only read the names; there is no callback.
    let oid = unsafe {
        pg_sys::RangeVarGetRelidExtended(
            pg_sys::makeRangeVar(schema.as_ptr().cast_mut(), name.as_ptr().cast_mut(), -1),
            pg_sys::AccessShareLock as i32,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        )
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The relations of this name, in whatever schema.
pub fn relations_named(name: &[u8]) -> Vec<pg_sys::Oid> {
    let Ok(name) = CString::new(name) else { return Vec::new() };
    // SAFETY: a syscache look-up by C string, released after its last use; its members are pg_class rows.
    unsafe {
        let none = pg_sys::Datum::null();
        let cache = pg_sys::SysCacheIdentifier::RELNAMENSP as i32;
        let list = pg_sys::SearchSysCacheList(cache, 1, pg_sys::Datum::from(name.as_ptr()), none, none);
        let members = (*list).members.as_slice((*list).n_members as usize);
        let oid = |member: &*mut pg_sys::CatCTup| {
            let form: *const pg_sys::FormData_pg_class =
                pg_sys::heap_tuple_get_struct(&raw mut (**member).tuple);
            (*form).oid
        };
        let relations = members.iter().map(oid).collect();
        pg_sys::ReleaseCatCacheList(list);
        relations
    }
}

/// The type of a column, the invalid OID if there is none.
pub fn column_type(relation: pg_sys::Oid, column: &CStr) -> pg_sys::Oid {
    // SAFETY: look-ups by OID and C string.
    unsafe { pg_sys::get_atttype(relation, pg_sys::get_attnum(relation, column.as_ptr())) }
}

/// The owner of a table.
pub fn table_owner(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a syscache look-up, released after its last use; the tuple is a pg_class row.
    unsafe {
        let tuple =
            pg_sys::SearchSysCache1(pg_sys::SysCacheIdentifier::RELOID as i32, pg_sys::Datum::from(relation));
        if tuple.is_null() {
            return None;
        }
        let form: *const pg_sys::FormData_pg_class = pg_sys::heap_tuple_get_struct(tuple);
        let owner = (*form).relowner;
        pg_sys::ReleaseSysCache(tuple);
        Some(owner)
    }
}

/// The table that `relation` is a partition of.
pub fn parent_of(relation: pg_sys::Oid) -> Option<pg_sys::Oid> {
    unsafe extern "C" {
        /// `src/include/catalog/partition.h`, which pgrx does not bind. With `even_if_detached` it raises
        /// nothing.
        fn get_partition_parent(relation: pg_sys::Oid, even_if_detached: bool) -> pg_sys::Oid;
    }
    // SAFETY: a syscache look-up, and a scan of pg_inherits for a relation that is a partition.
    unsafe {
        if !pg_sys::get_rel_relispartition(relation) {
            return None;
        }
        Some(get_partition_parent(relation, true))
    }
}

/// The tables above `relation`, from its parent to the root. Nothing is locked.
pub fn ancestors(relation: pg_sys::Oid) -> impl Iterator<Item = pg_sys::Oid> {
    std::iter::successors(parent_of(relation), |table| parent_of(*table))
}

/// The constraints of the tables above that `constraint`, a partition's, is part of, from the parent's to the root's.
pub fn constraints_above(constraint: pg_sys::Oid) -> impl Iterator<Item = pg_sys::Oid> {
    std::iter::successors(constraint_above(constraint), |constraint| constraint_above(*constraint))
}

fn constraint_above(constraint: pg_sys::Oid) -> Option<pg_sys::Oid> {
    /// `conparentid`, from `src/include/catalog/pg_constraint.h`, which pgrx does not bind.
    const ABOVE: i16 = 11;
    // SAFETY: a syscache look-up, released after its last use; the attribute is an OID and never NULL.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::CONSTROID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(constraint));
        if tuple.is_null() {
            return None;
        }
        let mut is_null = false;
        let above = pg_sys::SysCacheGetAttr(cache, tuple, ABOVE, &mut is_null);
        pg_sys::ReleaseSysCache(tuple);
        Some(pg_sys::Oid::from(above.value() as u32)).filter(|above| *above != pg_sys::InvalidOid)
    }
}

/// What kind of relation it is, as `pg_class.relkind` has it; zero if there is none.
pub fn kind(relation: pg_sys::Oid) -> u8 {
    // SAFETY: a look-up by OID.
    unsafe { pg_sys::get_rel_relkind(relation) as u8 }
}

/// The topmost partitioned table above `relation`, or itself.
pub fn root_of(relation: pg_sys::Oid) -> pg_sys::Oid {
    parent_of(relation).map_or(relation, root_of)
}

/// A role's name, in the database's encoding. Of a role that was dropped while its session goes on, what is still
/// known: its OID.
pub fn role_name(role: pg_sys::Oid) -> Vec<u8> {
    existing_role_name(role).unwrap_or_else(|| role.to_u32().to_string().into_bytes())
}

/// The same of a role that exists.
pub fn existing_role_name(role: pg_sys::Oid) -> Option<Vec<u8>> {
    // SAFETY: with noerr the result is null or a C string in the current memory context, copied here.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes().to_vec())
    }
}

/// Whether the database is in UTF-8.
pub fn is_utf8() -> bool {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetDatabaseEncoding() == pg_sys::pg_enc::PG_UTF8 as i32 }
}

/// What the database holds as `bytes`, in UTF-8. Raises an error for what is in no encoding that anybody has named.
pub fn to_utf8(bytes: &[u8]) -> String {
    if bytes.is_ascii() {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    // SAFETY: reads a variable of the backend.
    if unsafe { pg_sys::GetDatabaseEncoding() } == pg_sys::pg_enc::PG_SQL_ASCII as i32 {
        return String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| refuse_bytes(bytes));
    }
    // SAFETY: the result has no NUL inside, is terminated where it is another buffer, and as long as the
    // input where it is the input itself.
    unsafe {
        let input = bytes.as_ptr().cast::<std::ffi::c_char>().cast_mut();
        let output = pg_sys::pg_server_to_any(input, bytes.len() as i32, pg_sys::pg_enc::PG_UTF8 as i32);
        if output == input {
            String::from_utf8_lossy(bytes).into_owned()
        } else {
            CStr::from_ptr(output).to_string_lossy().into_owned()
        }
    }
}

/// A database in SQL_ASCII takes any bytes, and does not say what they are.
fn refuse_bytes(bytes: &[u8]) -> ! {
    Error::new(
        PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
        format!("\"{}\" is not in UTF-8", shortened(&bytes.escape_ascii().to_string())),
    )
    .detail("The database is in SQL_ASCII, which does not say what it is in.")
    .hint("Write names, settings and what is recorded in UTF-8; rows may hold anything.")
    .raise()
}

/// `text` in the database's encoding.
pub fn from_utf8(text: &str) -> Vec<u8> {
    if text.is_ascii() {
        return text.as_bytes().to_vec();
    }
    // SAFETY: as in `to_utf8`.
    unsafe {
        let input = text.as_ptr().cast::<std::ffi::c_char>().cast_mut();
        let output = pg_sys::pg_any_to_server(input, text.len() as i32, pg_sys::pg_enc::PG_UTF8 as i32);
        if output == input { text.as_bytes().to_vec() } else { CStr::from_ptr(output).to_bytes().to_vec() }
    }
}
