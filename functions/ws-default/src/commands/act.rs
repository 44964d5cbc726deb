use anyhow::Context as _;
use aws_types::SdkConfig;
use serde::{Deserialize, Serialize};
use signalbox_channels::STATUS_ALL;
use signalbox_lambda::{env, now_ms};
use signalbox_messages::{Action, ActionRequest};
use signalbox_protocol::{ErrorCode, Outcome, RpcRequest};
use signalbox_queues::Queue;
use tracing::info;

use super::{channel, rpc::reply};
use crate::session::{Refusal, Session, Viewer};

/// Longest user that goes into a comment, bytes.
const MAX_USER_BYTES: usize = 256;

/// Who may act on problems, and where what they ask goes.
#[derive(Debug)]
pub struct Actions {
    queue: Queue,
    users: Users,
}

#[derive(Debug)]
enum Users {
    /// Everybody with a token.
    All,
    These(Vec<String>),
}

impl Actions {
    /// `users` are the subjects of tokens with commas between them, or `*` for everybody with a token. None without any.
    pub fn new(queue: Queue, users: &str) -> Option<Self> {
        let names = users.split(',').map(str::trim).filter(|user| !user.is_empty());
        let users = match names.map(str::to_owned).collect::<Vec<_>>() {
            none if none.is_empty() => return None,
            all if all == ["*"] => Users::All,
            these => Users::These(these),
        };
        Some(Self { queue, users })
    }

    pub(crate) fn from_env(aws: &SdkConfig) -> Option<Self> {
        let queue = Queue::new(aws, env::optional("ACTION_QUEUE_URL")?);
        Self::new(queue, &env::optional("ACTION_USERS")?)
    }

    /// An anonymous viewer never may: nobody could be asked why.
    pub(crate) fn are_open_to(&self, user: &str) -> bool {
        let is_named = !user.is_empty() && user.len() <= MAX_USER_BYTES && !user.chars().any(char::is_control);
        is_named
            && match &self.users {
                Users::All => true,
                Users::These(users) => users.iter().any(|allowed| allowed == user),
            }
    }
}

#[derive(Deserialize)]
struct ActRequest {
    event_id: String,
    #[serde(flatten)]
    request: ActionRequest,
}

/// Answers when the queue has it. What Zabbix does comes as an update of the problem; what it refuses, as
/// `{"refused": …}` in `status:all`.
pub(super) async fn run(session: &Session<'_>, viewer: &Viewer, request: &RpcRequest) -> Result<Outcome, Refusal> {
    #[derive(Serialize)]
    struct ActReply {}

    let actions = session.state.actions.as_ref().ok_or(ErrorCode::NOT_AVAILABLE)?;
    let (name, namespace) = channel(session.state, STATUS_ALL)?;
    if !actions.are_open_to(viewer.user()) || !namespace.may_subscribe(viewer.user(), &name) {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    let data = request.data.as_ref().ok_or(ErrorCode::BAD_REQUEST)?;
    let asked: ActRequest = serde_json::from_str(data.get()).map_err(|_| ErrorCode::BAD_REQUEST)?;
    let is_id = asked.event_id.len() <= 20 && !asked.event_id.is_empty();
    if !is_id || !asked.event_id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ErrorCode::BAD_REQUEST.into());
    }
    if let Err(reason) = asked.request.check() {
        info!(reason, "action refused");
        return Err(ErrorCode::BAD_REQUEST.into());
    }
    let action = Action {
        id: uuid::Uuid::new_v4().to_string(),
        event_id: asked.event_id,
        user: viewer.user().to_owned(),
        requested_at_ms: now_ms(),
        request: asked.request,
    };
    actions.queue.send(serde_json::to_string(&action).context("action")?, &[]).await.context("action queue")?;
    metrics::counter!("Actions").increment(1);
    info!(id = action.id, event_id = action.event_id, "asked Zabbix to act");
    reply(&ActReply {})
}
