//! The columns of an event, and where they stand in a partition's rows.

use pgrx::{PgSqlErrorCode, pg_sys};

use super::catalog;
use crate::error::{Error, Result};

/// The columns of an event, in the order of `audit.event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Column {
    EventId,
    OccurredAt,
    TransactionId,
    Action,
    ResourceType,
    ResourceId,
    ActorId,
    ActorType,
    OrganisationId,
    ProjectId,
    BeforeState,
    AfterState,
    Metadata,
    SessionRole,
    DbRole,
    ApplicationName,
    ClientAddr,
    TableName,
}

/// Their names, in the same order.
pub(super) const NAMES: [&str; 18] = [
    "event_id",
    "occurred_at",
    "transaction_id",
    "action",
    "resource_type",
    "resource_id",
    "actor_id",
    "actor_type",
    "organisation_id",
    "project_id",
    "before_state",
    "after_state",
    "metadata",
    "session_role",
    "db_role",
    "application_name",
    "client_addr",
    "table_name",
];

/// The first so many columns are never NULL: the writer always fills them.
pub(super) const ALWAYS_FILLED: usize = Column::Action as usize + 1;

/// Refuses a partition that has no rows of its own, such as one that is partitioned again, or whose rows are elsewhere.
///
/// # Safety
/// `partition` must be open.
pub(super) unsafe fn check_ordinary(partition: pg_sys::Relation) -> Result<()> {
    // SAFETY: an open relation has its pg_class row at hand.
    let (kind, oid) = unsafe { ((*(*partition).rd_rel).relkind as u8, (*partition).rd_id) };
    if kind == pg_sys::RELKIND_RELATION {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
        format!("partition {} of audit.event is no ordinary table", catalog::shown_name(oid)),
    )
    .hint("Detach it: the log's partitions are ordinary tables, made by audit.maintain."))
}

/// The position of the column of this name in the rows that `descriptor` describes.
///
/// # Safety
/// `descriptor` must be valid.
pub(super) unsafe fn position(descriptor: pg_sys::TupleDesc, name: &str) -> Option<usize> {
    // SAFETY: a valid descriptor holds natts attributes.
    let attributes = unsafe { (*descriptor).attrs.as_slice((*descriptor).natts as usize) };
    attributes.iter().position(|a| !a.attisdropped && pgrx::name_data_to_str(&a.attname) == name)
}

/// The same for each of [`NAMES`].
///
/// # Safety
/// `descriptor` must be valid.
pub(super) unsafe fn positions(descriptor: pg_sys::TupleDesc) -> Result<[usize; NAMES.len()]> {
    let mut positions = [0; NAMES.len()];
    for (name, found) in NAMES.iter().zip(&mut positions) {
        // SAFETY: as the caller promises.
        *found = unsafe { position(descriptor, name) }.ok_or_else(|| {
            Error::new(
                PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
                format!("a partition of audit.event has no column \"{name}\""),
            )
            .hint("Attach partitions that were made LIKE audit.event_default INCLUDING ALL.")
        })?;
    }
    Ok(positions)
}
