//! `$connect`: admits a socket from an allowed origin to the connection table.
//!
//! Who the client is comes later, with the `connect` command: a refusal here is an HTTP error, which every SDK answers by
//! trying again for ever. The origin is checked here all the same, because a foreign page is not to get a socket at all; so
//! is the number of sockets from one address.

use anyhow::Context as _;
use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use signalbox_channels::{ChannelsConfig, ClientConfig};
use signalbox_connections::{Admission, Admit, ConnectionTable};
use signalbox_lambda::{Boot, env, now_ms};
use tracing::{error, info};

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    table: ConnectionTable,
    origins: Vec<String>,
    client: ClientConfig,
}

impl State {
    /// `CONNECTION_TABLE`, `ALLOWED_ORIGINS` (comma separated; `*` = any), and `channels.json` beside the binary.
    pub fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let table = ConnectionTable::new(&boot.aws()?, env::require("CONNECTION_TABLE")?);
        let channels = ChannelsConfig::parse(&signalbox_lambda::task_file("channels.json")?)?;
        Ok(Self::new(table, &env::optional("ALLOWED_ORIGINS").unwrap_or_default(), channels.client))
    }

    /// A state of given parts.
    pub fn new(table: ConnectionTable, origins: &str, client: ClientConfig) -> Self {
        let origins = origins.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        Self { table, origins: origins.map(str::to_owned).collect(), client }
    }

    /// Browsers always send an origin; a client without one is no browser, and cross-site requests are not its danger.
    fn allows(&self, origin: Option<&str>) -> bool {
        origin.is_none_or(|origin| {
            self.origins.iter().any(|allowed| allowed == "*" || allowed == origin) || self.client.allows_origin(origin)
        })
    }

    async fn admit(&self, connection_id: &str, source_ip: Option<&str>) -> i64 {
        let admit = Admit {
            id: connection_id,
            now_s: now_ms() / 1000,
            source_ip,
            stale_after: self.client.stale_close_delay,
            per_address_limit: self.client.per_address_connection_limit,
        };
        match self.table.admit(&admit).await {
            Ok(Admission::Admitted | Admission::Known) => {
                metrics::counter!("Connected").increment(1);
                200
            }
            Ok(Admission::AddressLimit) => {
                info!(source_ip, "too many connections from one address");
                metrics::counter!("AddressLimited").increment(1);
                429
            }
            Err(cause) => {
                error!(error = format!("{cause:#}"), "connection not admitted");
                503
            }
        }
    }
}

/// 200 admits, 403 is a foreign origin, 429 an address with too many sockets, 503 a table that does not answer.
pub async fn handle(
    state: &State,
    request: ApiGatewayWebsocketProxyRequest,
) -> anyhow::Result<ApiGatewayProxyResponse> {
    let context = &request.request_context;
    let connection_id = context.connection_id.as_deref().context("event has no connection id")?;
    let mut response = ApiGatewayProxyResponse::default();
    if context.event_type.as_deref() != Some("CONNECT") {
        // a client that names this route in a message (template.yaml, RouteSelectionExpression) gets nothing by it
        response.status_code = 200;
        return Ok(response);
    }
    let origin = request.headers.get("origin").and_then(|origin| origin.to_str().ok());
    response.status_code = if state.allows(origin) {
        state.admit(connection_id, context.identity.source_ip.as_deref()).await
    } else {
        info!(origin, "origin refused");
        metrics::counter!("OriginRefused").increment(1);
        403
    };
    Ok(response)
}
