//! `$disconnect`: removes a connection and its subscriptions.
//!
//! API Gateway delivers it as best it can, which may be never: rows have a TTL, and a post that answers 410 removes them too.

use anyhow::Context as _;
use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use signalbox_connections::ConnectionTable;
use signalbox_lambda::{Boot, env};
use tracing::info;

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    table: ConnectionTable,
}

impl State {
    /// `CONNECTION_TABLE`
    pub fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        Ok(Self::new(ConnectionTable::new(&boot.aws()?, env::require("CONNECTION_TABLE")?)))
    }

    /// A state of given parts.
    pub fn new(table: ConnectionTable) -> Self {
        Self { table }
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
    let (removed, channels) = state.table.remove(connection_id).await?;
    if removed {
        metrics::counter!("Disconnected").increment(1);
    }
    info!(
        removed,
        subscriptions = channels.len(),
        code = request.request_context.disconnect_status_code,
        "disconnected"
    );
    Ok(response)
}
