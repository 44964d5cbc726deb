use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing_subscriber::EnvFilter;

/// JSON logs on stdout (CloudWatch adds the time), level from `RUST_LOG`, `info` without it.
pub(crate) fn init_logs() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // A test process boots several functions: the first subscriber stays.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_target(false)
        .without_time()
        .with_env_filter(filter)
        .try_init();
}

/// Metrics in CloudWatch's embedded metric format, one document an invocation, dimension `Function`.
pub(crate) fn init_metrics(service: &'static str) -> Option<&'static Collector> {
    Builder::new().cloudwatch_namespace("Signalbox").with_dimension("Function", service).init().ok()
}
