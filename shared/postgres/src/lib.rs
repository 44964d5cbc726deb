//! Postgres: connections through a transaction pooler, the record and what is asked of it.
//!
//! 1. [`Config`] says where the database is: RDS Proxy with an IAM token, or a connection string.
//! 2. [`Database`] is one connection that comes back by itself.
//! 3. [`Database::migrate`] and [`Database::keep_months`] look after the schema, [`Database::record`] writes;
//!    [`Database::status`], [`Database::history`], [`Database::availability`], [`Database::response`] and
//!    [`Database::timeline`] are all that is ever asked.
//!
//! Behind a pooler in transaction mode (RDS Proxy, pgbouncer, Neon) two statements may run on different servers. So here are
//! only unnamed statements (`query_typed`) and transactions: no prepared statements, no `SET`, no session locks, no sequences.

mod availability;
mod config;
mod course;
mod database;
mod durations;
mod error;
mod iam;
mod migrations;
#[cfg(all(test, feature = "testing"))]
mod plans;
mod record;
mod rollup;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod upkeep;

pub use availability::{
    Availability, By, Durations, Planned, ReportCursor, ReportPage, Response, Scope, TimelineInterval,
};
pub use config::{Config, ConfigError};
pub use database::Database;
pub use error::Error;
pub use record::Recorded;
pub use status::{CursorError, HistoryCursor, HistoryEvent, HistoryFilter, HistoryPage, MAX_PAGE, OpenProblems};
pub use upkeep::Upkeep;
