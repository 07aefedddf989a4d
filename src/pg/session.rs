//! Who is connected, which transaction this is and what time it is.

use std::ffi::{CStr, CString};

use pgrx::pg_sys;
use serde_json::{Map, Value as Json};

use super::catalog;
use super::value::{Text, Value};

/// Microseconds from 1970 to PostgreSQL's epoch, 2000.
const EPOCH: i64 = 946_684_800_000_000;

/// The clock, in microseconds since 1970.
pub fn clock() -> u64 {
    // SAFETY: reads the clock.
    (unsafe { pg_sys::GetCurrentTimestamp() } + EPOCH) as u64
}

/// Microseconds since 1970 as a timestamptz.
pub fn timestamp(micros: u64) -> i64 {
    micros as i64 - EPOCH
}

/// A timestamptz as microseconds since 1970; what is before is 1970, and infinity as late as can be.
pub fn micros(timestamp: i64) -> u64 {
    timestamp.saturating_add(EPOCH).max(0) as u64
}

/// The current top-level transaction's id, assigned if it has none yet.
pub fn transaction_id() -> u64 {
    // SAFETY: a trigger runs inside a transaction.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// The current command of the transaction.
pub fn command_id() -> pg_sys::CommandId {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetCurrentCommandId(false) }
}

/// The transaction and the command in it.
pub fn command() -> (u64, pg_sys::CommandId) {
    (transaction_id(), command_id())
}

/// The transaction itself, as a subtransaction: `TopSubTransactionId` in `src/include/c.h`.
pub const TOP: pg_sys::SubTransactionId = 1;

/// The current subtransaction, which counts upwards within a transaction.
pub fn subtransaction() -> pg_sys::SubTransactionId {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// How deep triggers are nested.
pub fn trigger_depth() -> i32 {
    // SAFETY: a function without arguments that reads a variable of the backend.
    let depth = unsafe { pgrx::direct_function_call_as_datum(pg_sys::pg_trigger_depth, &[]) };
    depth.map_or(0, |depth| depth.value() as i32)
}

/// 64 bits from the operating system's strong source.
pub fn strong_random() -> Option<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is as large as is said.
    unsafe { pg_sys::pg_strong_random(bytes.as_mut_ptr().cast(), bytes.len()) }
        .then(|| u64::from_ne_bytes(bytes))
}

/// The role that `session_user` names.
pub fn session_role() -> pg_sys::Oid {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetSessionUserId() }
}

/// The role in force outside any SECURITY DEFINER function: what SET ROLE set, or the session's.
pub fn outer_role() -> pg_sys::Oid {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetOuterUserId() }
}

/// The role whose rights are in force: inside a SECURITY DEFINER function its owner.
pub fn current_role() -> pg_sys::Oid {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetUserId() }
}

/// Whether this runs as its owner on behalf of whoever came by: REFRESH, ANALYZE, an index's expression, a source of
/// admins.
pub fn is_restricted() -> bool {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::InSecurityRestrictedOperation() }
}

/// Whether this is a function of somebody else's rights: one of the extension's that acts as its owner, or REFRESH, ANALYZE
/// and the like.
pub fn is_acting_for_another() -> bool {
    // SAFETY: reads variables of the backend.
    unsafe { pg_sys::InLocalUserIdChange() || pg_sys::InSecurityRestrictedOperation() }
}

