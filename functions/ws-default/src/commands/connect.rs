use signalbox_auth::{ConnectionToken, TokenError};
use signalbox_connections::{Authentication, CONNECTION_TTL};
use signalbox_lambda::now_ms;
use signalbox_protocol::{ConnectRequest, ConnectResult, Disconnect, ErrorCode, Outcome};
use tracing::{info, warn};

use crate::session::{Refusal, Session, Viewer};

const VERSION: &str = concat!("signalbox ", env!("CARGO_PKG_VERSION"));

pub(crate) async fn run(session: &mut Session<'_>, request: &ConnectRequest) -> Result<Outcome, Refusal> {
    let now = now_ms() / 1000;
    let token = verify(session, request, now).await?;
    let client = uuid::Uuid::new_v4().to_string();
    let table = session.state.publisher.table();
    match table.authenticate(&session.connection_id, &token.user, &client, token.expires_at).await? {
        Authentication::Accepted => {}
        Authentication::Repeated => return Err(Disconnect::BAD_REQUEST.into()),
        // the row is written by $connect before the first message can come; without it the client begins again
        Authentication::Gone => return Err(ErrorCode::INTERNAL.into()),
    }
    info!(client, name = request.name, version = request.version, anonymous = token.user.is_empty(), "connected");
    session.is_viewer(Viewer { user: token.user, expires_at: token.expires_at, ttl: now + CONNECTION_TTL });
    Ok(Outcome::Connect(ConnectResult { client, version: VERSION }))
}

async fn verify(session: &Session<'_>, request: &ConnectRequest, now: i64) -> Result<ConnectionToken, Refusal> {
    if request.token.is_empty() {
        return if session.state.allow_anonymous {
            Ok(ConnectionToken { user: String::new(), expires_at: None })
        } else {
            Err(Disconnect::BAD_REQUEST.into())
        };
    }
    match session.state.tokens.verify_connection(&request.token, now).await {
        Ok(token) => Ok(token),
        Err(TokenError::Expired) => Err(ErrorCode::TOKEN_EXPIRED.into()),
        Err(TokenError::Invalid(reason)) => {
            info!(reason, "token refused");
            Err(Disconnect::INVALID_TOKEN.into())
        }
        Err(TokenError::KeysUnavailable(cause)) => {
            warn!(cause, "token could not be verified");
            Err(ErrorCode::INTERNAL.into())
        }
    }
}
