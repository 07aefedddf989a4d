//! Tests inside the server: each in a transaction of its own, rolled back at the end.

use pgrx::prelude::*;

mod images;
mod matching;
mod partitions;
mod rules;
mod scope;
mod tracking;

/// One value of a query, which must not be NULL.
fn value<T: FromDatum + IntoDatum>(query: &str) -> T {
    Spi::get_one(query).expect("the query runs").expect("the value is not NULL")
}

/// Runs statements that must succeed.
fn run(script: &str) {
    Spi::run(script).expect("the script runs");
}
