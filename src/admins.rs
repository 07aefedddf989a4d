//! `audit.grant_admin`, `audit.revoke_admin` and `audit.set_organisation`: who may read what, one row each.

use std::ffi::CStr;

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Error, Result, shortened};
use crate::pg::catalog::{self, to_utf8};
use crate::pg::query::{self, Parameter};
use crate::pg::scope::as_extension_owner;
use crate::pg::value::{Text, stored_identifier};

/// The arguments of `audit.grant_admin` and `audit.revoke_admin`, in order.
pub struct Grant {
    /// The application's user.
    pub actor_id: Option<Text>,
    /// Or a role of the database.
    pub db_role: Option<pg_sys::Oid>,
    /// The organisation that they administer.
    pub organisation_id: Option<Text>,
    /// Or the project; both together are one project of one organisation.
    pub project_id: Option<Text>,
    /// Or everything.
    pub instance_owner: Option<bool>,
}

impl Grant {
    /// One principal and one scope, or an error: NULL never means all.
    fn checked(self) -> Result<Checked> {
        let refuse = |what: &'static str, hint: &'static str| {
            Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, what).hint(hint))
        };
        let instance_owner = self.instance_owner.unwrap_or(false);
        let scoped = self.organisation_id.is_some() || self.project_id.is_some();
        match (&self.actor_id, self.db_role) {
            (None, None) => {
                return refuse("no principal is named", "Pass actor_id => '...' or db_role => '...'.");
            }
            (Some(_), Some(_)) => {
                return refuse(
                    "two principals are named, actor_id and db_role",
                    "Call it once for each of them.",
                );
            }
            _ => {}
        }
        if !scoped && !instance_owner {
            return refuse(
                "no scope is named; NULL does not mean all",
                "Pass organisation_id => '...', project_id => '...' or both, or instance_owner => true.",
            );
        }
        if scoped && instance_owner {
            return refuse(
                "an instance owner has no organisation or project",
                "Pass instance_owner => true alone: it opens every event.",
            );
        }
        let id = |name: &'static str, id: Option<Text>| match id {
            Some(id) if id.bytes().is_empty() => {
                Err(Error::new(PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE, format!("{name} is empty"))
                    .hint("Pass an id, or leave the argument out."))
            }
            id => Ok(id.map(stored_identifier)),
        };
        let db_role = self.db_role.map(|role| match catalog::existing_role_name(role) {
            Some(name) => Ok((role, Text::new(&name))),
            None => Err(Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
                format!("there is no role with OID {}", role.to_u32()),
            )
            .hint("Name a role of the database, such as 'analyst'.")),
        });
        Ok(Checked {
            actor_id: id("actor_id", self.actor_id)?,
            db_role: db_role.transpose()?,
            organisation_id: id("organisation_id", self.organisation_id)?,
            project_id: id("project_id", self.project_id)?,
            instance_owner,
        })
    }
}

/// A grant that names one principal and one scope.
struct Checked {
    actor_id: Option<Text>,
    db_role: Option<(pg_sys::Oid, Text)>,
    organisation_id: Option<Text>,
    project_id: Option<Text>,
    instance_owner: bool,
}

impl Checked {
    fn parameters(&self) -> [Parameter<'_>; 6] {
        let role = self.db_role.as_ref();
        [
            Parameter::Text(self.actor_id.as_ref()),
            Parameter::Text(role.map(|(_, name)| name)),
            Parameter::Oid(role.map(|(oid, _)| *oid)),
            Parameter::Text(self.organisation_id.as_ref()),
            Parameter::Text(self.project_id.as_ref()),
            Parameter::Boolean(self.instance_owner),
        ]
    }

    fn principal(&self) -> String {
        let show = |text: &Text| shortened(&to_utf8(text.bytes()));
        match (&self.actor_id, &self.db_role) {
            (Some(actor), _) => format!("actor \"{}\"", show(actor)),
            (_, Some((_, name))) => format!("role \"{}\"", show(name)),
            _ => String::new(),
        }
    }

    fn scope(&self) -> String {
        let show = |text: &Text| shortened(&to_utf8(text.bytes()));
        match (&self.organisation_id, &self.project_id) {
            (Some(organisation), None) => format!("organisation \"{}\"", show(organisation)),
            (None, Some(project)) => format!("project \"{}\"", show(project)),
            (Some(organisation), Some(project)) => {
                format!("project \"{}\" of organisation \"{}\"", show(project), show(organisation))
            }
            (None, None) => "the instance".into(),
        }
    }
}

/// Lets a principal read a scope; again changes nothing, but that a role's grant counts for the role that has the name
/// now.
pub fn grant(arguments: Grant) -> Result<()> {
    const INSERT: &CStr = c"INSERT INTO audit.admin AS a
            (actor_id, db_role, db_role_oid, organisation_id, project_id, instance_owner)
        VALUES ($1, $2::name, $3, $4, $5, $6)
        ON CONFLICT (actor_id, db_role, organisation_id, project_id) DO UPDATE SET db_role_oid = excluded.db_role_oid
        WHERE a.db_role_oid IS DISTINCT FROM excluded.db_role_oid";
    let grant = arguments.checked()?;
    as_extension_owner(|| query::write(INSERT, &grant.parameters()));
    Ok(())
}

/// Takes back what was granted with the same arguments.
pub fn revoke(arguments: Grant) -> Result<()> {
    // By the role's name alone: what a dropped role of that name was granted goes, too.
    const DELETE: &CStr = c"DELETE FROM ONLY audit.admin
        WHERE actor_id IS NOT DISTINCT FROM $1 AND db_role IS NOT DISTINCT FROM $2::name
          AND organisation_id IS NOT DISTINCT FROM $4 AND project_id IS NOT DISTINCT FROM $5 AND instance_owner = $6";
    let grant = arguments.checked()?;
    if as_extension_owner(|| query::write(DELETE, &grant.parameters())) == 0 {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            format!("{} was not granted {}", grant.principal(), grant.scope()),
        )
        .hint(
            "SELECT * FROM audit.admin shows what is granted; the rights of audit.use_admins_from's view are the application's.",
        ));
    }
    Ok(())
}

/// Says whether an organisation has the enterprise feature; `None` returns it to the default.
pub fn set_organisation(organisation_id: Option<Text>, enterprise: Option<bool>) -> Result<()> {
    const SET: &CStr = c"INSERT INTO audit.organisation (organisation_id, enterprise) VALUES ($1, $2)
        ON CONFLICT (organisation_id) DO UPDATE SET enterprise = excluded.enterprise";
    const FORGET: &CStr = c"DELETE FROM ONLY audit.organisation WHERE organisation_id = $1";
    let Some(id) = organisation_id.filter(|id| !id.bytes().is_empty()).map(stored_identifier) else {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            "organisation_id is NULL or empty",
        )
        .hint("Name one organisation; audit.enterprise is the default of all others."));
    };
    as_extension_owner(|| match enterprise {
        Some(enterprise) => query::write(SET, &[Parameter::Text(Some(&id)), Parameter::Boolean(enterprise)]),
        None => query::write(FORGET, &[Parameter::Text(Some(&id))]),
    });
    Ok(())
}
