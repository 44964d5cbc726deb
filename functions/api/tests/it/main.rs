//! The server API through the real handler, on a real DynamoDB API and a gateway that records.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and nothing freezes its tasks"
)]

mod batch;
mod http;
mod legacy;
mod publish;
mod read;
mod users;
mod world;
