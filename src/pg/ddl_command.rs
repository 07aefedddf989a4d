//! What an event trigger is told of the command that fired it.

use std::ffi::CStr;

use pgrx::{PgSqlErrorCode, pg_sys};

use super::list::cells;
use super::{catalog, session};
use crate::error::Error;

/// What a command did to partitions, to what paths lead along, and to what conditions mean.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Change {
    /// There may be triggers that were not there before.
    pub brings_triggers: bool,
    /// There may be tables that were made as partitions.
    pub makes_partitions: bool,
    /// The unqualified name of the table that ATTACH PARTITION names, in the database's encoding: the server does
    /// not tell its OID before PostgreSQL 16, and the event trigger has a `search_path` of its own.
    pub attached: Option<Vec<u8>>,
    /// The same of DETACH PARTITION.
    pub detached: Option<Vec<u8>>,
    /// Columns or constraints may be gone.
    pub takes_away: bool,
    /// Functions, types or operators may be others than before.
    pub of_meaning: bool,
}

/// What a command may change that has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// What rows of tracked tables hold, are known by or belong to, by adding something: migrations do that most.
    Rows,
    /// Anything of the trail.
    Trail,
}

/// The command behind an event trigger's call.
pub struct Command(*mut pg_sys::Node);

impl Command {
    /// Of this call.
    ///
    /// # Safety
    /// `fcinfo` must be what PostgreSQL passed to the function, and outlive the result.
    pub unsafe fn new(fcinfo: pg_sys::FunctionCallInfo) -> Self {
        // SAFETY: a context with the tag T_EventTriggerData is one. A command always has a parse tree.
        unsafe {
            let context = (*fcinfo).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
                Error::new(
                    PgSqlErrorCode::ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED,
                    "this function was not called by an event trigger",
                )
                .hint("CREATE EXTENSION audit makes the event triggers that call it.")
                .raise();
            }
            Self((*context.cast::<pg_sys::EventTriggerData>()).parsetree)
        }
    }

    fn is(&self, tag: pg_sys::NodeTag) -> bool {
        // SAFETY: a node's tag says its type.
        unsafe { (*self.0).type_ == tag }
    }

    /// Tells this command from others that run at the same time.
    pub fn id(&self) -> usize {
        self.0.addr()
    }

    /// What it may change, if anything.
    pub fn watch(&self) -> Option<Watch> {
        // SAFETY: a node's tag says its type; views and rules have a relation.
        let changes_trail = unsafe {
            match (*self.0).type_ {
                pg_sys::NodeTag::T_AlterTableStmt => return self.alters(),
                pg_sys::NodeTag::T_AlterEnumStmt => return self.renames_value().then_some(Watch::Rows),
                // Rows of a table that inherits from another are the other's, too. The statement of a foreign table begins as that
                // of a table.
                pg_sys::NodeTag::T_CreateStmt | pg_sys::NodeTag::T_CreateForeignTableStmt => {
                    let create = self.0.cast::<pg_sys::CreateStmt>();
                    !(*create).inhRelations.is_null() && (*create).partbound.is_null()
                }
                // It may hold such.
                pg_sys::NodeTag::T_CreateSchemaStmt => {
                    !(*self.0.cast::<pg_sys::CreateSchemaStmt>()).schemaElts.is_null()
                }
                pg_sys::NodeTag::T_RuleStmt => {
                    self.is_of_the_trail((*self.0.cast::<pg_sys::RuleStmt>()).relation)
                }
                pg_sys::NodeTag::T_ViewStmt => {
                    let view = self.0.cast::<pg_sys::ViewStmt>();
                    (*view).replace && self.is_of_the_trail((*view).view)
                }
                pg_sys::NodeTag::T_RenameStmt
                | pg_sys::NodeTag::T_AlterObjectSchemaStmt
                | pg_sys::NodeTag::T_AlterOwnerStmt
                | pg_sys::NodeTag::T_AlterExtensionContentsStmt
                | pg_sys::NodeTag::T_AlterFunctionStmt
                | pg_sys::NodeTag::T_AlterPolicyStmt
                | pg_sys::NodeTag::T_CreateFunctionStmt
                | pg_sys::NodeTag::T_CreatePolicyStmt
                | pg_sys::NodeTag::T_CreateTrigStmt
                | pg_sys::NodeTag::T_DropStmt
                | pg_sys::NodeTag::T_DropOwnedStmt => true,
                _ => false,
            }
        };
        changes_trail.then_some(Watch::Trail)
    }

    /// Whether a name is that of the log, one of its partitions or another object of the extension's.
    ///
    /// # Safety
    /// `name` must be one that the command holds.
    unsafe fn is_of_the_trail(&self, name: *const pg_sys::RangeVar) -> bool {
        // SAFETY: as the caller promises; the look-up takes no lock.
        unsafe { relation_named(name) }.is_some_and(catalog::is_part_of_the_trail)
    }

    /// What ALTER TABLE may change, if it does something else than what restores and migrations do most, and the trail does not
    /// notice.
    fn alters(&self) -> Option<Watch> {
        // SAFETY: the command is ALTER TABLE; its parts are commands.
        let (is_of_the_trail, parts) = unsafe {
            let alter = self.0.cast::<pg_sys::AlterTableStmt>();
            (self.is_of_the_trail((*alter).relation), cells((*alter).cmds))
        };
        let is_restore = session::is_restore();
        let watch = |part: &pg_sys::AlterTableCmd| match part.subtype {
            // A restore gives each table to its owner, and each partition to its table.
            pg_sys::AlterTableType::AT_ChangeOwner | pg_sys::AlterTableType::AT_AttachPartition
                if is_restore =>
            {
                None
            }
            pg_sys::AlterTableType::AT_AddColumn
            | pg_sys::AlterTableType::AT_AddConstraint
            | pg_sys::AlterTableType::AT_AddIdentity
            | pg_sys::AlterTableType::AT_ClusterOn
            | pg_sys::AlterTableType::AT_ColumnDefault
            | pg_sys::AlterTableType::AT_DropNotNull
            | pg_sys::AlterTableType::AT_ReplicaIdentity
            | pg_sys::AlterTableType::AT_ResetRelOptions
            | pg_sys::AlterTableType::AT_SetNotNull
            | pg_sys::AlterTableType::AT_SetRelOptions
            | pg_sys::AlterTableType::AT_SetStatistics
            | pg_sys::AlterTableType::AT_SetStorage
            | pg_sys::AlterTableType::AT_ValidateConstraint => match is_restore {
                true => None,
                false if is_of_the_trail => Some(Watch::Trail),
                // SAFETY: as above.
                false => unsafe { adds_to_rows(part) }.then_some(Watch::Rows),
            },
            _ => Some(Watch::Trail),
        };
        // SAFETY: as above.
        parts.iter().filter_map(|cell| watch(unsafe { &*cell.ptr_value.cast() })).max()
    }

    /// Whether it may give tables other names: their own or their schemas'.
    pub fn renames_tables(&self) -> bool {
        // SAFETY: as the tag says.
        self.is(pg_sys::NodeTag::T_AlterObjectSchemaStmt)
            || self.is(pg_sys::NodeTag::T_RenameStmt)
                && !matches!(
                    unsafe { (*self.0.cast::<pg_sys::RenameStmt>()).renameType },
                    pg_sys::ObjectType::OBJECT_COLUMN
                        | pg_sys::ObjectType::OBJECT_ATTRIBUTE
                        | pg_sys::ObjectType::OBJECT_FUNCTION
                        | pg_sys::ObjectType::OBJECT_TABCONSTRAINT
                        | pg_sys::ObjectType::OBJECT_TRIGGER
                )
    }

    /// Whether it gives an enum's value another name; otherwise it adds one, which no row has yet.
    pub fn renames_value(&self) -> bool {
        // SAFETY: as the tag says.
        self.is(pg_sys::NodeTag::T_AlterEnumStmt)
            && unsafe { !(*self.0.cast::<pg_sys::AlterEnumStmt>()).oldVal.is_null() }
    }

    /// Whether it is CREATE TRIGGER.
    pub fn makes_trigger(&self) -> bool {
        self.is(pg_sys::NodeTag::T_CreateTrigStmt)
    }

    /// Whether it drops the extension: by name, or with all that its owner has.
    pub fn drops_own_extension(&self) -> bool {
        // SAFETY: as the tags say; the names of extensions are strings, the roles of DROP OWNED role specifications.
        unsafe {
            match (*self.0).type_ {
                pg_sys::NodeTag::T_DropStmt => {
                    let drop = self.0.cast::<pg_sys::DropStmt>();
                    (*drop).removeType == pg_sys::ObjectType::OBJECT_EXTENSION
                        && cells((*drop).objects).iter().any(|cell| {
                            let name = cell.ptr_value.cast::<pg_sys::String>();
                            CStr::from_ptr((*name).sval) == c"audit"
                        })
                }
                pg_sys::NodeTag::T_DropOwnedStmt => {
                    let roles = (*self.0.cast::<pg_sys::DropOwnedStmt>()).roles;
                    cells(roles).iter().any(|cell| {
                        let role = pg_sys::get_rolespec_oid(cell.ptr_value.cast(), true);
                        catalog::own_extension_owner() == Some(role)
                    })
                }
                _ => false,
            }
        }
    }

    /// The partition that it detaches in two transactions, so that it cannot be undone afterwards.
    pub fn detaches_concurrently(&self) -> Option<Detached> {
        if !self.is(pg_sys::NodeTag::T_AlterTableStmt) {
            return None;
        }
        // SAFETY: as the tags say; DETACH PARTITION has a PartitionCmd with a name.
        unsafe {
            let alter = self.0.cast::<pg_sys::AlterTableStmt>();
            let partition = cells((*alter).cmds).iter().find_map(|cell| {
                let part = cell.ptr_value.cast::<pg_sys::AlterTableCmd>();
                let detach = (*part).def.cast::<pg_sys::PartitionCmd>();
                let concurrently = match (*part).subtype {
                    pg_sys::AlterTableType::AT_DetachPartition => (*detach).concurrent,
                    pg_sys::AlterTableType::AT_DetachPartitionFinalize => true,
                    _ => false,
                };
                concurrently.then(|| (*detach).name)
            })?;
            Some(Detached { from: relation_named((*alter).relation)?, partition: relation_named(partition)? })
        }
    }

    /// What it did.
    pub fn change(&self) -> Change {
        let mut change = Change::default();
        // SAFETY: a node's tag says its type; lists hold nodes; ATTACH and DETACH PARTITION have a partition's name.
        unsafe {
            let command = self.0;
            match (*command).type_ {
                pg_sys::NodeTag::T_CreateStmt => {
                    change.makes_partitions = !(*command.cast::<pg_sys::CreateStmt>()).partbound.is_null();
                }
                pg_sys::NodeTag::T_CreateForeignTableStmt => {
                    change.makes_partitions =
                        !(*command.cast::<pg_sys::CreateForeignTableStmt>()).base.partbound.is_null();
                }
                pg_sys::NodeTag::T_CreateTrigStmt => change.brings_triggers = true,
                // They may hold any CREATE TABLE, or CREATE FOREIGN TABLE.
                pg_sys::NodeTag::T_CreateSchemaStmt | pg_sys::NodeTag::T_ImportForeignSchemaStmt => {
                    change.brings_triggers = true;
                    change.makes_partitions = true;
                }
                // A script may hold anything.
                pg_sys::NodeTag::T_CreateExtensionStmt => change.brings_triggers = true,
                pg_sys::NodeTag::T_AlterTableStmt => {
                    for cell in cells((*command.cast::<pg_sys::AlterTableStmt>()).cmds) {
                        let part = cell.ptr_value.cast::<pg_sys::AlterTableCmd>();
                        match (*part).subtype {
                            pg_sys::AlterTableType::AT_AttachPartition => {
                                change.attached = Some(partition_name(part));
                            }
                            pg_sys::AlterTableType::AT_DetachPartition
                            | pg_sys::AlterTableType::AT_DetachPartitionFinalize => {
                                change.detached = Some(partition_name(part));
                            }
                            // A new type makes constraints anew.
                            pg_sys::AlterTableType::AT_DropColumn
                            | pg_sys::AlterTableType::AT_DropConstraint
                            | pg_sys::AlterTableType::AT_AlterColumnType => change.takes_away = true,
                            _ => {}
                        }
                    }
                }
                // CASCADE reaches anything.
                pg_sys::NodeTag::T_DropStmt | pg_sys::NodeTag::T_DropOwnedStmt => {
                    change.takes_away = true;
                    change.of_meaning = true;
                }
                pg_sys::NodeTag::T_RenameStmt
                | pg_sys::NodeTag::T_AlterObjectSchemaStmt
                | pg_sys::NodeTag::T_AlterOwnerStmt
                | pg_sys::NodeTag::T_AlterEnumStmt
                | pg_sys::NodeTag::T_AlterTypeStmt
                | pg_sys::NodeTag::T_AlterDomainStmt
                | pg_sys::NodeTag::T_AlterFunctionStmt
                | pg_sys::NodeTag::T_AlterOperatorStmt
                | pg_sys::NodeTag::T_AlterExtensionContentsStmt
                | pg_sys::NodeTag::T_CreateCastStmt
                | pg_sys::NodeTag::T_CreateFunctionStmt => change.of_meaning = true,
                pg_sys::NodeTag::T_AlterExtensionStmt => {
                    change.brings_triggers = true;
                    change.of_meaning = true;
                }
                _ => {}
            }
        }
        change
    }
}

