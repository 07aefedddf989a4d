//! Running commands that SQL put together, in any encoding.

use std::ffi::{CStr, CString};

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::{Spi, SpiError};

use super::list::cells;

/// Runs the DDL commands that `query` returns in the column `command`, one a row. They fire no event triggers: what somebody's
/// does would hide behind them.
pub fn run_each(query: &str, arguments: &[DatumWithOid<'_>]) -> Result<(), SpiError> {
    // As bytes, since only the server knows their encoding.
    let query = format!(
        "SELECT pg_catalog.convert_to(q.command, pg_catalog.getdatabaseencoding()) FROM ({query}) q (command)"
    );
    let commands = Spi::connect(|client| {
        let mut commands = Vec::new();
        for row in client.select(&query, None, arguments)? {
            commands.extend(row.get::<Vec<u8>>(1)?);
        }
        Ok::<_, SpiError>(commands)
    })?;
    for command in commands {
        if let Ok(command) = CString::new(command) {
            run(&command);
        }
    }
    Ok(())
}

/// Runs a DDL command as a part of another one, which is what fires no event triggers.
fn run(command: &CStr) {
    // SAFETY: the parser gives a list of RawStmt, whose trees live in the current memory context, as the node made here. The
    // snapshot is popped after its last use, or by the transaction's abort.
    unsafe {
        for statement in cells(pg_sys::raw_parser(command.as_ptr(), pg_sys::RawParseMode::RAW_PARSE_DEFAULT))
        {
            let raw = &*statement.ptr_value.cast::<pg_sys::RawStmt>();
            let planned: *mut pg_sys::PlannedStmt = pg_sys::palloc0(size_of::<pg_sys::PlannedStmt>()).cast();
            (*planned).type_ = pg_sys::NodeTag::T_PlannedStmt;
            (*planned).commandType = pg_sys::CmdType::CMD_UTILITY;
            (*planned).utilityStmt = raw.stmt;
            (*planned).stmt_location = raw.stmt_location;
            (*planned).stmt_len = raw.stmt_len;
            pg_sys::CommandCounterIncrement();
            pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
            pg_sys::ProcessUtility(
                planned,
                command.as_ptr(),
                false,
                pg_sys::ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                pg_sys::None_Receiver,
                std::ptr::null_mut(),
            );
            pg_sys::PopActiveSnapshot();
            pg_sys::CommandCounterIncrement();
        }
    }
}
