//! Zabbix payloads and the status model. Pure: no AWS, no runtime, no clock.
//!
//! 1. [`status_changed`] turns the body of a webhook into the bus message
//!    [`StatusChanged`](signalbox_messages::StatusChanged).
//!    [`events`] and [`item_values`] read what a connector streams, line by line.
//! 2. [`Problem`] is what we know about one problem: the join of every message about it, in whatever order they came.
//! 3. [`Course`] is how a problem went, for availability and times to respond.
//! 4. [`poll::differences`] compares what Zabbix's API says ([`api`]) with what is known, and tells what differs in the
//!    same messages.
//! 5. [`ProblemView`] is how the world sees a problem: on channels, in snapshots and in the HTTP API.
//!
//! Everything here was measured on Zabbix 6.0.14 and 7.0.22; `fixtures/` holds the recorded requests.

pub mod action;
pub mod api;
mod connector;
mod course;
mod payload;
pub mod poll;
mod problem;
mod suppression;
mod webhook;
mod zone;

#[cfg(test)]
mod fixtures;

pub use connector::{
    BodyError, LineError, MAX_BODY_BYTES, MAX_LINE_BYTES, MAX_LINES, MAX_MESSAGE_BYTES, RefusedLine, Taken, events,
    item_values,
};
pub use course::{Condition, Course, Stretch, Subject};
pub use payload::PayloadError;
pub use problem::{LastUpdate, Merged, Problem, ProblemKind, ProblemState, ProblemView};
pub use webhook::status_changed;
pub use zone::{UnknownZone, Zone};
