//! `audit.record`: events that no table write shows, such as a login or an export.

use audit_core::action::{self, ActionError};
use pgrx::PgSqlErrorCode;

use crate::actor;
use crate::error::{Error, Result, shortened};
use crate::pg::catalog::to_utf8;
use crate::pg::session;
use crate::pg::value::Text;
use crate::writer::{self, Event};

/// The arguments of `audit.record`, in order.
pub struct Arguments {
    /// The action.
    pub action: Option<Text>,
    /// What kind of resource.
    pub resource_type: Option<Text>,
    /// Which one.
    pub resource_id: Option<Text>,
    /// In which organisation.
    pub organisation_id: Option<Text>,
    /// In which project.
    pub project_id: Option<Text>,
    /// What was, a jsonb.
    pub before_state: Option<Text>,
    /// What is, a jsonb.
    pub after_state: Option<Text>,
    /// More than `audit.metadata` says, a jsonb.
    pub metadata: Option<Text>,
}

/// Stores the event and returns its id.
pub fn record(arguments: &Arguments) -> Result<[u8; 16]> {
    let Some(action) = &arguments.action else {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED, "action is NULL")
            .hint("Name what happened, such as 'organisation.user.logged-in'."));
    };
    check_action("action", &to_utf8(action.bytes()))?;
    if arguments.metadata.as_ref().is_some_and(|metadata| !session::is_object(metadata)) {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH, "metadata is JSON, but no object")
            .hint(
                "Pass an object, such as {\"format\": \"csv\"}, whose keys are added to audit.metadata's.",
            ));
    }
    let metadata = arguments.metadata.as_ref().map(|own| actor::current().metadata_with(own));
    writer::write(&Event {
        action: action.value(),
        resource_type: arguments.resource_type.as_ref().map(Text::value),
        resource_id: arguments.resource_id.as_ref().map(Text::value),
        organisation_id: arguments.organisation_id.as_ref().map(Text::value),
        project_id: arguments.project_id.as_ref().map(Text::value),
        before_state: arguments.before_state.as_ref().map(Text::value),
        after_state: arguments.after_state.as_ref().map(Text::value),
        metadata: metadata.as_ref().map(Text::value),
        table_name: None,
        command: session::command_id(),
        own: false,
    })
}

/// Refuses an action that breaks the grammar or belongs to the audit system; `place` says where it was given.
pub fn check_action(place: &str, name: &str) -> Result<()> {
    if let Err(error) = action::check(name) {
        return Err(malformed(place, name, &error, &error.to_string()).hint(
            "An action is made of lower-case segments separated by dots, such as organisation.user.added.",
        ));
    }
    if action::is_reserved(name) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_RESERVED_NAME,
            format!("{place} \"{}\" is reserved", shortened(name)),
        )
        .hint("Actions that begin with \"audit.\" are the audit system's own; choose another name."));
    }
    Ok(())
}

/// The error of a name that breaks the grammar of actions.
pub fn malformed(place: &str, name: &str, error: &ActionError, why: &str) -> Error {
    let code = match error {
        ActionError::TooLong(_) => PgSqlErrorCode::ERRCODE_NAME_TOO_LONG,
        _ => PgSqlErrorCode::ERRCODE_INVALID_NAME,
    };
    Error::new(code, format!("{place} \"{}\" is malformed: {why}", shortened(name)))
}
