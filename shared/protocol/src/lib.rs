//! Wire types of the Centrifuge client protocol v2 (JSON), as centrifuge-js and centrifuge-python speak it.
//!
//! A WebSocket text frame is one or more JSON objects separated by `\n`: [`Command`]s from the client, [`Reply`]s and
//! [`Push`]es to it. Names are snake case; zero, empty and false fields are left out.

mod code;
mod command;
mod filter;
mod frame;
mod lenient;
mod publication;
mod push;
mod reply;

pub use code::{Disconnect, ErrorCode, Unsubscribed};
pub use command::{
    Command, ConnectRequest, HistoryRequest, PresenceRequest, PresenceStatsRequest, PublishRequest, RefreshRequest,
    Request, RpcRequest, SendRequest, SubRefreshRequest, SubscribeRequest, UnsubscribeRequest, parse_frame,
};
pub use filter::Filter;
pub use frame::{MAX_INBOUND_BYTES, MAX_OUTBOUND_BYTES, join_frames};
pub use publication::{ClientInfo, Publication, StreamPosition};
pub use push::Push;
pub use reply::{
    ConnectResult, Empty, HistoryResult, Outcome, PresenceResult, PresenceStatsResult, RefreshResult, Reply, RpcResult,
    SubRefreshResult, SubscribeResult,
};

/// Raw JSON, embedded as it came.
pub type Json = Box<serde_json::value::RawValue>;

/// Strings, numbers and raw JSON only: nothing that `serde_json` could refuse. A raw line break would end the line; in JSON
/// it can only stand between tokens, where nothing needs it.
pub(crate) fn to_line(json: &impl serde::Serialize) -> String {
    let line = serde_json::to_string(json).unwrap_or_default();
    if line.contains('\n') { line.replace('\n', "") } else { line }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_zero_u32(value: &u32) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
pub(crate) fn is_zero_i64(value: &i64) -> bool {
    *value == 0
}
