use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use signalbox_channels::{ChannelName, STATUS_ALL};
use signalbox_connections::SnapshotPage;
use signalbox_lambda::now_ms;
use signalbox_protocol::{ErrorCode, Outcome, RpcRequest, RpcResult, StreamPosition};

use super::channel;
use crate::session::{Refusal, Session, Viewer};

pub(crate) async fn run(session: &mut Session<'_>, request: &RpcRequest) -> Result<Outcome, Refusal> {
    let viewer = session.viewer().await?;
    match request.method.as_str() {
        "status.snapshot" => snapshot(session, &viewer, request).await,
        // as Centrifugo, where nobody handles RPC
        _ => Err(ErrorCode::NOT_AVAILABLE.into()),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SnapshotRequest {
    cursor: Option<String>,
}

#[derive(Serialize)]
struct SnapshotReply {
    #[serde(flatten)]
    page: SnapshotPage,
    position: StreamPosition,
    now_ms: i64,
}

/// A page of all open problems, from DynamoDB. The position is read before the state: subscribed from there, a viewer may see
/// a change twice, which its version tells, and never misses one.
async fn snapshot(session: &Session<'_>, viewer: &Viewer, request: &RpcRequest) -> Result<Outcome, Refusal> {
    let wanted: SnapshotRequest = match &request.data {
        None => SnapshotRequest::default(),
        Some(data) => {
            serde_json::from_str::<Option<_>>(data.get()).map_err(|_| ErrorCode::BAD_REQUEST)?.unwrap_or_default()
        }
    };
    let (name, namespace): (ChannelName, _) = channel(session.state, STATUS_ALL)?;
    if !namespace.may_subscribe(viewer.user(), &name) {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    let now = now_ms() / 1000;
    let table = session.state.publisher.table();
    let head = table.head(name.as_str(), now, namespace.history_meta_ttl).await?;
    let page = session.state.status.snapshot(wanted.cursor.as_deref(), now).await?.ok_or(ErrorCode::BAD_REQUEST)?;
    let position = StreamPosition { offset: head.offset, epoch: head.epoch };
    let reply = SnapshotReply { page, position, now_ms: now_ms() };
    let data = serde_json::value::to_raw_value(&reply).context("snapshot")?;
    Ok(Outcome::Rpc(RpcResult { data }))
}
