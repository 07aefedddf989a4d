//! `audit.use_admins_from`: the application's own tables as a source of rights.
//!
//! The source is read as its owner, in a security-restricted operation: whatever a function in it does, it gains no
//! right that the owner does not have, and what the owner may not read is not read.

use std::ffi::{CStr, CString};

use pgrx::{PgSqlErrorCode, pg_sys};

use crate::error::{Error, Result};
use crate::pg::catalog::{self, to_utf8};
use crate::pg::caught::{Mistake, caught};
use crate::pg::query::{self, Found, Parameter};
use crate::pg::row::OpenRelation;
use crate::pg::scope::{as_extension_owner, as_restricted};
use crate::pg::session;
use crate::pg::value::Text;

/// The columns of a source.
const COLUMNS: [&str; 4] = ["actor_id", "organisation_id", "project_id", "instance_owner"];

/// A source, found and still its owner's.
struct Source {
    table: pg_sys::Oid,
    owner: pg_sys::Oid,
}

/// Reads the rights of `actor` from the source, if there is one, and hands each row to `take`: organisation, project,
/// instance owner.
pub fn read(actor: &Text, take: impl FnMut(&Found)) -> Result<()> {
    let Some((schema, name, owner)) = configured() else { return Ok(()) };
    let shown = || format!("{}.{}", to_utf8(schema.bytes()), to_utf8(name.bytes()));
    // Locked before its owner is looked at: a view that another role makes meanwhile is not the one that is read.
    let found = as_extension_owner(|| catalog::table_locked(schema.bytes(), name.bytes()));
    let source = match found.and_then(|table| Some(Source { table, owner: catalog::table_owner(table)? })) {
        None => return Err(unreadable(&shown(), "It is gone.")),
        Some(source) if catalog::role_name(source.owner) != owner.bytes() => {
            return Err(unreadable(&shown(), "It belongs to another role now."));
        }
        Some(source) => source,
    };
    // What went wrong is between the source and its owner: its words may hold what the reader must not see.
    source.read(actor, take).map_err(|mistake| match mistake.code {
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE => locked(&shown()),
        _ => unreadable(&shown(), "Reading it as its owner fails."),
    })
}

/// Schema, name and owner of the source that is configured.
fn configured() -> Option<(Text, Text, Text)> {
    const SOURCE: &CStr =
        c"SELECT schema_name::text, source_name::text, owner::text FROM ONLY audit.admin_source";
    let mut found = None;
    as_extension_owner(|| {
        query::read(SOURCE, &[], |row| {
            found = row
                .text(1)
                .zip(row.text(2))
                .zip(row.text(3))
                .map(|((schema, name), owner)| (schema, name, owner));
        });
    });
    found
}

fn unreadable(source: &str, why: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the source of admins, {source}, cannot be read"),
    )
    .detail(why)
    .hint("Ask an audit_admin to call audit.use_admins_from again, which tells what is wrong with it.")
}

/// Nothing is wrong with it: somebody holds a lock for longer than the reader waits.
fn locked(source: &str) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
        format!("the source of admins, {source}, is locked by another session"),
    )
    .hint("Try again, or give it more time (lock_timeout).")
}

impl Source {
    fn read(&self, actor: &Text, mut take: impl FnMut(&Found)) -> std::result::Result<(), Mistake> {
        let Some(text) = self.query(actor) else { return Ok(()) };
        caught(|| {
            as_restricted(self.owner, || {
                query::read(&text, &[Parameter::Text(Some(actor))], |row| take(&row))
            });
        })
    }

