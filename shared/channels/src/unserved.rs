//! Centrifugo's options that there is no serving here, and why. Off they are taken as if they were not there.

const PROXY: &str = "there are no proxies to a backend here; use tokens and the namespace's permissions";
const MAP: &str = "map subscriptions are not served";
const SHARED_POLL: &str = "shared poll subscriptions are not served";
const PRO: &str = "belongs to Centrifugo PRO and is not served";
const NO_SERVER: &str = "there is no server process to configure; template.yaml has what stands in its place";
const TRANSPORT: &str = "API Gateway WebSocket is the only transport, and not configured here";
const STORE: &str = "DynamoDB is the only store, and not configured here";
const OPS: &str = "logs, metrics and alarms are CloudWatch's; see docs/OPERATIONS.md";

pub(crate) const TOP: &[(&str, &str)] = &[
    ("http_server", NO_SERVER),
    ("address", NO_SERVER),
    ("port", NO_SERVER),
    ("internal_address", NO_SERVER),
    ("internal_port", NO_SERVER),
    ("log", "the parameter LogLevel has the logs' level"),
    ("engine", STORE),
    ("broker", STORE),
    ("presence_manager", STORE),
    ("controller", STORE),
    ("redis", STORE),
    ("nats", STORE),
    ("map_broker", MAP),
    ("shared_poll", SHARED_POLL),
    ("rpc", "rpc methods are Signalbox's own; there are no proxies to a backend"),
    ("proxies", PROXY),
    ("grpc_api", "the server API is spoken over HTTP alone"),
    ("consumers", "there are no consumers of queues; publish through the server API"),
    ("websocket", TRANSPORT),
    ("sockjs", "SockJS is not served (Centrifugo dropped it as well); use WebSocket"),
    ("sse", TRANSPORT),
    ("http_stream", TRANSPORT),
    ("webtransport", TRANSPORT),
    ("uni_sse", TRANSPORT),
    ("uni_http_stream", TRANSPORT),
    ("uni_websocket", TRANSPORT),
    ("uni_grpc", TRANSPORT),
    ("emulation", TRANSPORT),
    ("init", TRANSPORT),
    ("admin", "there is no admin page; the AWS console and the server API's info stand in its place"),
    ("prometheus", OPS),
    ("graphite", OPS),
    ("opentelemetry", OPS),
    ("health", OPS),
    ("debug", OPS),
    ("swagger", NO_SERVER),
    ("usage_stats", "nothing is reported to anyone"),
    ("node", NO_SERVER),
    ("shutdown", NO_SERVER),
    ("pid_file", NO_SERVER),
    ("enable_unreleased_features", NO_SERVER),
    ("license", PRO),
    ("database", PRO),
    ("clickhouse_analytics", PRO),
    ("push_notifications", PRO),
    ("user_status", PRO),
    ("user_block", PRO),
    ("token_revoke", PRO),
    ("user_tokens_invalidate", PRO),
    ("distributed_rate_limit", PRO),
    ("singleflight", PRO),
    ("cel", PRO),
];

pub(crate) const CLIENT: &[(&str, &str)] = &[
    ("proxy", PROXY),
    (
        "connection_rate_limit",
        "connections per second cannot be counted without one item that every connect writes; API Gateway's quota (500/s) \
         and the stage's throttling limit them",
    ),
    ("queue_max_size", "API Gateway holds what a client has not read; there is no queue of ours"),
    ("presence_update_interval", "presence is the subscriptions' rows; nothing has to be updated"),
    ("channel_position_check_delay", "positions are checked with every delivery"),
    ("channel_position_max_time_lag", "positions are checked with every delivery"),
    ("user_id_http_header", "nothing in front of API Gateway could be trusted to set it; use tokens"),
    ("connect_code_to_unidirectional_disconnect", "there are no unidirectional transports"),
    ("rate_limit", PRO),
    ("labels", PRO),
    ("connect_code_to_disconnect", PRO),
];

pub(crate) const TOKEN: &[(&str, &str)] = &[
    (
        "insecure_skip_jwks_endpoint_safety_check",
        "there are no templates in jwks_public_endpoint, so there is nothing to check",
    ),
    ("meta_from_claim", PRO),
    ("labels_from_claims", PRO),
];

pub(crate) const CHANNEL: &[(&str, &str)] = &[("proxy", PROXY), ("patterns", PRO)];

pub(crate) const NAMESPACE: &[(&str, &str)] = &[
    ("subscribe_proxy_enabled", PROXY),
    ("subscribe_proxy_name", PROXY),
    ("publish_proxy_enabled", PROXY),
    ("publish_proxy_name", PROXY),
    ("sub_refresh_proxy_enabled", PROXY),
    ("sub_refresh_proxy_name", PROXY),
    ("subscribe_stream_proxy_enabled", PROXY),
    ("subscribe_stream_proxy_name", PROXY),
    ("subscribe_stream_proxy_bidirectional", PROXY),
    ("map", MAP),
    ("map_clients_presence_channel_prefix", MAP),
    ("map_users_presence_channel_prefix", MAP),
    ("client_publish_debounce_interval", MAP),
    ("shared_poll", SHARED_POLL),
    ("subscribe_cel", PRO),
    ("publish_cel", PRO),
    ("history_cel", PRO),
    ("presence_cel", PRO),
    ("cache_empty_proxy_enabled", PRO),
    ("cache_empty_proxy_name", PRO),
    ("state_proxy_enabled", PRO),
    ("state_proxy_name", PRO),
    ("state_events", PRO),
    ("shared_position_sync", PRO),
    ("batch_max_size", PRO),
    ("batch_max_delay", PRO),
    ("batch_flush_latest", PRO),
    ("allow_channel_compaction", PRO),
    ("keep_latest_publication", PRO),
];

pub(crate) const HTTP_API: &[(&str, &str)] = &[
    ("disabled", "the function api is part of the stack; keep its key to yourself instead"),
    ("external", "there are no internal and external ports"),
];
