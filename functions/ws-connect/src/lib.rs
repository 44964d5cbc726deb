//! `$connect`: admits a socket from an allowed origin to the connection table.
//!
//! Who the client is comes later, with the `connect` command: a refusal here is an HTTP error, which every SDK answers by
//! trying again for ever. The origin is checked here all the same, because a foreign page is not to get a socket at all; so
//! is the number of sockets, in all and from one address.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use futures::future::try_join_all;
use signalbox_channels::{ChannelsConfig, ClientConfig};
use signalbox_connections::{Admission, Admit, BUCKETS, ConnectionTable};
use signalbox_lambda::{Boot, env, now_ms};
use tracing::{error, info};

/// API Gateway gives up on an invocation after 29 s (its quota "integration timeout"): a `connect` that was sent in time is answered or
/// lost by then, and an SDK that is told "stale" never comes back.
const UNDER_WAY: Duration = Duration::from_secs(29);

/// Milliseconds for which a count of all connections is relied on: it reads an index of all of them, and after an incident they
/// come by the hundred in a second.
const COUNT_HOLDS: i64 = 10_000;

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    table: ConnectionTable,
    origins: Vec<String>,
    client: ClientConfig,
    counted: Mutex<Option<Counted>>,
}

/// How many connections there were, with those that were let in here since.
#[derive(Debug, Clone, Copy)]
struct Counted {
    at_ms: i64,
    connections: usize,
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
        Self { table, origins: origins.map(str::to_owned).collect(), client, counted: Mutex::default() }
    }

    /// Browsers always send an origin; a client without one is no browser, and cross-site requests are not its danger.
    fn allows(&self, origin: Option<&str>) -> bool {
        origin.is_none_or(|origin| {
            self.origins.iter().any(|allowed| allowed == "*" || allowed == origin) || self.client.allows_origin(origin)
        })
    }

    fn counted(&self) -> MutexGuard<'_, Option<Counted>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are as many connections as there may be (`client.connection_limit`).
    async fn is_full(&self, connection_id: &str) -> anyhow::Result<bool> {
        let Ok(limit @ 1..) = usize::try_from(self.client.connection_limit) else { return Ok(false) };
        let known = self.counted().filter(|counted| now_ms() - counted.at_ms < COUNT_HOLDS);
        let counted = match known {
            Some(counted) => counted,
            None => Counted { at_ms: now_ms(), connections: self.count(limit).await? },
        };
        let full = counted.connections >= limit;
        *self.counted() = Some(Counted { connections: counted.connections + usize::from(!full), ..counted });
        // an event that comes twice finds the connection there
        Ok(full && self.table.connection(connection_id).await?.is_none())
    }

    /// All connections, each bucket counted no further than `enough`.
    async fn count(&self, enough: usize) -> anyhow::Result<usize> {
        let counts = try_join_all((0..BUCKETS).map(async |bucket| {
            let (mut count, mut start) = (0, None);
            loop {
                let (page, next) = self.table.bucket_connections(bucket, start).await?;
                count += page.len();
                start = next;
                if start.is_none() || count >= enough {
                    return anyhow::Ok(count);
                }
            }
        }));
        Ok(counts.await.context("count connections")?.into_iter().sum())
    }

    async fn admit(&self, connection_id: &str, source_ip: Option<&str>) -> i64 {
        match self.is_full(connection_id).await {
            Ok(false) => {}
            Ok(true) => {
                info!("too many connections");
                metrics::counter!("ConnectionLimited").increment(1);
                return 503;
            }
            Err(cause) => {
                error!(error = format!("{cause:#}"), "connections not counted");
                return 503;
            }
        }
        let admit = Admit {
            id: connection_id,
            now_s: now_ms() / 1000,
            source_ip,
            stale_after: self.client.stale_close_delay + UNDER_WAY,
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

/// 200 admits, 403 is a foreign origin, 429 an address with too many sockets, 503 too many sockets in all (as from Centrifugo), or a
/// table that does not answer.
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
