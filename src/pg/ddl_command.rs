//! What an event trigger is told of the command that fired it.

use pgrx::pg_sys;

/// What a command did to partitions.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct PartitionChange {
    /// A table may have become a partition.
    pub attached: bool,
    /// A partition may have become a table of its own.
    pub detached: bool,
}

/// What the command behind an event trigger's call did to partitions.
///
/// # Safety
/// `fcinfo` must be what PostgreSQL passed to the function.
pub unsafe fn partition_change(fcinfo: pg_sys::FunctionCallInfo) -> PartitionChange {
    let mut change = PartitionChange::default();
    // SAFETY: a node's tag says its type; lists hold nodes.
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
            // It may hold any CREATE TABLE.
            pg_sys::NodeTag::T_CreateSchemaStmt => change.attached = true,
            pg_sys::NodeTag::T_AlterTableStmt => {
                let list = (*command.cast::<pg_sys::AlterTableStmt>()).cmds;
                if !list.is_null() {
                    for cell in std::slice::from_raw_parts((*list).elements, (*list).length as usize) {
                        match (*cell.ptr_value.cast::<pg_sys::AlterTableCmd>()).subtype {
                            pg_sys::AlterTableType::AT_AttachPartition => change.attached = true,
                            pg_sys::AlterTableType::AT_DetachPartition
                            | pg_sys::AlterTableType::AT_DetachPartitionFinalize => change.detached = true,
                            _ => {}
                        }
                    }
                }
            }
            _ => {}
        }
    }
    change
}
