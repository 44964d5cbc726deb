//! Flows through the real handlers, and the whole on the local cloud. One binary.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod cloud;
mod end_to_end;
mod events;
mod feeds;
mod flow_connect;
mod flow_connector;
mod flow_expiry;
mod flow_publish;
mod flow_status;
mod flow_subscribe;
mod frames;
mod gateway;
mod model;
mod properties;
mod sdk;
mod world;
