//! The server API, as Centrifugo's: `POST /api/<method>` with a JSON object, `POST /api/batch`, and the old form `POST /api` with
//! `{"method", "params"}`. docs/PROTOCOL.md has the methods.
//!
//! | status | when |
//! |---|---|
//! | 200 | `{"result": {…}}` or `{"error": {"code", "message"}}` |
//! | 400, 404, 405 | no JSON object of the method's shape, and why; an unknown path; another method than POST |
//! | 401 | no key, or a wrong one; without a body |
//! | 500, 404, 400, 416 | in the error mode `transport` instead of 200: the bare error |

mod decode;
mod glob;
mod key;
mod legacy;
mod methods;
mod refusal;
mod respond;

use std::{sync::Arc, time::Instant};

use lambda_http::{
    Body, Request, Response,
    http::{Method as HttpMethod, StatusCode},
};
use signalbox_channels::{ChannelsConfig, ErrorMode};
use signalbox_connections::ConnectionTable;
use signalbox_lambda::{
    Boot,
    env::{self, EnvError},
};
use signalbox_publishing::{ApiGateway, FanOut, Gateway, Publisher};

use crate::{key::ApiKey, methods::Method};

/// What the function keeps between events.
#[derive(Debug)]
pub struct State {
    publisher: Publisher,
    channels: Arc<ChannelsConfig>,
    /// `None` where nobody is asked for one (`http_api.insecure`).
    key: Option<ApiKey>,
    uid: String,
    started: Instant,
}

impl State {
    /// `api_key` opens everything, unless the configuration has a key of its own (`http_api.key`) or asks for none. `uid` is what
    /// `info` names the one node.
    ///
    /// # Errors
    /// No key at all: everybody would have it.
    pub fn new(
        publisher: Publisher,
        channels: Arc<ChannelsConfig>,
        api_key: Option<&str>,
        uid: impl Into<String>,
    ) -> Result<Self, EnvError> {
        let key = channels.http_api.key.as_deref().filter(|key| !key.is_empty()).or(api_key);
        let key = match key.and_then(ApiKey::new) {
            _ if channels.http_api.insecure => None,
            None => return Err(EnvError::Missing("API_KEY")),
            key => key,
        };
        let publisher = publisher.with_channels(Arc::clone(&channels));
        Ok(Self { publisher, channels, key, uid: uid.into(), started: Instant::now() })
    }

    /// `CONNECTION_TABLE`, `CONNECTIONS_ENDPOINT`, `FANOUT_QUEUE_URL`, `API_KEY`, and `channels.json` beside the binary, whose
    /// `http_api.key` goes before the variable.
    ///
    /// # Errors
    /// Names the variable that is missing or not usable.
    pub async fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let aws = boot.aws()?;
        let table = env::require("CONNECTION_TABLE")?;
        let gateway = ApiGateway::new(&aws, &env::require("CONNECTIONS_ENDPOINT")?).await?;
        let channels = ChannelsConfig::parse(&signalbox_lambda::task_file("channels.json")?)?;
        let publisher =
            Publisher::new(ConnectionTable::new(&aws, table.as_str()), Gateway::ApiGateway(Box::new(gateway)))
                .with_fan_out(FanOut::new(&aws, env::optional("FANOUT_QUEUE_URL")));
        Ok(Self::new(publisher, Arc::new(channels), env::optional("API_KEY").as_deref(), table)?)
    }

    fn admits(&self, request: &Request) -> bool {
        self.key.as_ref().is_none_or(|key| key.is_given(request))
    }

    /// Whether an error has an HTTP status of its own.
    fn wants_status(&self, request: &Request) -> bool {
        self.channels.http_api.error_mode == ErrorMode::Transport
            || request.headers().get("x-centrifugo-error-mode").is_some_and(|mode| mode == "transport")
    }
}

/// What a path stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Method(Method),
    Batch,
    Legacy,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        // a stage or a custom domain may put something before it
        if path.ends_with("/api") {
            return Some(Self::Legacy);
        }
        match path.rsplit_once("/api/")?.1 {
            "batch" => Some(Self::Batch),
            name => Method::named(name).map(Self::Method),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Method(method) => method.name(),
            Self::Batch => "batch",
            Self::Legacy => "legacy",
        }
    }
}

/// Answers one request.
pub async fn handle(state: &State, request: Request) -> Response<Body> {
    let Some(route) = Route::of(request.uri().path()) else { return respond::not_found() };
    if request.method() != HttpMethod::POST {
        return respond::method_not_allowed();
    }
    if !state.admits(&request) {
        metrics::counter!("ApiUnauthorized").increment(1);
        return respond::unauthorized();
    }
    let body = match request.body() {
        Body::Text(text) => text.as_bytes(),
        Body::Binary(bytes) => bytes,
        _ => &[],
    };
    let body = match std::str::from_utf8(body) {
        Ok(body) => body,
        Err(cause) => return respond::bad_request(route.name(), &cause),
    };
    let method = match route {
        Route::Method(method) => method,
        Route::Batch => return methods::batch::answer(state, body).await,
        Route::Legacy => return legacy::answer(state, body).await,
    };
    let call = match method.decode(body) {
        Ok(call) => call,
        Err(cause) => return respond::bad_request(method.name(), &cause),
    };
    match call.run(state).await {
        Ok(result) => respond::result(&result),
        Err(error) if state.wants_status(&request) => {
            respond::json(StatusCode::from_u16(error.status()).unwrap_or_default(), &error)
        }
        Err(error) => respond::error(error),
    }
}
