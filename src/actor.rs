//! Who acts, as every event says it: the application's actor, the roles and the client.
//!
//! All of it stays the same from row to row, so it is kept as finished values and compared, not rebuilt.

use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Error, Result};
use crate::pg::value::{Text, stored_identifier};
use crate::pg::{catalog, session};
use crate::settings;

/// Who acts.
pub struct Actor {
    /// `audit.actor_id`, shortened where no index could hold it.
    pub id: Option<Text>,
    /// `audit.actor_type`.
    pub kind: Option<Text>,
    /// `audit.metadata`, as jsonb.
    pub metadata: Option<Text>,
    /// `session_user`.
    pub session_role: Text,
    /// The role outside any SECURITY DEFINER function.
    pub db_role: Text,
    /// `application_name`.
    pub application_name: Option<Text>,
    /// The client's address, an inet.
    pub client_address: Option<Text>,
    made_from: Origin,
}

/// What an [`Actor`] was made from.
#[derive(PartialEq)]
struct Origin {
    id: Option<Box<CStr>>,
    session_role: pg_sys::Oid,
    outer_role: pg_sys::Oid,
    metadata: Option<Box<CStr>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Actor>>> = const { RefCell::new(None) };
}

/// Forgets role names: a role was renamed or dropped.
pub fn forget() {
    CURRENT.set(None);
}

/// Refuses where `audit.require_actor` is on and nobody is named.
pub fn require() -> Result<()> {
    if settings::require_actor() && settings::actor_id().is_none() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            "audit.actor_id is not set, and audit.require_actor is on",
        )
        .hint("Set it in the transaction: SELECT set_config('audit.actor_id', '<id>', true)."));
    }
    Ok(())
}

/// Who acts now.
pub fn current() -> Rc<Actor> {
    if let Some(known) = CURRENT.with_borrow(Clone::clone)
        && known.is_current()
    {
        return known;
    }
    let actor = Rc::new(Actor::read());
    CURRENT.set(Some(actor.clone()));
    actor
}

fn same(text: Option<&Text>, now: Option<&CStr>) -> bool {
    text.map(Text::bytes) == now.map(CStr::to_bytes)
}

impl Actor {
    /// `audit.metadata` with more, a jsonb object whose keys win.
    pub fn metadata_with(&self, more: &Text) -> Text {
        match &self.metadata {
            Some(session) => session::jsonb_concat(session.value(), more.value()),
            None => more.clone(),
        }
    }

    fn is_current(&self) -> bool {
        self.made_from.session_role == session::session_role()
            && self.made_from.outer_role == session::outer_role()
            && self.made_from.metadata.as_deref() == settings::metadata()
            && self.made_from.id.as_deref() == settings::actor_id()
            && same(self.kind.as_ref(), settings::actor_type())
            && self.application_name.as_ref().map_or(&b""[..], Text::bytes) == session::application_name()
    }

    fn read() -> Self {
        let text = |value: Option<&CStr>| value.map(|value| Text::new(value.to_bytes()));
        let application_name = session::application_name();
        let made_from = Origin {
            id: settings::actor_id().map(Into::into),
            session_role: session::session_role(),
            outer_role: session::outer_role(),
            metadata: settings::metadata().map(Into::into),
        };
        Self {
            id: text(settings::actor_id()).map(stored_identifier),
            kind: text(settings::actor_type()),
            metadata: settings::metadata().map(session::jsonb),
            session_role: Text::new(&catalog::role_name(made_from.session_role)),
            db_role: Text::new(&catalog::role_name(made_from.outer_role)),
            application_name: (!application_name.is_empty()).then(|| Text::new(application_name)),
            client_address: session::client_address(),
            made_from,
        }
    }
}
