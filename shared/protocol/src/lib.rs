//! Wire types of the Centrifuge client protocol v2 (JSON), as centrifuge-js and centrifuge-python speak it.
//!
//! A WebSocket text frame is one or more JSON objects separated by `\n`: [`Command`]s from the client, [`Reply`]s and
//! [`Push`]es to it. Names are snake case; zero, empty and false fields are left out.

mod code;
mod command;
mod frame;
mod publication;
mod push;
mod reply;

pub use code::{Disconnect, ErrorCode, Unsubscribed};
pub use command::{Command, ConnectRequest, Request, RpcRequest, SubscribeRequest, UnsubscribeRequest, parse_frame};
pub use frame::{MAX_INBOUND_BYTES, MAX_OUTBOUND_BYTES, join_frames};
pub use publication::{Publication, StreamPosition};
pub use push::Push;
pub use reply::{ConnectResult, Empty, Outcome, Reply, RpcResult, SubscribeResult};

/// Raw JSON, embedded as it came.
pub type Json = Box<serde_json::value::RawValue>;

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_zero(value: &u64) -> bool {
    *value == 0
}
