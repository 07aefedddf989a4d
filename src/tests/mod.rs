//! Tests inside the server: each in a transaction of its own, rolled back at the end.

use pgrx::prelude::*;

mod images;
mod matching;
mod partitions;
mod rules;
mod scope;
mod tracking;

// What writes left, without the events of tracking itself.
extension_sql!(
    "CREATE VIEW audit.row_event AS SELECT * FROM audit.event WHERE action NOT LIKE 'audit.%';",
    name = "row_event",
    requires = ["health"]
);

/// One value of a query, which must not be NULL.
fn value<T: FromDatum + IntoDatum>(query: &str) -> T {
    Spi::get_one(query).expect("the query runs").expect("the value is not NULL")
}

/// Runs statements that must succeed.
fn run(script: &str) {
    Spi::run(script).expect("the script runs");
}
