//! Ordered delivery, the subscribe that goes with it and everything around them, against a real DynamoDB API.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a panic is how a test fails, and nothing freezes its tasks"
)]

mod deltas;
mod keeping;
mod keys;
mod leases;
mod ordering;
mod presence;
mod recovering;
mod shards;
mod users;
mod world;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use signalbox_channels::Namespace;
use signalbox_clock::now_ms;
use signalbox_connections::testing::Verdict;
use signalbox_protocol::{SubscribeRequest, SubscribeResult};
use signalbox_publishing::{Frame, PostError, PublishOptions, Publisher, Scripted, SubscribeCommand, Timing};

use world::{CHANNEL, HOUR, SHORT, World, now, plain, recover};
