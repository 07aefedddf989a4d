//! What an event trigger is told of the command that fired it.

use std::ffi::CStr;

use pgrx::pg_sys;

use super::list::cells;

/// What a command did to partitions, to what paths lead along, and to what conditions mean.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Change {
    /// A table may have become a partition.
    pub attached: bool,
    /// The unqualified name of the table that ATTACH PARTITION names, in the database's encoding: the server does
    /// not tell its OID before PostgreSQL 16.
    pub attached_name: Vec<u8>,
    /// A partition may have become a table of its own.
    pub detached: bool,
    /// Columns or constraints may be gone.
    pub takes_away: bool,
    /// Functions, types or operators may be others than before.
    pub of_meaning: bool,
}

/// What the command behind an event trigger's call did.
///
/// # Safety
/// `fcinfo` must be what PostgreSQL passed to the function.
pub unsafe fn change(fcinfo: pg_sys::FunctionCallInfo) -> Change {
    let mut change = Change::default();
    // SAFETY: a node's tag says its type; lists hold nodes; ATTACH PARTITION has a PartitionCmd with a name.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
            return change;
        }
        let command = (*context.cast::<pg_sys::EventTriggerData>()).parsetree;
        match (*command).type_ {
            pg_sys::NodeTag::T_CreateStmt => {
                change.attached = !(*command.cast::<pg_sys::CreateStmt>()).partbound.is_null();
            }
            pg_sys::NodeTag::T_CreateForeignTableStmt => {
                change.attached =
                    !(*command.cast::<pg_sys::CreateForeignTableStmt>()).base.partbound.is_null();
            }
            // They may hold any CREATE TABLE, or CREATE FOREIGN TABLE.
            pg_sys::NodeTag::T_CreateSchemaStmt | pg_sys::NodeTag::T_ImportForeignSchemaStmt => {
                change.attached = true;
            }
            pg_sys::NodeTag::T_AlterTableStmt => {
                for cell in cells((*command.cast::<pg_sys::AlterTableStmt>()).cmds) {
                    let part = cell.ptr_value.cast::<pg_sys::AlterTableCmd>();
                    match (*part).subtype {
                        pg_sys::AlterTableType::AT_AttachPartition => {
                            change.attached = true;
                            let table = (*(*part).def.cast::<pg_sys::PartitionCmd>()).name;
                            change.attached_name = CStr::from_ptr((*table).relname).to_bytes().to_vec();
                        }
                        pg_sys::AlterTableType::AT_DetachPartition
                        | pg_sys::AlterTableType::AT_DetachPartitionFinalize => change.detached = true,
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
            | pg_sys::NodeTag::T_AlterExtensionStmt
            | pg_sys::NodeTag::T_AlterExtensionContentsStmt
            | pg_sys::NodeTag::T_CreateFunctionStmt => change.of_meaning = true,
            _ => {}
        }
    }
    change
}
