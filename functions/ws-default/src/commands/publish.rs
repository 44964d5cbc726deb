use signalbox_protocol::{Empty, ErrorCode, Outcome, PublishRequest};
use signalbox_publishing::{Message, PublishError, PublishOptions};
use tracing::info;

use super::channel;
use crate::session::{Refusal, Session};

/// The reply comes after the push of what was published, where this invocation posts it (centrifuge.md 1.2).
pub(crate) async fn run(session: &mut Session<'_>, request: &PublishRequest) -> Result<Outcome, Refusal> {
    let (name, namespace) = channel(session.state, &request.channel)?;
    if request.kind != 0 {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    let (viewer, _) = session.subscriber().await?;
    let Some(data) = request.data.as_ref().filter(|data| namespace.accepts_data(data.get())) else {
        return Err(ErrorCode::BAD_REQUEST.into());
    };
    let subscribed = session.subscribed(name.as_str()).await?;
    if !namespace.may_publish(viewer.user(), subscribed) {
        return Err(ErrorCode::PERMISSION_DENIED.into());
    }
    let info = session.info_in(name.as_str()).await?;
    let message = Message { info: Some(&info), ..Message::new(data) };
    match session.state.publisher.publish(name.as_str(), namespace, &message, &PublishOptions::default()).await {
        Ok(_) => Ok(Outcome::Publish(Empty {})),
        Err(error @ PublishError::TooLarge) => {
            info!(%error, "publication refused");
            Err(ErrorCode::BAD_REQUEST.into())
        }
        Err(PublishError::Unexpected(cause)) => Err(cause.into()),
    }
}