/// Whether this transaction has locked a table as DDL does.
pub fn has_locked(table: pg_sys::Oid) -> bool {
    let lock = pg_sys::LOCKTAG {
        // SAFETY: reads a variable of the backend.
        locktag_field1: unsafe { pg_sys::MyDatabaseId }.to_u32(),
        locktag_field2: table.to_u32(),
        locktag_field3: 0,
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_RELATION as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    (pg_sys::ShareUpdateExclusiveLock..=pg_sys::AccessExclusiveLock)
        // SAFETY: a valid tag; looks into the backend's own table of locks.
        .any(|mode| unsafe { pg_sys::LockHeldByMe(&lock, mode as i32) })
}

/// Whether the current role is a superuser.
pub fn is_superuser() -> bool {
    // SAFETY: looks the role up.
    unsafe { pg_sys::superuser() }
}

/// Whether a superuser restores a dump, by what pg_dump's scripts and pg_restore set first, which anybody can.
pub fn is_restore() -> bool {
    // SAFETY: reads variables of the backend.
    unsafe { !pg_sys::row_security && !pg_sys::check_function_bodies && is_superuser() }
}

/// Whether the extension's own script runs, or pg_upgrade.
pub fn is_in_own_script() -> bool {
    // SAFETY: reads variables of the backend.
    unsafe {
        pg_sys::IsBinaryUpgrade
            || pg_sys::creating_extension && Some(pg_sys::CurrentExtensionObject) == catalog::own_extension()
    }
}

/// Whether the current role has the rights of `role`: it is that role, a member that inherits, or a superuser.
pub fn has_privileges_of(role: pg_sys::Oid) -> bool {
    // SAFETY: looks memberships up.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), role) }
}

/// `application_name`, empty if unset.
pub fn application_name() -> &'static [u8] {
    // SAFETY: the setting is null or a C string, which no Rust code holds across a call that could set it.
    unsafe {
        if pg_sys::application_name.is_null() {
            return b"";
        }
        CStr::from_ptr(pg_sys::application_name).to_bytes()
    }
}

/// The client's address as an inet, `None` for a local socket or a background worker.
pub fn client_address() -> Option<Text> {
    // SAFETY: inet_client_addr takes no argument and returns NULL through fcinfo's isnull; the frame below
    // is a complete FunctionCallInfo without arguments.
    unsafe {
        let mut frame: pg_sys::FunctionCallInfoBaseData = std::mem::zeroed();
        let address = pg_sys::inet_client_addr(&mut frame);
        (!frame.isnull).then(|| Text::copy_of(address))
    }
}

/// Whether `text` is JSON that jsonb can hold; `None` where no database is at hand to tell.
pub fn is_jsonb(text: &[u8]) -> Option<bool> {
    // SAFETY: reads a variable of the backend.
    if !unsafe { pg_sys::IsTransactionState() } {
        return None;
    }
    Some(super::encode::parse_json(text).is_some())
}

/// The JSONB that `text`, checked before, stands for.
pub fn jsonb(text: &CStr) -> Text {
    // SAFETY: jsonb_in takes a C string.
    unsafe { called(pg_sys::jsonb_in, &[Some(text.as_ptr().into())]) }
}

/// The JSONB of an object; `None` where it cannot be one, for serde_json writes no NUL.
pub fn jsonb_object(object: Map<String, Json>) -> Option<Text> {
    let text = catalog::from_utf8(&Json::Object(object).to_string());
    CString::new(text).ok().map(|text| jsonb(&text))
}

/// Whether a JSONB value is an object.
pub fn is_object(json: &Text) -> bool {
    // A JSONB begins with a word of flags.
    json.bytes().first_chunk().is_some_and(|flags| u32::from_ne_bytes(*flags) & pg_sys::JB_FOBJECT != 0)
}

/// Two JSONB values joined as `||` does: objects merge, and the second wins.
pub fn jsonb_concat(first: Value<'_>, second: Value<'_>) -> Text {
    // SAFETY: both are jsonb.
    unsafe { called(pg_sys::jsonb_concat, &[Some(first.datum()), Some(second.datum())]) }
}

/// # Safety
/// `function` must take such arguments, and return a varlena.
unsafe fn called(
    function: unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum,
    arguments: &[Option<pg_sys::Datum>],
) -> Text {
    // SAFETY: as the caller promises.
    unsafe {
        pgrx::direct_function_call_as_datum(function, arguments)
            .map(|d| Text::copy_of(d))
            .expect("these functions return a value")
    }
}
