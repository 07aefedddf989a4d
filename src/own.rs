//! The audit system's own events: what was done to the trail itself.
//!
//! The tables of rights are tracked as an application's are (`sql/25_access.sql`); here is what no row shows.

use pgrx::pg_sys;
use serde_json::{Map, Value as Json};

use crate::actor;
use crate::error::Result;
use crate::pg::catalog;
use crate::pg::session;
use crate::pg::trigger_call::Operation;
use crate::pg::value::Text;
use crate::tracking::Tracking;
use crate::writer::{self, Event};

/// What was done to the trail.
pub struct Told<'a> {
    /// The action, such as `audit.tracking.disabled`.
    pub action: &'static str,
    /// What it was done to: a table, a function, a setting.
    pub resource_type: &'static str,
    /// Its name, in the database's encoding.
    pub name: &'a [u8],
    /// How it was before.
    pub before: Option<Map<String, Json>>,
    /// How it is now.
    pub after: Option<Map<String, Json>>,
    /// What did it, where the action does not say it.
    pub reason: Option<String>,
}

/// Leaves the event.
pub fn tell(told: Told<'_>) -> Result<()> {
    let (action, resource_type, name) =
        (Text::new(told.action.as_bytes()), Text::new(told.resource_type.as_bytes()), Text::new(told.name));
    let (before, after) =
        (told.before.and_then(session::jsonb_object), told.after.and_then(session::jsonb_object));
    let reason = told.reason.map(|reason| Map::from_iter([("reason".to_owned(), reason.into())]));
    let reason = reason.and_then(session::jsonb_object);
    let metadata = reason.map(|reason| actor::current().metadata_with(&reason));
    writer::write(&Event {
        action: action.value(),
        resource_type: Some(resource_type.value()),
        resource_id: Some(name.value()),
        organisation_id: None,
        project_id: None,
        before_state: before.as_ref().map(Text::value),
        after_state: after.as_ref().map(Text::value),
        metadata: metadata.as_ref().map(Text::value),
        table_name: None,
        command: session::command_id(),
        own: true,
    })
    .map(drop)
}

/// Leaves the event of a guard, and what was done to it.
pub fn tell_guard(
    action: &'static str,
    resource_type: &'static str,
    name: &[u8],
    reason: String,
) -> Result<()> {
    tell(Told { action, resource_type, name, before: None, after: None, reason: Some(reason) })
}

/// Leaves the event of a table's settings: they are new, others or gone. None where they are as they were.
pub fn tell_tracking(table: pg_sys::Oid, before: Option<&Tracking>, after: Option<&Tracking>) -> Result<()> {
    let (before, after) = (before.map(Tracking::shown), after.map(Tracking::shown));
    if before == after {
        return Ok(());
    }
    let action = match (&before, &after) {
        (None, _) => "audit.tracking.enabled",
        (_, None) => "audit.tracking.disabled",
        _ => "audit.tracking.changed",
    };
    let name = catalog::qualified_name(table);
    tell(Told { action, resource_type: "table", name: &name, before, after, reason: None })
}

/// Whether the row at hand comes back from a dump, in which its event is, too: a superuser inserts it, by no function of the
/// extension's.
pub fn is_restored(operation: Operation) -> bool {
    operation == Operation::Insert && session::is_restore() && !session::is_acting_for_another()
}
