//! Running commands that SQL put together, in any encoding.

use std::ffi::CString;

use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;
use pgrx::spi::{Spi, SpiError};

/// Runs the commands that `query` returns in the column `command`, one a row.
pub fn run_each(query: &str, arguments: &[DatumWithOid<'_>]) -> Result<(), SpiError> {
    // As bytes, since only the server knows their encoding.
    let query = format!(
        "SELECT pg_catalog.convert_to(q.command, pg_catalog.getdatabaseencoding()) FROM ({query}) q (command)"
    );
    Spi::connect_mut(|client| {
        let mut commands = Vec::new();
        for row in client.select(&query, None, arguments)? {
            commands.extend(row.get::<Vec<u8>>(1)?);
        }
        for command in commands {
            if let Ok(command) = CString::new(command) {
                // SAFETY: connected to SPI; a C string in the server's encoding.
                let code = unsafe { pg_sys::SPI_execute(command.as_ptr(), false, 0) };
                Spi::check_status(code)?;
            }
        }
        Ok(())
    })
}