    /// The query for the rights of `actor`; `None` where no value of the column's type is written like that. The
    /// column's own equality finds the rows, by an index if there is one; that of the text alone is exact, whatever the
    /// column's collation takes for equal.
    fn query(&self, actor: &Text) -> Option<CString> {
        let is_integer = || std::str::from_utf8(actor.bytes()).is_ok_and(|text| text.parse::<i64>().is_ok());
        let find = match catalog::column_type(self.table, c"actor_id") {
            pg_sys::TEXTOID | pg_sys::VARCHAROID => "actor_id = $1 AND ",
            pg_sys::UUIDOID if is_uuid(actor.bytes()) => "actor_id = $1::uuid AND ",
            pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID if is_integer() => "actor_id = $1::int8 AND ",
            pg_sys::UUIDOID | pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID => return None,
            _ => "",
        };
        // IS TRUE takes a boolean alone: a view made again may have something else there.
        let mut query =
            b"SELECT organisation_id::text, project_id::text, instance_owner IS TRUE FROM ".to_vec();
        query.extend(catalog::qualified_name(self.table));
        query.extend(format!(" WHERE {find}actor_id::text COLLATE \"C\" = $1").bytes());
        CString::new(query).ok()
    }
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

/// Uses `source` from now on, and tries it; `None` ends the use of any.
pub fn use_from(source: Option<pg_sys::Oid>) -> Result<()> {
    let Some(table) = source else {
        as_extension_owner(|| query::write(c"DELETE FROM ONLY audit.admin_source", &[]));
        return Ok(());
    };
    let missing = || {
        Error::new(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("there is no view with OID {}", table.to_u32()),
        )
        .hint("Name a view, such as 'public.audit_admins'.")
    };
    let owner = catalog::table_owner(table).ok_or_else(missing)?;
    let source = Source { table, owner };
    let name = catalog::shown_name(table);
    if !session::has_privileges_of(owner) {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("must be owner of {name}"),
        )
        .hint("Call it as the view's owner, or as a superuser."));
    }
    source.check_columns(&name)?;
    // Any actor that the column can hold will do: what matters is whether its owner can read it.
    let anybody: &[u8] = match catalog::column_type(table, c"actor_id") {
        pg_sys::UUIDOID => b"00000000-0000-0000-0000-000000000000",
        _ => b"0",
    };
    source.read(&Text::new(anybody), |_| ()).map_err(|mistake| {
        let error = Error::new(mistake.code, format!("{name} cannot be read by its owner: {}", mistake.message));
        let error = match mistake.detail {
            Some(detail) => error.detail(detail),
            None => error,
        };
        error.hint(mistake.hint.unwrap_or_else(|| {
            "It is read under search_path pg_catalog: qualify what its functions use, and grant its owner what it reads."
                .into()
        }))
    })?;
    const REPLACE: &CStr = c"INSERT INTO audit.admin_source (schema_name, source_name, owner)
        SELECT n.nspname, c.relname, pg_get_userbyid(c.relowner)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1
        ON CONFLICT (only_one) DO UPDATE
        SET schema_name = excluded.schema_name, source_name = excluded.source_name, owner = excluded.owner";
    as_extension_owner(|| query::write(REPLACE, &[Parameter::Oid(Some(table))]));
    Ok(())
}

impl Source {
    fn check_columns(&self, name: &str) -> Result<()> {
        let refuse = |code, what: String| {
            Err(Error::new(code, what).hint(
                "Make a view with the columns actor_id, organisation_id, project_id and instance_owner (a boolean); \
                 NULL where a row names no such scope.",
            ))
        };
        let open = OpenRelation::open(self.table);
        if !open.relation().can_be_read() || open.relation().is_temporary() {
            return refuse(
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                format!("{name} is no view or table that other sessions can read"),
            );
        }
        let columns: Vec<_> = open.relation().attributes().into_iter().flatten().collect();
        for wanted in COLUMNS {
            match columns.iter().find(|column| column.label == wanted) {
                None => {
                    return refuse(
                        PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                        format!("{name} has no column \"{wanted}\""),
                    );
                }
                Some(column) if wanted == "instance_owner" && column.type_oid != pg_sys::BOOLOID => {
                    return refuse(
                        PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
                        format!("column \"instance_owner\" of {name} is not boolean"),
                    );
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
