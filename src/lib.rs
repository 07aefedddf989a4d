//! `audit`: row audit for PostgreSQL. ARCHITECTURE.md walks one UPDATE through these rooms.

use pgrx::prelude::*;

pub mod actions;
pub mod actor;
pub mod admin_source;
pub mod admins;
pub mod capture;
pub mod columns;
pub mod ddl;
pub mod error;
pub mod fits;
pub mod guard;
pub mod health;
pub mod log;
pub mod maintain;
pub mod matching;
pub mod months;
pub mod moves;
pub mod near;
pub mod own;
pub mod page;
pub mod pg;
pub mod record;
pub mod relations;
pub mod rights;
pub mod rules;
pub mod scope;
pub mod settings;
pub mod target;
pub mod track;
pub mod tracking;
pub mod trail;
pub mod trail_rows;
pub mod trail_state;
pub mod trail_tracking;
pub mod triggers;
pub mod unresolved;
pub mod ways;
pub mod writer;

pg_module_magic!();

extension_sql_file!("../sql/10_schema.sql", name = "schema", bootstrap);
extension_sql_file!("../sql/20_api.sql", name = "api", requires = ["schema"]);
extension_sql_file!("../sql/25_access.sql", name = "access", requires = ["api"]);
extension_sql_file!("../sql/26_reading.sql", name = "reading", requires = ["access"]);
extension_sql_file!("../sql/30_catalogue.sql", name = "catalogue", requires = ["reading"]);
extension_sql_file!("../sql/35_health_tables.sql", name = "health_tables", requires = ["catalogue"]);
extension_sql_file!("../sql/36_health_log.sql", name = "health_log", requires = ["health_tables"]);
extension_sql_file!("../sql/37_health_extension.sql", name = "health_extension", requires = ["health_log"]);
extension_sql_file!("../sql/38_health_roles.sql", name = "health_roles", requires = ["health_extension"]);
extension_sql_file!("../sql/39_health.sql", name = "health", requires = ["health_roles"]);
extension_sql_file!("../sql/40_grants.sql", name = "grants", requires = ["health"]);
extension_sql_file!("../sql/45_as_installed.sql", name = "as_installed", requires = ["grants"], finalize);

#[cfg(any(test, feature = "pg_test"))]
mod tests;

/// What `cargo pgrx test` needs to know of a test server.
#[cfg(test)]
pub mod pg_test {
    /// Called once before the server starts.
    pub fn setup(_options: Vec<&str>) {}

    /// Lines for postgresql.conf.
    #[must_use]
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["fsync = off"]
    }
}

/// Called when the library is loaded into a backend.
#[pg_guard]
extern "C-unwind" fn _PG_init() {
    settings::define();
    pg::invalidation::listen();
}
