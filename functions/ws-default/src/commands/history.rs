use signalbox_protocol::{ErrorCode, HistoryRequest, HistoryResult, Outcome};
use signalbox_publishing::{HistoryError, HistoryQuery};

use super::channel;
use crate::session::{Refusal, Session};

pub(crate) async fn run(session: &mut Session<'_>, request: &HistoryRequest) -> Result<Outcome, Refusal> {
    let (name, namespace) = channel(session.state, &request.channel)?;
    let viewer = session.viewer().await?;
    if !namespace.has_history() {
        return Err(ErrorCode::NOT_AVAILABLE.into());
    }
    if !namespace.may_history(viewer.user(), false) {
        let subscribed = session.subscribed(name.as_str()).await?;
        if !namespace.may_history(viewer.user(), subscribed) {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
    }
    let most = session.state.channels.client.history_max_publication_limit;
    let limit = u32::try_from(request.limit).unwrap_or(most).min(most);
    let query = HistoryQuery {
        limit: usize::try_from(limit).unwrap_or(usize::MAX),
        since: request.since.as_ref(),
        reverse: request.reverse,
    };
    match session.state.publisher.history(name.as_str(), namespace, query).await {
        Ok(page) => Ok(Outcome::History(HistoryResult {
            publications: page.publications,
            epoch: page.position.epoch,
            offset: page.position.offset,
        })),
        Err(HistoryError::UnrecoverablePosition) => Err(ErrorCode::UNRECOVERABLE_POSITION.into()),
        Err(HistoryError::Unexpected(cause)) => Err(cause.into()),
    }
}
