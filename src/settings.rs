//! The settings (GUCs): what an application says about its user, and what a DBA requires.

use std::ffi::{CStr, CString};

use pgrx::PgSqlErrorCode::*;
use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::pg::guc::{self, Refusal};
use crate::pg::session;

static ACTOR_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ACTOR_TYPE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static METADATA: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static REQUIRE_ACTOR: GucSetting<bool> = GucSetting::<bool>::new(false);
static ENTERPRISE: GucSetting<bool> = GucSetting::<bool>::new(true);
static ALLOW_DESTRUCTION: GucSetting<bool> = GucSetting::<bool>::new(false);

/// Called when the library is loaded: defines the settings.
///
/// Each may be set by superusers, and by roles that were granted it
/// (`GRANT audit_writer TO app`), since what any role can set proves nothing.
pub fn define() {
    guc::refuse_placeholder(c"audit.require_actor");
    guc::refuse_placeholder(c"audit.enterprise");
    guc::define(
        c"audit.actor_id",
        c"Who acts: the application's user, an API key, a job.",
        c"Stored in every event as actor_id. Empty means unknown. Set it with SET LOCAL or set_config(..., true), so that it ends with the transaction.",
        &ACTOR_ID,
        None,
    );
    guc::define(
        c"audit.actor_type",
        c"What kind of actor audit.actor_id is: user, system or api-key.",
        c"Stored in every event as actor_type. Empty means unknown.",
        &ACTOR_TYPE,
        Some(guc::check_actor_type),
    );
    guc::define(
        c"audit.metadata",
        c"What else the application knows of the request, as JSON.",
        c"Stored in every event as metadata: request id, IP address, user agent, reason. Empty means none.",
        &METADATA,
        Some(guc::check_metadata),
    );
    GucRegistry::define_bool_guc(
        c"audit.require_actor",
        c"Refuses writes to tracked tables while audit.actor_id is not set.",
        c"Off by default: a migration or a DBA's correction then leaves an event without an actor.",
        &REQUIRE_ACTOR,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"audit.enterprise",
        c"Whether an organisation has the enterprise feature unless audit.set_organisation says otherwise.",
        c"Without it the role of organisation admin opens nothing; project admins still see their projects. Capture never depends on it.",
        &ENTERPRISE,
        GucContext::Suset,
        GucFlags::default(),
    );
    guc::define_for_session(
        c"audit.allow_destruction",
        c"Lets a superuser drop the extension, a partition of the log or a part of either, in this session.",
        c"What is destroyed under it is told by an event audit.guard.disabled, and by the server's log where the audit log goes as well.",
        &ALLOW_DESTRUCTION,
    );
    guc::reserve_prefix();
}

/// `audit.actor_id`; empty is `None`.
pub fn actor_id() -> Option<&'static CStr> {
    guc::value(&ACTOR_ID)
}

/// `audit.actor_type`; empty is `None`.
pub fn actor_type() -> Option<&'static CStr> {
    guc::value(&ACTOR_TYPE)
}

/// `audit.metadata`, which is JSON; empty is `None`.
pub fn metadata() -> Option<&'static CStr> {
    guc::value(&METADATA)
}

/// `audit.require_actor`.
pub fn require_actor() -> bool {
    REQUIRE_ACTOR.get()
}

/// `audit.enterprise`.
pub fn enterprise() -> bool {
    ENTERPRISE.get()
}

/// `audit.allow_destruction`.
pub fn allow_destruction() -> bool {
    ALLOW_DESTRUCTION.get()
}

/// Refuses an actor type that does not exist.
pub fn check_actor_type(value: &[u8]) -> Result<(), Refusal> {
    match value {
        b"" | b"user" | b"system" | b"api-key" => Ok(()),
        _ => Err(Refusal {
            code: ERRCODE_INVALID_PARAMETER_VALUE,
            detail: "An actor is a user, a system or an api-key.".into(),
            hint: "Use 'user', 'system', 'api-key', or '' for unknown.",
        }),
    }
}

/// Refuses metadata that is no JSON object, or that jsonb could not hold.
pub fn check_metadata(value: &[u8]) -> Result<(), Refusal> {
    if value.is_empty() {
        return Ok(());
    }
    let refuse = |code, detail: String| {
        Err(Refusal {
            code,
            detail,
            hint: "Set a JSON object, such as {\"request_id\": \"4711\"}, or '' for none.",
        })
    };
    match serde_json::from_str(&String::from_utf8_lossy(value)) {
        Err(error) => refuse(ERRCODE_INVALID_JSON_TEXT, format!("It cannot be read: {error}.")),
        // What only jsonb knows: \u0000, numbers out of its range, the database's encoding.
        Ok(serde_json::Value::Object(_)) if session::is_jsonb(value) == Some(false) => {
            refuse(ERRCODE_INVALID_JSON_TEXT, "It holds what jsonb cannot, such as \\u0000.".into())
        }
        Ok(serde_json::Value::Object(_)) => Ok(()),
        Ok(_) => refuse(ERRCODE_DATATYPE_MISMATCH, "It is JSON, but no object.".into()),
    }
}
