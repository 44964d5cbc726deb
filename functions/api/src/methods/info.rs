use serde::{Deserialize, Serialize};

use crate::{State, refusal::Refusal};

/// Nothing; it is an object all the same.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Request {}

#[derive(Debug, Serialize)]
pub(super) struct InfoResult {
    nodes: [Node; 1],
}

/// All of Signalbox is one node.
#[derive(Debug, Serialize)]
struct Node {
    uid: String,
    name: &'static str,
    version: &'static str,
    num_clients: u64,
    num_users: u64,
    num_channels: u64,
    /// Seconds since this environment of the function began: nothing else runs when nobody calls.
    #[serde(skip_serializing_if = "is_zero")]
    uptime: u64,
    num_subs: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(uptime: &u64) -> bool {
    *uptime == 0
}

pub(super) async fn run(state: &State, _: Request) -> Result<InfoResult, Refusal> {
    let occupancy = state.publisher.occupancy().await?;
    let node = Node {
        uid: state.uid.clone(),
        name: "signalbox",
        version: env!("CARGO_PKG_VERSION"),
        num_clients: occupancy.clients,
        num_users: occupancy.users,
        num_channels: occupancy.channels,
        uptime: state.started.elapsed().as_secs(),
        num_subs: occupancy.subscriptions,
    };
    Ok(InfoResult { nodes: [node] })
}