/// A partition that goes.
pub struct Detached {
    /// The table that it is detached from.
    pub from: pg_sys::Oid,
    /// The partition.
    pub partition: pg_sys::Oid,
}

/// Whether it adds a column, which may have a value for the rows that are there by its type alone, a primary key, or a foreign key.
///
/// # Safety
/// `part` must be one of an ALTER TABLE.
unsafe fn adds_to_rows(part: &pg_sys::AlterTableCmd) -> bool {
    match part.subtype {
        pg_sys::AlterTableType::AT_AddColumn => true,
        pg_sys::AlterTableType::AT_AddConstraint => {
            // SAFETY: ADD CONSTRAINT has one.
            let kind = unsafe { (*part.def.cast::<pg_sys::Constraint>()).contype };
            matches!(kind, pg_sys::ConstrType::CONSTR_PRIMARY | pg_sys::ConstrType::CONSTR_FOREIGN)
        }
        _ => false,
    }
}

/// The table or view of that name, `None` if there is none. Takes no lock.
///
/// # Safety
/// `name` must be that of a relation.
unsafe fn relation_named(name: *const pg_sys::RangeVar) -> Option<pg_sys::Oid> {
    // SAFETY: as the caller promises; without a lock there is no callback to be called.
    let oid = unsafe {
        let (lock, options) = (pg_sys::NoLock as i32, pg_sys::RVROption::RVR_MISSING_OK);
        pg_sys::RangeVarGetRelidExtended(name, lock, options, None, std::ptr::null_mut())
    };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// The unqualified name in a part of ALTER TABLE.
///
/// # Safety
/// `part` must be ATTACH or DETACH PARTITION.
unsafe fn partition_name(part: *const pg_sys::AlterTableCmd) -> Vec<u8> {
    // SAFETY: both have a PartitionCmd, whose table has a name.
    unsafe {
        let table = (*(*part).def.cast::<pg_sys::PartitionCmd>()).name;
        CStr::from_ptr((*table).relname).to_bytes().to_vec()
    }
}

/// The table that ALTER TABLE is about to rewrite, told to the event trigger for it.
pub fn table_to_rewrite() -> Option<pg_sys::Oid> {
    // SAFETY: a function without arguments, called inside such an event trigger; elsewhere it raises an error.
    let table =
        unsafe { pgrx::direct_function_call_as_datum(pg_sys::pg_event_trigger_table_rewrite_oid, &[]) };
    table.map(|table| pg_sys::Oid::from(table.value() as u32))
}
