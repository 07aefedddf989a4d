//! The pure logic of `audit`, without PostgreSQL: `cargo test -p audit-core` needs no server.
//!
//! | module | holds |
//! |---|---|
//! | [`action`] | the grammar of action names |
//! | [`pattern`] | the filter language of `audit_match` |
//! | [`event_id`] | time-ordered event ids (UUID version 7) |
//! | [`names`] | column names in SQL text |
//! | [`jsonb`], [`numeric`] | PostgreSQL's binary JSONB and NUMERIC, written byte by byte |
#![forbid(unsafe_code)]

pub mod action;
pub mod event_id;
pub mod jsonb;
pub mod names;
pub mod numeric;
pub mod pattern;
