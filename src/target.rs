//! The table that `audit.track` and `audit.untrack` are called for: who may, and what can be tracked.

use pgrx::pg_sys;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::catalog;
use crate::pg::row::{OpenRelation, TriggerInfo};
use crate::tracking::{Kind, Tracking, triggers_of};

/// A table that someone wants to track, locked against writers and other DDL until the transaction ends.
pub struct Table {
    /// Its OID.
    pub oid: pg_sys::Oid,
    /// Its qualified name, in UTF-8.
    pub name: String,
    kind: String,
    persistence: String,
    schema: String,
}

impl Table {
    /// Checks what the caller may do, locks the table by its OID against writers, and checks again.
    pub fn locked(oid: pg_sys::Oid) -> Result<Self> {
        Self::locked_by(OpenRelation::lock, oid)
    }

    /// The same, against readers too, as DROP TRIGGER does: a lock that grew to that only then would deadlock with a
    /// transaction that reads the table and goes on to write.
    pub fn locked_alone(oid: pg_sys::Oid) -> Result<Self> {
        Self::locked_by(OpenRelation::lock_alone, oid)
    }

    fn locked_by(lock: fn(pg_sys::Oid) -> Option<OpenRelation>, oid: pg_sys::Oid) -> Result<Self> {
        let missing = || {
            Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                format!("there is no table with OID {}", oid.to_u32()),
            )
            .hint("Name the table, such as 'public.datasource'.")
        };
        Self::may_configure(oid)?.ok_or_else(missing)?;
        lock(oid).ok_or_else(missing)?;
        let (kind, persistence, schema) = Self::may_configure(oid)?.ok_or_else(missing)?;
        let name = catalog::shown_name(oid);
        // The schema of a temporary table has a number that says nothing.
        let name =
            if persistence == "t" { name.rsplit('.').next().unwrap_or_default().to_owned() } else { name };
        Ok(Self { oid, name, kind, persistence, schema })
    }

    /// The table's kind, persistence and schema, if the caller is an audit_admin who owns it.
    fn may_configure(oid: pg_sys::Oid) -> Result<Option<(String, String, String)>> {
        let found = Spi::connect(|client| {
            let rows = client.select(
                "SELECT c.relkind::text, c.relpersistence::text,
                        CASE WHEN n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'audit')
                             THEN n.nspname::text ELSE '' END,
                        pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE'),
                        pg_catalog.pg_has_role(current_user, 'audit_admin', 'USAGE')
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                 WHERE c.oid = $1",
                Some(1),
                &[oid.into()],
            )?;
            let mut found = None;
            for row in rows {
                let text = |at| Ok::<_, pgrx::spi::SpiError>(row.get::<String>(at)?.unwrap_or_default());
                let holds = |at| Ok::<_, pgrx::spi::SpiError>(row.get::<bool>(at)?.unwrap_or_default());
                found = Some(((text(1)?, text(2)?, text(3)?), holds(4)?, holds(5)?));
            }
            Ok::<_, pgrx::spi::SpiError>(found)
        })?;
        let Some((table, owns, administers)) = found else {
            return Ok(None);
        };
        if !administers {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                "only a member of audit_admin may configure what is audited",
            )
            .hint("Ask a superuser for GRANT audit_admin TO your role."));
        }
        if !owns {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("must be owner of table {}", catalog::shown_name(oid)),
            )
            .hint("Call it as the table's owner, or as a superuser."));
        }
        Ok(Some(table))
    }

    /// Refuses what has no rows of its own to follow, and what others' triggers or settings are in the way of.
    pub fn check_trackable(&self) -> Result<()> {
        let refuse = |what: &str, hint: &'static str| Err(self.refusal(what, "cannot be tracked", hint));
        match &*self.kind {
            "r" | "p" => {}
            "v" => return refuse("a view", "Track the tables behind it."),
            "m" => return refuse("a materialized view", "Track the tables behind it."),
            "f" => return refuse("a foreign table", "Track the table on its own server."),
            _ => return refuse("no table", "Name a table."),
        }
        match &*self.persistence {
            "t" => {
                return refuse("a temporary table", "Its rows end with the session; nothing of it is kept.");
            }
            "u" => {
                return refuse(
                    "an unlogged table",
                    "A crash empties it without an event; ALTER TABLE ... SET LOGGED first.",
                );
            }
            _ => {}
        }
        self.check_application()?;
        self.check_no_partition()?;
        self.check_no_tracked_partition()?;
        self.check_no_foreign_trigger()
    }

    fn refusal(&self, what: &str, why: &str, hint: &'static str) -> Error {
        Error::new(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, format!("{} is {what}, which {why}", self.name))
            .hint(hint)
    }

    /// Refuses tables that are no application's.
    pub fn check_application(&self) -> Result<()> {
        match &*self.schema {
            "" => Ok(()),
            "audit" => Err(self.refusal(
                "the audit system's own",
                "records its own changes",
                "SELECT * FROM audit.event WHERE audit_match(action, 'audit.*') shows them.",
            )),
            _ => Err(self.refusal(
                "a system catalogue",
                "cannot be tracked",
                "Use event triggers or the server log for changes of the schema.",
            )),
        }
    }

    /// A partition of a tracked table has that table's settings.
    pub fn check_no_partition(&self) -> Result<()> {
        if self.triggers().iter().any(|trigger| trigger.is_clone) {
            let root = catalog::shown_name(catalog::root_of(self.oid));
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
                format!("{} is tracked as a partition of {root}", self.name),
            )
            .hint(format!("Configure {root}.")));
        }
        Ok(())
    }

    /// Tracking the partitioned table would take a partition's own settings away, its masks among them.
    fn check_no_tracked_partition(&self) -> Result<()> {
        if self.kind != "p" {
            return Ok(());
        }
        for table in
            crate::pg::lookup::with_partitions(self.oid).into_iter().filter(|table| *table != self.oid)
        {
            if triggers_of(table).iter().any(|trigger| trigger.for_row && !trigger.is_clone) {
                let partition = catalog::shown_name(table);
                return Err(Error::new(
                    PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("partition {partition} of {} is tracked with settings of its own", self.name),
                )
                .hint(format!("SELECT audit.untrack('{partition}') first.")));
            }
        }
        Ok(())
    }

    /// A trigger of someone else's with a name of ours would be replaced.
    fn check_no_foreign_trigger(&self) -> Result<()> {
        let foreign = Spi::get_one_with_args::<bool>(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t
                            WHERE t.tgrelid = $1 AND t.tgname IN ($2, $3, $4)
                              AND t.tgfoid <> 'audit.capture()'::regprocedure)",
            &[
                self.oid.into(),
                Kind::Row.name().into(),
                Kind::Truncate.name().into(),
                Kind::End.name().into(),
            ],
        )?;
        if foreign == Some(true) {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
                format!("table {} has a trigger with a name of the audit system's", self.name),
            )
            .hint("Rename the table's triggers that begin with !audit."));
        }
        Ok(())
    }

    /// Its triggers with the extension's function.
    pub fn triggers(&self) -> Vec<TriggerInfo> {
        triggers_of(self.oid)
    }

    /// The settings that the row trigger carries now.
    pub fn settings(&self) -> Option<Tracking> {
        Tracking::carried_by(&self.triggers())
    }
}
