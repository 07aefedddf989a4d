//! One event, from what happened to the row in the log.

use std::cell::RefCell;

use audit_core::event_id::Generator;
use pgrx::{PgSqlErrorCode, pg_sys};

use crate::actor;
use crate::error::{Error, Result};
use crate::pg::event_columns::Column;
use crate::pg::event_table::{self, Record};
use crate::pg::session;
use crate::pg::value::{Text, Value, shorter_identifier};

/// What happened. Who, when and in which transaction the writer adds.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    /// The action's name, a text.
    pub action: Value<'a>,
    /// What kind of resource, a text.
    pub resource_type: Option<Value<'a>>,
    /// Which one, a text.
    pub resource_id: Option<Value<'a>>,
    /// In which organisation, a text.
    pub organisation_id: Option<Value<'a>>,
    /// In which project, a text.
    pub project_id: Option<Value<'a>>,
    /// What was, a jsonb.
    pub before_state: Option<Value<'a>>,
    /// What is, a jsonb.
    pub after_state: Option<Value<'a>>,
    /// Instead of `audit.metadata`, a jsonb.
    pub metadata: Option<Value<'a>>,
    /// `schema.table`, a text.
    pub table_name: Option<Value<'a>>,
    /// The command with whose events it belongs: they are ordered as the changes were, not as they are told of.
    pub command: pg_sys::CommandId,
    /// Whether it is the audit system's own event, which no `audit.require_actor` keeps away.
    pub own: bool,
}

thread_local! {
    static IDS: RefCell<Option<Generator>> = const { RefCell::new(None) };
}

/// What is stored instead of identifiers that no index could hold: their beginning and their MD5.
fn shortened(event: &Event<'_>) -> [Option<Text>; 4] {
    [event.resource_type, event.resource_id, event.organisation_id, event.project_id]
        .map(|value| value.and_then(shorter_identifier))
}

/// Stores the event and returns its id. It commits with the transaction, or not at all.
pub fn write(event: &Event<'_>) -> Result<[u8; 16]> {
    if !event.own {
        actor::require()?;
    }
    let actor = actor::current();
    let transaction = session::transaction_id();
    let (micros, id) = next_id(transaction, event.command)?;
    let time = session::timestamp(micros);

    let [resource_type, resource_id, organisation_id, project_id] = shortened(event);
    let mut record = Record::empty();
    record.set_uuid(Column::EventId, &id);
    record.set_word(Column::OccurredAt, time as u64);
    record.set_word(Column::TransactionId, transaction);
    record.set(Column::Action, Some(event.action));
    record.set(Column::ResourceType, resource_type.as_ref().map(Text::value).or(event.resource_type));
    record.set(Column::ResourceId, resource_id.as_ref().map(Text::value).or(event.resource_id));
    record.set(Column::ActorId, actor.id.as_ref().map(|text| text.value()));
    record.set(Column::ActorType, actor.kind.as_ref().map(|text| text.value()));
    record.set(Column::OrganisationId, organisation_id.as_ref().map(Text::value).or(event.organisation_id));
    record.set(Column::ProjectId, project_id.as_ref().map(Text::value).or(event.project_id));
    record.set(Column::BeforeState, event.before_state);
    record.set(Column::AfterState, event.after_state);
    record.set(Column::Metadata, event.metadata.or(actor.metadata.as_ref().map(|json| json.value())));
    record.set(Column::SessionRole, Some(actor.session_role.value()));
    record.set(Column::DbRole, Some(actor.db_role.value()));
    record.set(Column::ApplicationName, actor.application_name.as_ref().map(|text| text.value()));
    record.set(Column::ClientAddr, actor.client_address.as_ref().map(|address| address.value()));
    record.set(Column::TableName, event.table_name);
    event_table::insert(time, &record)?;
    Ok(id)
}

fn next_id(transaction: u64, command: pg_sys::CommandId) -> Result<(u64, [u8; 16])> {
    IDS.with_borrow_mut(|ids| {
        if ids.is_none() {
            let seed = session::strong_random().ok_or_else(|| {
                Error::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, "no random bits for event ids")
                    .hint("The operating system's random source is not available.")
            })?;
            *ids = Some(Generator::new(seed));
        }
        let generator = ids.as_mut().expect("made above");
        Ok(generator.next(session::clock(), transaction, command))
    })
}
