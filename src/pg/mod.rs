//! The only unsafe code of the extension: thin, safe doors to PostgreSQL's C.
//!
//! | file | door to |
//! |---|---|
//! | [`entry`] | the C symbols that SQL calls, each handing over to a room of `src/` |
//! | [`access`], [`reading`] | likewise, of who may read what, and of reading it |
//! | [`arguments`], [`call_site`] | what a SQL function is called with, and keeps between its calls |
//! | [`command`], [`query`] | commands put together by SQL; queries of our own |
//! | [`value`], [`row`], [`list`], [`array`] | datums, open tables and their rows: what the writer hands on; lists, arrays |
//! | [`trigger_call`] | what a trigger is given |
//! | [`encode`], [`output`], [`naming`] | one column's value as JSONB, as text; what that follows, put aside |
//! | [`expression`], [`condition`], [`condition_text`], [`condition_casts`], [`condition_functions`], [`caught`] | conditions over rows: evaluated, read, whose casts are in them, what they call, and what is wrong with them |
//! | [`match_call`], [`match_index`], [`match_share`] | `audit_match`: called, as a condition on an index, estimated |
//! | [`ddl_command`] | what an event trigger is told |
//! | [`snapshot`], [`trigger_scan`] | the catalogues before a command and after it; triggers by their function |
//! | [`lookup`] | the row that a foreign key refers to |
//! | [`catalog`], [`invalidation`] | names, keys and types; and being told when they change |
//! | [`session`], [`guc`] | who is connected, what time it is, what they set |
//! | [`scope`] | doing something as the extension's owner, or under settings of our own |
//! | [`event_table`], [`event_columns`], [`event_months`] | the event log as a table that rows go into: its partitions, columns and indexes |
//! | [`event_move`] | moving events from the catch-all to their month |
//! | [`event_reader`], [`event_set`] | the event log as indexes that rows are read by; the rows that a function returns |
//! | [`event_policy`] | the event log's policy: whether it is the extension's |
#![allow(unsafe_code)]

pub mod access;
pub mod arguments;
pub mod array;
pub mod call_site;
pub mod catalog;
pub mod caught;
pub mod command;
pub mod condition;
pub mod condition_casts;
pub mod condition_functions;
pub mod condition_text;
pub mod ddl_command;
pub mod encode;
pub mod entry;
pub mod event_columns;
pub mod event_months;
pub mod event_move;
pub mod event_policy;
pub mod event_reader;
pub mod event_set;
pub mod event_table;
pub mod expression;
pub mod guc;
pub mod invalidation;
pub mod list;
pub mod locks;
pub mod lookup;
pub mod match_call;
pub mod match_index;
pub mod match_share;
pub mod naming;
pub mod output;
pub mod query;
pub mod reading;
pub mod row;
pub mod scope;
pub mod session;
pub mod snapshot;
pub mod trigger_call;
pub mod trigger_scan;
pub mod value;
