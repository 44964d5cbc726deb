use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use signalbox_channels::{STATUS_ALL, group_channel, host_channel};
use signalbox_connections::{SnapshotPage, SnapshotScope};
use signalbox_lambda::now_ms;
use signalbox_protocol::{ErrorCode, Outcome, RpcRequest, RpcResult, StreamPosition};

use super::channel;
use crate::session::{Refusal, Session, Viewer};

pub(crate) async fn run(session: &mut Session<'_>, request: &RpcRequest) -> Result<Outcome, Refusal> {
    let viewer = session.viewer().await?;
    match request.method.as_str() {
        "status.snapshot" => snapshot(session, &viewer, request).await,
        "status.ticket" => ticket(session, &viewer),
        "status.act" => super::act::run(session, &viewer, request).await,
        // as Centrifugo, where nobody handles RPC
        _ => Err(ErrorCode::NOT_AVAILABLE.into()),
    }
}

/// How long a ticket is good, seconds.
const TICKET: i64 = 10 * 60;

/// `host` (a technical name) or `group` for a part of the board; with `cursor` the rest stays the same.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SnapshotRequest {
    cursor: Option<String>,
    host: Option<String>,
    group: Option<String>,
}

#[derive(Serialize)]
struct SnapshotReply {
    #[serde(flatten)]
    page: SnapshotPage,
    position: StreamPosition,
    now_ms: i64,
    /// Whether this viewer may `status.act`; on the first page.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    may_act: bool,
}

/// A page of the open problems, from DynamoDB: of all, of a host or of a group, with the position in `status:all`,
/// `status:host:…` or `status:group:…`. The position is read before the state: subscribed from there, a viewer may see
/// a change twice, which its version tells, and never misses one.
async fn snapshot(session: &Session<'_>, viewer: &Viewer, request: &RpcRequest) -> Result<Outcome, Refusal> {
    let wanted: SnapshotRequest = match &request.data {
        None => SnapshotRequest::default(),
        Some(data) => {
            serde_json::from_str::<Option<_>>(data.get()).map_err(|_| ErrorCode::BAD_REQUEST)?.unwrap_or_default()
        }
    };
    let (scope, name) = match (&wanted.host, &wanted.group) {
        (None, None) => (SnapshotScope::All, Some(STATUS_ALL.to_owned())),
        (Some(host), None) => (SnapshotScope::Host(host), host_channel(host)),
        (None, Some(group)) => (SnapshotScope::Group(group), group_channel(group)),
        (Some(_), Some(_)) => return Err(ErrorCode::BAD_REQUEST.into()),
    };
    let (name, namespace) = channel(session.state, &name.ok_or(ErrorCode::BAD_REQUEST)?)?;
    if !namespace.may_subscribe(viewer.user(), &name) {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    let now = now_ms() / 1000;
    let table = session.state.publisher.table();
    let head = table.head(name.as_str(), now, namespace.history_meta_ttl).await?;
    let page = session.state.status.snapshot(scope, wanted.cursor.as_deref(), now).await?;
    let page = page.ok_or(ErrorCode::BAD_REQUEST)?;
    let position = StreamPosition { offset: head.offset, epoch: head.epoch };
    let actions = session.state.actions.as_ref().filter(|_| wanted.cursor.is_none());
    let may_act = actions.is_some_and(|actions| actions.are_open_to(viewer.user()));
    reply(&SnapshotReply { page, position, now_ms: now_ms(), may_act })
}

#[derive(Serialize)]
struct TicketReply {
    token: String,
    expires_at: i64,
}

/// For who may see all problems: their past, as long as the ticket is good and no longer than the connection's token.
fn ticket(session: &Session<'_>, viewer: &Viewer) -> Result<Outcome, Refusal> {
    let key = session.state.tickets.as_ref().ok_or(ErrorCode::NOT_AVAILABLE)?;
    let (name, namespace) = channel(session.state, STATUS_ALL)?;
    if !namespace.may_subscribe(viewer.user(), &name) {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    let until = now_ms() / 1000 + TICKET;
    let expires_at = viewer.client.expires_at.map_or(until, |end| end.min(until));
    reply(&TicketReply { token: key.issue(expires_at).context("ticket")?, expires_at })
}

pub(super) fn reply(reply: &impl Serialize) -> Result<Outcome, Refusal> {
    Ok(Outcome::Rpc(RpcResult { data: serde_json::value::to_raw_value(reply).context("reply")? }))
}
