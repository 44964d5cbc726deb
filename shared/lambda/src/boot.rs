use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use aws_lambda_events::apigw::{ApiGatewayProxyResponse, ApiGatewayWebsocketProxyRequest};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use aws_types::SdkConfig;
use futures::FutureExt as _;
use lambda_runtime::{LambdaEvent, service_fn};
use metrics_cloudwatch_embedded::Collector;
use serde::{Serialize, de::DeserializeOwned};
use tracing::{Instrument as _, error, info_span};

use crate::{Error, aws, sqs, telemetry};

/// A started function: telemetry is on, nothing has been read from the environment yet but what telemetry needs.
#[expect(missing_debug_implementations, reason = "the metrics collector has none")]
pub struct Boot {
    service: &'static str,
    metrics: Option<&'static Collector>,
}

/// Starts telemetry; `service` is the function's folder name and the `service` field of its logs.
pub fn boot(service: &'static str) -> Boot {
    telemetry::init_logs();
    Boot { service, metrics: telemetry::init_metrics(service) }
}

impl Boot {
    /// The AWS configuration, for the crates that own a client.
    pub fn aws(&self) -> anyhow::Result<SdkConfig> {
        aws::sdk_config()
    }

    /// Serves a plain event: an error or a panic is the invocation's error, and the event source's retry rules hold.
    pub async fn run<S, E, R, Fut>(self, state: S, handler: impl Fn(&'static S, E) -> Fut) -> Result<(), Error>
    where
        S: 'static,
        E: DeserializeOwned,
        R: Serialize,
        Fut: Future<Output = anyhow::Result<R>>,
    {
        let state: &'static S = Box::leak(Box::new(state));
        let (service, handler, metrics) = (self.service, &handler, self.metrics);
        lambda_runtime::run(service_fn(|event: LambdaEvent<E>| async move {
            let span = info_span!("invocation", service, request_id = event.context.request_id);
            let result = caught(handler(state, event.payload)).instrument(span.clone()).await;
            flush(metrics);
            result.map_err(|cause| {
                span.in_scope(|| error!(error = format!("{cause:#}"), "invocation failed"));
                Error::from(format!("{cause:#}"))
            })
        }))
        .await
    }

    /// Serves a WebSocket route. No error may surface: API Gateway would send its own error object to the socket, which the
    /// Centrifuge SDKs read as a ping (protocol notes, 0.4). What goes wrong is logged and answered with a bare 200.
    pub async fn run_websocket<S, Fut>(
        self,
        state: S,
        handler: impl Fn(&'static S, ApiGatewayWebsocketProxyRequest) -> Fut,
    ) -> Result<(), Error>
    where
        S: 'static,
        Fut: Future<Output = anyhow::Result<ApiGatewayProxyResponse>>,
    {
        let state: &'static S = Box::leak(Box::new(state));
        let (service, handler, metrics) = (self.service, &handler, self.metrics);
        // The event is decoded here and not by the runtime: a shape that serde refuses must not surface either.
        lambda_runtime::run(service_fn(|event: LambdaEvent<serde_json::Value>| async move {
            let context = &event.payload["requestContext"];
            // before $connect is answered there is no socket that an error could reach: it fails closed
            let failed = if context["eventType"] == "CONNECT" { 500 } else { 200 };
            let span = info_span!(
                "invocation",
                service,
                request_id = event.context.request_id,
                connection_id = context["connectionId"].as_str(),
                message_id = context["messageId"].as_str(),
            );
            let invocation = async {
                let request = serde_json::from_value(event.payload)?;
                handler(state, request).await
            };
            let result = caught(invocation).instrument(span.clone()).await;
            flush(metrics);
            Ok::<_, Error>(result.unwrap_or_else(|cause| {
                span.in_scope(|| error!(error = format!("{cause:#}"), "message failed"));
                status(failed)
            }))
        }))
        .await
    }

    /// Serves an HTTP API route; an error or a panic becomes a bare 500.
    pub async fn run_http<S, Fut>(
        self,
        state: S,
        handler: impl Fn(&'static S, lambda_http::Request) -> Fut,
    ) -> Result<(), Error>
    where
        S: 'static,
        Fut: Future<Output = lambda_http::Response<lambda_http::Body>> + Send,
    {
        use lambda_http::RequestExt as _;
        let state: &'static S = Box::leak(Box::new(state));
        let (service, handler, metrics) = (self.service, &handler, self.metrics);
        lambda_http::run(service_fn(|request: lambda_http::Request| {
            let request_id = request.lambda_context_ref().map(|context| context.request_id.clone());
            let span = info_span!("invocation", service, request_id);
            let answer = handler(state, request);
            async move {
                let response = caught(async { Ok(answer.await) }).instrument(span.clone()).await;
                flush(metrics);
                Ok::<_, Error>(response.unwrap_or_else(|cause| {
                    span.in_scope(|| error!(error = format!("{cause:#}"), "request failed"));
                    let mut response = lambda_http::Response::new(lambda_http::Body::Empty);
                    *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }))
            }
        }))
        .await
    }

    /// Serves an SQS event source with `ReportBatchItemFailures`; see [`sqs`].
    pub async fn run_sqs<S, T, Fut>(
        self,
        state: S,
        dead_letters: sqs::DeadLetters,
        handler: impl Fn(&'static S, Vec<sqs::Record<T>>) -> Fut,
    ) -> Result<(), Error>
    where
        S: 'static,
        T: DeserializeOwned,
        Fut: Future<Output = anyhow::Result<Vec<sqs::Outcome>>>,
    {
        let state: &'static S = Box::leak(Box::new(state));
        let (service, handler, metrics, dead_letters) = (self.service, &handler, self.metrics, &dead_letters);
        lambda_runtime::run(service_fn(|event: LambdaEvent<SqsEvent>| async move {
            let span = info_span!("invocation", service, request_id = event.context.request_id);
            let batch = sqs::process(event.payload, dead_letters, |records| caught(handler(state, records)));
            let response: SqsBatchResponse = batch.instrument(span).await;
            flush(metrics);
            Ok::<_, Error>(response)
        }))
        .await
    }
}

/// A WebSocket route's answer without a body.
fn status(code: i64) -> ApiGatewayProxyResponse {
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = code;
    response
}

/// A panic becomes an error: one bad event must not cost the environment, and the cause belongs in the log.
///
/// Boxed before anything is polled: a handler's future is deep, and the compiler's layout queries have a limit.
fn caught<T>(work: impl Future<Output = anyhow::Result<T>>) -> impl Future<Output = anyhow::Result<T>> {
    let work = Box::pin(work);
    async move {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(result) => result,
            Err(panic) => Err(anyhow::anyhow!("panic: {}", panic_message(panic.as_ref()))),
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

fn flush(metrics: Option<&'static Collector>) {
    if let Some(metrics) = metrics {
        // stdout that cannot be written to is nothing a function could tell anybody about
        let _ = metrics.flush(std::io::stdout());
    }
}
