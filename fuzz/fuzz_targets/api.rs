//! Bodies of the server API, in all its forms: each gets an answer in JSON. The first byte is the path; DynamoDB refuses everything.

#![no_main]

use std::sync::{Arc, LazyLock};

use api::State;
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    },
    http::StatusCode,
};
use lambda_http::{Body, http};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use signalbox_channels::ChannelsConfig;
use signalbox_connections::{ConnectionTable, testing::local_config};
use signalbox_publishing::{Gateway, Publisher, Recorded};

const PATHS: [&str; 15] = [
    "/api",
    "/api/batch",
    "/api/publish",
    "/api/broadcast",
    "/api/subscribe",
    "/api/unsubscribe",
    "/api/disconnect",
    "/api/refresh",
    "/api/presence",
    "/api/presence_stats",
    "/api/history",
    "/api/history_remove",
    "/api/channels",
    "/api/info",
    "/api/rpc",
];

const CHANNELS: &str = r#"{"http_api": {"insecure": true}, "channel": {"namespaces": [
    {"name": "news", "history_size": 10, "history_ttl": "60s", "force_recovery": true, "presence": true, "join_leave": true,
     "allowed_delta_types": ["fossil"], "delta_publish": true},
    {"name": "doc", "publication_data_format": "json_object", "shards": 3}
]}}"#;

#[derive(Debug)]
struct Refusing;

impl HttpConnector for Refusing {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        let error = r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"no"}"#;
        let mut response = HttpResponse::new(StatusCode::try_from(400_u16).expect("a status"), error.into());
        response.headers_mut().insert("content-type", "application/x-amz-json-1.0");
        HttpConnectorFuture::ready(Ok(response))
    }
}

struct Stack {
    runtime: tokio::runtime::Runtime,
    state: State,
}

static STACK: LazyLock<Stack> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let connector = SharedHttpConnector::new(Refusing);
    let aws = local_config("http://dynamodb.invalid").into_builder();
    let aws = aws.http_client(http_client_fn(move |_, _| connector.clone())).build();
    let channels = Arc::new(ChannelsConfig::parse(CHANNELS).expect("a configuration"));
    let gateway = Gateway::Recorded(Arc::new(Recorded::default()));
    let publisher = Publisher::new(ConnectionTable::new(&aws, "connections"), gateway);
    let state = State::new(publisher, channels, None, "fuzz").expect("a state");
    Stack { runtime, state }
});

fuzz_target!(|input: &[u8]| {
    let Some((path, body)) = input.split_first() else { return };
    let path = PATHS[usize::from(*path) % PATHS.len()];
    let body = std::str::from_utf8(body).map_or_else(|_| Body::Binary(body.to_vec()), Body::from);
    let request = http::Request::post(format!("https://x.example{path}")).body(body).expect("a request");
    let response = STACK.runtime.block_on(api::handle(&STACK.state, request));
    let Body::Text(answer) = response.body() else { panic!("{path}: no text: {response:?}") };
    match response.status().as_u16() {
        200 => {
            for line in answer.lines() {
                assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{path}: {answer}");
            }
        }
        400 => {}
        status => panic!("{path}: {status} {answer}"),
    }
});
