//! `$disconnect`: removes a connection and its subscriptions, and tells their channels that it has left.
//!
//! API Gateway delivers it as best it can, which may be never: rows have a TTL, a post that answers 410 removes them too, and
//! the keeper finds those that nobody posts to.

use std::sync::Arc;

use anyhow::Context as _;
use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use signalbox_channels::ChannelsConfig;
use signalbox_connections::ConnectionTable;
use signalbox_lambda::{Boot, env};
use signalbox_publishing::{ApiGateway, FanOut, Gateway, Publisher};
use tracing::info;

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    /// The table and the way to those who are told.
    pub publisher: Publisher,
}

impl State {
    /// `CONNECTION_TABLE`, `CONNECTIONS_ENDPOINT`, `FANOUT_QUEUE_URL`, and `channels.json` beside the binary.
    pub async fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let aws = boot.aws()?;
        let table = ConnectionTable::new(&aws, env::require("CONNECTION_TABLE")?);
        let gateway = ApiGateway::new(&aws, &env::require("CONNECTIONS_ENDPOINT")?).await?;
        let channels = Arc::new(ChannelsConfig::parse(&signalbox_lambda::task_file("channels.json")?)?);
        Ok(Self {
            publisher: Publisher::new(table, Gateway::ApiGateway(Box::new(gateway)))
                .with_fan_out(FanOut::new(&aws, env::optional("FANOUT_QUEUE_URL")))
                .with_channels(channels),
        })
    }
}

/// Always 200: nobody is there any more to be told otherwise.
pub async fn handle(
    state: &State,
    request: ApiGatewayWebsocketProxyRequest,
) -> anyhow::Result<ApiGatewayProxyResponse> {
    let connection_id = request.request_context.connection_id.as_deref().context("event has no connection id")?;
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = 200;
    if request.request_context.event_type.as_deref() != Some("DISCONNECT") {
        // a message that names this route (template.yaml, RouteSelectionExpression): the socket is still there
        return Ok(response);
    }
    let removed = state.publisher.disconnected(connection_id).await?;
    if removed.was_there {
        metrics::counter!("Disconnected").increment(1);
    }
    info!(
        removed = removed.was_there,
        subscriptions = removed.ended.len(),
        code = request.request_context.disconnect_status_code,
        "disconnected"
    );
    Ok(response)
}
