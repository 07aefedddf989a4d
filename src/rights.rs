//! Who reads what: the rights of whoever is asking, from `audit.admin` and the application's own tables.
//!
//! The policy of `audit.event` and `audit.log` both go by these.

use std::ffi::CStr;

use pgrx::pg_sys;

use crate::admin_source;
use crate::error::Result;
use crate::pg::query::{self, Found, Parameter};
use crate::pg::scope::as_extension_owner;
use crate::pg::session;
use crate::pg::value::{Text, stored_identifier};
use crate::settings;

/// What a principal may read. All lists are sorted, so that membership is a binary search.
#[derive(Default)]
pub struct Rights {
    /// Everything.
    pub instance_owner: bool,
    /// Organisations, by id.
    pub organisations: Vec<Text>,
    /// Projects, by id, in whatever organisation.
    pub projects: Vec<Text>,
    /// Projects by the pair of organisation and project.
    pub pairs: Vec<(Text, Text)>,
}

/// Whom the session speaks for.
#[derive(PartialEq)]
pub enum Principal {
    /// `audit.actor_id`, where PostgreSQL let the session set it; unless a role's objects are worked on in its name by
    /// somebody else, who does not lend it their actor.
    Actor(Text),
    /// Otherwise the current role.
    Role(pg_sys::Oid),
}

const OF_ACTOR: &CStr =
    c"SELECT organisation_id, project_id, instance_owner FROM ONLY audit.admin WHERE actor_id = $1";
// A role's OID can come back as another role's, and its name as well: both have to agree.
const OF_ROLE: &CStr = c"SELECT a.organisation_id, a.project_id, a.instance_owner
    FROM ONLY audit.admin a JOIN pg_authid r ON r.oid = a.db_role_oid AND r.rolname = a.db_role
    WHERE a.actor_id IS NULL AND a.db_role_oid = $1";
const UNLIKE_DEFAULT: &CStr =
    c"SELECT organisation_id FROM ONLY audit.organisation WHERE organisation_id = ANY ($1) AND enterprise <> $2";

impl Principal {
    /// As of now.
    pub fn of_session() -> Self {
        match settings::actor_id() {
            Some(actor) if !session::is_restricted() => Self::Actor(Text::new(actor.to_bytes())),
            _ => Self::Role(session::current_role()),
        }
    }
}

impl Rights {
    /// The rights of the session's principal.
    pub fn of_session() -> Result<Self> {
        Self::of(&Principal::of_session())
    }

    /// The rights of a principal, as the calling statement sees them.
    pub fn of(principal: &Principal) -> Result<Self> {
        let mut rights = Self::default();
        as_extension_owner(|| match principal {
            Principal::Actor(actor) => {
                let stored = stored_identifier(actor.clone());
                query::read(OF_ACTOR, &[Parameter::Text(Some(&stored))], |row| rights.add(&row));
            }
            Principal::Role(role) => {
                query::read(OF_ROLE, &[Parameter::Oid(Some(*role))], |row| rights.add(&row));
            }
        });
        if let Principal::Actor(actor) = principal {
            admin_source::read(actor, |row| rights.add(row))?;
        }
        rights.organisations.sort();
        rights.organisations.dedup();
        rights.keep_enterprise();
        rights.projects.sort();
        rights.projects.dedup();
        rights.pairs.sort();
        rights.pairs.dedup();
        Ok(rights)
    }

    /// Adds what one row grants: organisation, project, instance owner. One that names no scope grants nothing, and
    /// neither does one with an empty id, lest half a pair open more than the pair.
    fn add(&mut self, row: &Found) {
        self.instance_owner |= row.boolean(3) == Some(true);
        let (organisation, project) = (row.text(1), row.text(2));
        if [&organisation, &project].iter().any(|id| id.as_ref().is_some_and(|id| id.bytes().is_empty())) {
            return;
        }
        match (organisation.map(stored_identifier), project.map(stored_identifier)) {
            (Some(organisation), None) => self.organisations.push(organisation),
            (None, Some(project)) => self.projects.push(project),
            (Some(organisation), Some(project)) => self.pairs.push((organisation, project)),
            (None, None) => {}
        }
    }

    /// Without the enterprise feature the role of organisation admin opens nothing.
    fn keep_enterprise(&mut self) {
        if self.organisations.is_empty() {
            return;
        }
        let default = settings::enterprise();
        let mut others = Vec::new();
        let parameters = [Parameter::Texts(&self.organisations), Parameter::Boolean(default)];
        as_extension_owner(|| query::read(UNLIKE_DEFAULT, &parameters, |row| others.extend(row.text(1))));
        others.sort();
        self.organisations.retain(|organisation| others.binary_search(organisation).is_ok() != default);
    }

    /// Whether they open an event of this organisation and project.
    pub fn open(&self, organisation: Option<&[u8]>, project: Option<&[u8]>) -> bool {
        let holds = |list: &[Text], id: Option<&[u8]>| {
            id.is_some_and(|id| list.binary_search_by(|text| text.bytes().cmp(id)).is_ok())
        };
        let pair = |(organisation, project): (&[u8], &[u8])| {
            let order = |pair: &(Text, Text)| (pair.0.bytes(), pair.1.bytes()).cmp(&(organisation, project));
            self.pairs.binary_search_by(order).is_ok()
        };
        self.instance_owner
            || holds(&self.organisations, organisation)
            || holds(&self.projects, project)
            || organisation.zip(project).is_some_and(pair)
    }
}
