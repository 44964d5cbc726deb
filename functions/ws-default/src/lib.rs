//! `$default`: the commands of the client protocol.
//!
//! One WebSocket message may hold several commands, one a line. They run in order and their replies go out together, in one
//! message; what a subscribe has to push comes after that. One file a command in `commands/`.

mod commands;
mod session;

pub use commands::act::Actions;

use anyhow::Context as _;
use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use std::sync::Arc;

use signalbox_auth::{TicketKey, TokenVerifier};
use signalbox_channels::ChannelsConfig;
use signalbox_connections::{ConnectionTable, StatusTable};
use signalbox_lambda::{Boot, env};
use signalbox_protocol::{Disconnect, MAX_INBOUND_BYTES, parse_frame};
use signalbox_publishing::{ApiGateway, FanOut, Gateway, Publisher};

use session::Session;

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    /// The table, the gateway and the delivery.
    pub publisher: Publisher,
    /// Problems.
    pub status: StatusTable,
    /// Namespaces and what clients may do.
    pub channels: Arc<ChannelsConfig>,
    /// Connection tokens.
    pub tokens: TokenVerifier,
    /// Subscription tokens, where they have keys of their own.
    pub subscription_tokens: Option<TokenVerifier>,
    /// Signs viewers' tickets for the reports, where there are reports.
    pub tickets: Option<TicketKey>,
    /// Viewers who may act on problems, where any may.
    pub actions: Option<Actions>,
    /// Whether a viewer without a token is let in (`AllowAnonymousViewers`).
    pub allow_anonymous: bool,
}

impl State {
    /// `CONNECTION_TABLE`, `STATUS_TABLE`, `CONNECTIONS_ENDPOINT`, `FANOUT_QUEUE_URL`, `TOKEN_HMAC_SECRET`, `TOKEN_JWKS_URL`,
    /// `TOKEN_AUDIENCE`, `TOKEN_ISSUER`, `TICKET_SECRET`, `ACTION_QUEUE_URL`, `ACTION_USERS`, `ALLOW_ANONYMOUS`, and `channels.json` beside the binary, whose `client.token.*` goes
    /// before the variables.
    pub async fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let aws = boot.aws()?;
        let table = ConnectionTable::new(&aws, env::require("CONNECTION_TABLE")?);
        let gateway = ApiGateway::new(&aws, &env::require("CONNECTIONS_ENDPOINT")?).await?;
        let channels = Arc::new(ChannelsConfig::parse(&signalbox_lambda::task_file("channels.json")?)?);
        let mut keys = channels.client.token.clone();
        keys.hmac_secret_key = keys.hmac_secret_key.or_else(|| env::optional("TOKEN_HMAC_SECRET"));
        keys.jwks_public_endpoint = keys.jwks_public_endpoint.or_else(|| env::optional("TOKEN_JWKS_URL"));
        keys.audience = keys.audience.or_else(|| env::optional("TOKEN_AUDIENCE"));
        keys.issuer = keys.issuer.or_else(|| env::optional("TOKEN_ISSUER"));
        let skip = channels.client.insecure_skip_token_signature_verify;
        let subscription_keys = channels.client.subscription_token.as_ref();
        Ok(Self {
            status: table.status_table(env::require("STATUS_TABLE")?),
            publisher: Publisher::new(table, Gateway::ApiGateway(Box::new(gateway)))
                .with_fan_out(FanOut::new(&aws, env::optional("FANOUT_QUEUE_URL")))
                .with_channels(Arc::clone(&channels)),
            tokens: TokenVerifier::from_config(&keys, skip)?,
            subscription_tokens: subscription_keys.map(|keys| TokenVerifier::from_config(keys, skip)).transpose()?,
            tickets: env::optional("TICKET_SECRET").as_deref().and_then(TicketKey::new),
            actions: Actions::from_env(&aws),
            allow_anonymous: env::flag("ALLOW_ANONYMOUS")?,
            channels,
        })
    }

    /// Who verifies subscription tokens.
    pub(crate) fn subscription_tokens(&self) -> &TokenVerifier {
        self.subscription_tokens.as_ref().unwrap_or(&self.tokens)
    }
}

/// Always 200, without a body: whatever is to be said goes through `@connections`.
pub async fn handle(
    state: &State,
    request: ApiGatewayWebsocketProxyRequest,
) -> anyhow::Result<ApiGatewayProxyResponse> {
    let connection_id = request.request_context.connection_id.context("event has no connection id")?;
    let body = request.body.unwrap_or_default();
    let commands = if request.is_base64_encoded {
        Err(Disconnect::INAPPROPRIATE_PROTOCOL)
    } else if body.len() > MAX_INBOUND_BYTES {
        Err(Disconnect::TOO_BIG)
    } else {
        parse_frame(&body)
    };
    Session::new(state, connection_id).run(commands).await;
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = 200;
    Ok(response)
}
