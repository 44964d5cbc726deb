use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    ChannelName, ClientConfig, ConfigError, DataFormat, DeltaType, Mistake, Namespace, RecoveryMode, duration,
    section::{Section, Unambiguous},
    unserved,
};

/// The whole of `channels.json`: Centrifugo's own shape, as far as it applies here.
#[derive(Debug, Clone, Default)]
pub struct ChannelsConfig {
    /// `client.*`
    pub client: ClientConfig,
    /// `http_api.*`
    pub http_api: HttpApiConfig,
    without_namespace: Namespace,
    namespaces: BTreeMap<String, Namespace>,
}

/// `http_api.*`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpApiConfig {
    /// The server API's key, besides that of the parameter `ApiKey`.
    pub key: Option<String>,
    /// No key is asked for. For tests alone.
    pub insecure: bool,
    /// How errors are told.
    pub error_mode: ErrorMode,
}

/// `http_api.error_mode`. A request can ask for [`ErrorMode::Transport`] with `X-Centrifugo-Error-Mode: transport`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ErrorMode {
    /// Status 200 and an `error` in the body.
    #[default]
    Body,
    /// `transport`: the error's own HTTP status, the bare error as the body.
    Transport,
}

impl ChannelsConfig {
    /// Reads `channels.json`.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        let file = serde_json::from_str(json).map_err(|cause| {
            ConfigError::new(vec![Mistake { path: String::new(), reason: format!("cannot be read: {cause}") }])
        });
        let Unambiguous(file) = file?;
        let mut mistakes = Vec::new();
        let mut top = Section::new(String::new(), file, &mut mistakes);
        top.refuse(unserved::TOP);
        let client = ClientConfig::read(top.section("client"));
        let http_api = HttpApiConfig::read(top.section("http_api"));
        let mut config = Self { client, http_api, ..Self::default() };
        config.read_channels(top.section("channel"));
        top.finish();
        config.check_personal_channel(&mut mistakes);
        if mistakes.is_empty() { Ok(config) } else { Err(ConfigError::new(mistakes)) }
    }

    /// The options that hold for a channel; `None` when it names a namespace that does not exist (error 102).
    pub fn namespace_of(&self, channel: &ChannelName) -> Option<&Namespace> {
        match channel.namespace() {
            None => Some(&self.without_namespace),
            Some(name) => self.namespaces.get(name),
        }
    }

    /// The channel of a user's own, where there is to be one (`client.subscribe_to_user_personal_channel`): `#user` or
    /// `namespace:#user`. `None` too for a user whose id makes no channel name.
    pub fn personal_channel(&self, user: &str) -> Option<ChannelName> {
        let personal = &self.client.subscribe_to_user_personal_channel;
        if !personal.enabled || user.is_empty() {
            return None;
        }
        let name = match personal.personal_channel_namespace.as_str() {
            "" => format!("#{user}"),
            namespace => format!("{namespace}:#{user}"),
        };
        ChannelName::parse(name).ok()
    }

    fn read_channels(&mut self, mut section: Section<'_>) {
        const REASON: &str = "it is part of how channels are named here";
        section.refuse(unserved::CHANNEL);
        section.fixed("max_length", &json!(255), REASON);
        section.fixed("private_prefix", &json!("$"), REASON);
        section.fixed("namespace_boundary", &json!(":"), REASON);
        section.fixed("user_boundary", &json!("#"), REASON);
        section.fixed("user_separator", &json!(","), REASON);
        let defaults = Namespace {
            history_meta_ttl: section.duration("history_meta_ttl", Namespace::default().history_meta_ttl),
            publication_data_format: data_format(&mut section, DataFormat::Json),
            insecure: self.client.insecure,
            ..Namespace::default()
        };
        self.without_namespace = read_namespace(section.section("without_namespace"), &defaults);
        match section.take("namespaces") {
            None => {}
            Some(Value::Array(namespaces)) => {
                let path = section.path("namespaces");
                for (index, namespace) in namespaces.into_iter().enumerate() {
                    self.read_named(&path, index, namespace, &defaults, section.mistakes());
                }
            }
            Some(other) => section.mistake("namespaces", format!("a list is expected, not {other}")),
        }
        section.finish();
    }

    fn read_named(
        &mut self,
        path: &str,
        index: usize,
        mut value: Value,
        defaults: &Namespace,
        mistakes: &mut Vec<Mistake>,
    ) {
        let name = value.as_object_mut().and_then(|options| options.remove("name"));
        let name = match name {
            Some(Value::String(name)) => name,
            other => {
                let reason = other.map_or("missing".to_owned(), |name| format!("a text is expected, not {name}"));
                mistakes.push(Mistake { path: format!("{path}[{index}].name"), reason });
                read_namespace(Section::new(format!("{path}[{index}]"), value, mistakes), defaults);
                return;
            }
        };
        let path = format!("{path}[{name}]");
        let mut section = Section::new(path, value, mistakes);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if name.len() < 2 || !name.bytes().all(allowed) {
            section.mistake("name", format!("{name:?} must be 2 or more of a-z, A-Z, 0-9, _, - and ."));
        }
        if self.namespaces.contains_key(&name) {
            section.mistake("name", "is there twice");
        }
        let namespace = read_namespace(section, defaults);
        self.namespaces.insert(name, namespace);
    }

    fn check_personal_channel(&self, mistakes: &mut Vec<Mistake>) {
        let personal = &self.client.subscribe_to_user_personal_channel;
        if !personal.enabled {
            return;
        }
        let mut mistake = |option: &str, reason: String| {
            let path = format!("client.subscribe_to_user_personal_channel.{option}");
            mistakes.push(Mistake { path, reason });
        };
        let (name, path) = match personal.personal_channel_namespace.as_str() {
            "" => (None, "channel.without_namespace".to_owned()),
            name => (Some(name), format!("channel.namespaces[{name}]")),
        };
        match name.map_or(Some(&self.without_namespace), |name| self.namespaces.get(name)) {
            None => {
                let name = &personal.personal_channel_namespace;
                mistake("personal_channel_namespace", format!("there is no namespace {name:?}"));
            }
            Some(namespace) if personal.single_connection && !namespace.presence => {
                mistake("single_connection", format!("needs {path}.presence"));
            }
            Some(_) => {}
        }
    }
}

impl HttpApiConfig {
    fn read(mut section: Section<'_>) -> Self {
        section.refuse(unserved::HTTP_API);
        section.fixed("handler_prefix", &json!("/api"), "it is the route in template.yaml");
        let http_api = Self {
            key: section.text("key"),
            insecure: section.flag("insecure"),
            error_mode: section.choice("error_mode", &[("transport", ErrorMode::Transport)], ErrorMode::Body),
        };
        section.finish();
        http_api
    }
}

fn read_namespace(mut section: Section<'_>, defaults: &Namespace) -> Namespace {
    let before = section.mistakes().len();
    section.refuse(unserved::NAMESPACE);
    section.fixed("subscription_type", &json!("stream"), "maps and shared polls are not served");
    let history_meta_ttl = match section.duration("history_meta_ttl", defaults.history_meta_ttl) {
        ttl if ttl.is_zero() => defaults.history_meta_ttl,
        ttl => ttl,
    };
    let modes = [("stream", RecoveryMode::Stream), ("cache", RecoveryMode::Cache)];
    let namespace = Namespace {
        presence: section.flag("presence"),
        join_leave: section.flag("join_leave"),
        force_push_join_leave: section.flag("force_push_join_leave"),
        history_size: section.number("history_size", 0, 0..=u32::MAX),
        history_ttl: section.duration("history_ttl", defaults.history_ttl),
        history_meta_ttl,
        force_positioning: section.flag("force_positioning"),
        allow_positioning: section.flag("allow_positioning"),
        force_recovery: section.flag("force_recovery"),
        allow_recovery: section.flag("allow_recovery"),
        force_recovery_mode: section.choice("force_recovery_mode", &modes, RecoveryMode::Stream),
        auto_cache_recover: section.flag("auto_cache_recover"),
        allowed_delta_types: delta_types(&mut section),
        delta_publish: section.flag("delta_publish"),
        allow_tags_filter: section.flag("allow_tags_filter"),
        allow_subscribe_for_client: section.flag("allow_subscribe_for_client"),
        allow_subscribe_for_anonymous: section.flag("allow_subscribe_for_anonymous"),
        allow_publish_for_client: section.flag("allow_publish_for_client"),
        allow_publish_for_subscriber: section.flag("allow_publish_for_subscriber"),
        allow_publish_for_anonymous: section.flag("allow_publish_for_anonymous"),
        allow_history_for_client: section.flag("allow_history_for_client"),
        allow_history_for_subscriber: section.flag("allow_history_for_subscriber"),
        allow_history_for_anonymous: section.flag("allow_history_for_anonymous"),
        allow_presence_for_client: section.flag("allow_presence_for_client"),
        allow_presence_for_subscriber: section.flag("allow_presence_for_subscriber"),
        allow_presence_for_anonymous: section.flag("allow_presence_for_anonymous"),
        allow_user_limited_channels: section.flag("allow_user_limited_channels"),
        channel_regex: section.regex("channel_regex"),
        publication_data_format: data_format(&mut section, defaults.publication_data_format),
        shards: section.number("shards", 1, 1..=100),
        insecure: defaults.insecure,
        announce: None,
    };
    // an option with a mistake has its default, which may contradict others for no fault of theirs
    if section.mistakes().len() == before {
        check_namespace(&namespace, &mut section);
    }
    section.finish();
    namespace
}

/// Options that contradict each other: Centrifugo's rules, and those that would leave an option without any effect.
fn check_namespace(namespace: &Namespace, section: &mut Section<'_>) {
    const NEEDS_HISTORY: &str = "needs history_size and history_ttl";
    if (namespace.history_size == 0) != namespace.history_ttl.is_zero() {
        let (there, missing) =
            if namespace.history_size == 0 { ("history_ttl", "history_size") } else { ("history_size", "history_ttl") };
        section.mistake(there, format!("needs {missing}: history has both or none"));
    } else if !namespace.has_history() {
        for (option, on) in [
            ("force_positioning", namespace.force_positioning),
            ("allow_positioning", namespace.allow_positioning),
            ("force_recovery", namespace.force_recovery),
            ("allow_recovery", namespace.allow_recovery),
            ("force_recovery_mode", namespace.force_recovery_mode == RecoveryMode::Cache),
            ("allowed_delta_types", !namespace.allowed_delta_types.is_empty()),
        ] {
            if on {
                section.mistake(option, NEEDS_HISTORY);
            }
        }
    }
    if namespace.history_ttl > namespace.history_meta_ttl {
        let (ttl, meta) = (duration::format(namespace.history_ttl), duration::format(namespace.history_meta_ttl));
        section.mistake("history_ttl", format!("{ttl} is longer than history_meta_ttl, {meta}"));
    }
    if namespace.auto_cache_recover
        && !(namespace.force_recovery && namespace.force_recovery_mode == RecoveryMode::Cache)
    {
        section.mistake("auto_cache_recover", "needs force_recovery and force_recovery_mode \"cache\"");
    }
    let positioned = namespace.force_positioning
        || namespace.allow_positioning
        || namespace.force_recovery
        || namespace.allow_recovery
        || namespace.allow_history_for_client
        || namespace.allow_history_for_subscriber
        || namespace.insecure;
    if !namespace.allowed_delta_types.is_empty() && !positioned {
        section.mistake("allowed_delta_types", "needs positioning or recovery, forced or allowed");
    }
    if namespace.delta_publish && namespace.allowed_delta_types.is_empty() {
        section.mistake("delta_publish", "needs allowed_delta_types");
    }
    if namespace.force_push_join_leave && !namespace.join_leave {
        section.mistake("force_push_join_leave", "needs join_leave");
    }
}

fn delta_types(section: &mut Section<'_>) -> Vec<DeltaType> {
    let names = section.texts("allowed_delta_types");
    if let Some(unknown) = names.iter().find(|name| *name != DeltaType::Fossil.as_str()) {
        section.mistake("allowed_delta_types", format!("\"fossil\" is expected, not {unknown:?}"));
    }
    if names.is_empty() { Vec::new() } else { vec![DeltaType::Fossil] }
}

fn data_format(section: &mut Section<'_>, default: DataFormat) -> DataFormat {
    let option = "publication_data_format";
    section.choice(option, &[("json", DataFormat::Json), ("json_object", DataFormat::JsonObject)], default)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn name(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    /// All mistakes, one a line.
    fn mistakes(json: &str) -> String {
        ChannelsConfig::parse(json).map_or_else(|error| error.to_string(), |_| String::new())
    }

    fn in_namespace(options: &str) -> String {
        mistakes(&format!(r#"{{"channel":{{"namespaces":[{{"name":"chat",{options}}}]}}}}"#))
    }

    fn in_client(options: &str) -> String {
        mistakes(&format!(r#"{{"client":{{{options}}}}}"#))
    }

    #[test]
    fn the_repository_s_own_channels_are_valid() {
        let config = ChannelsConfig::parse(include_str!("../../../channels.json")).unwrap();
        let (all, status) = (name("status:all"), config.namespace_of(&name("status:all")).unwrap());
        assert!(status.has_history() && status.force_recovery);
        assert!(status.may_subscribe("anna", &all) && status.may_subscribe("", &all));
        assert!(config.namespace_of(&name("nothing:x")).is_none());
        let bare = config.namespace_of(&name("x")).unwrap();
        assert!(!bare.may_subscribe("anna", &name("x")), "nothing is allowed that was not configured");
    }

    #[test]
    fn the_example_of_the_documentation_is_valid() {
        let page = include_str!("../../../docs/CONFIG.md");
        let example = page.split_once("```json").unwrap().1.split_once("```").unwrap().0;
        let config = ChannelsConfig::parse(example).unwrap();
        assert!(config.namespace_of(&name("chat:x")).unwrap().recovers("", false));
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = ChannelsConfig::parse("{}").unwrap();
        assert_eq!(config.client, ClientConfig::default());
        assert_eq!(config.http_api, HttpApiConfig::default());
        assert_eq!(config.namespace_of(&name("x")), Some(&Namespace::default()));
    }

    #[test]
    fn every_option_of_a_namespace_is_read() {
        let json = r#"{"channel":{"namespaces":[{
            "name": "chat.v2", "presence": true, "join_leave": true, "force_push_join_leave": true,
            "history_size": 100, "history_ttl": "5m", "history_meta_ttl": "1h30m", "force_positioning": true,
            "allow_positioning": true, "force_recovery": true, "allow_recovery": true, "force_recovery_mode": "cache",
            "auto_cache_recover": true, "allowed_delta_types": ["fossil"], "delta_publish": true,
            "allow_tags_filter": true, "allow_subscribe_for_client": true, "allow_subscribe_for_anonymous": true,
            "allow_publish_for_client": true, "allow_publish_for_subscriber": true, "allow_publish_for_anonymous": true,
            "allow_history_for_client": true, "allow_history_for_subscriber": true, "allow_history_for_anonymous": true,
            "allow_presence_for_client": true, "allow_presence_for_subscriber": true,
            "allow_presence_for_anonymous": true, "allow_user_limited_channels": true, "channel_regex": "^[a-z]+$",
            "publication_data_format": "json_object", "subscription_type": "stream", "shards": 7
        }]}}"#;
        let config = ChannelsConfig::parse(json).unwrap();
        let expected = Namespace {
            presence: true,
            join_leave: true,
            force_push_join_leave: true,
            history_size: 100,
            history_ttl: Duration::from_mins(5),
            history_meta_ttl: Duration::from_mins(90),
            force_positioning: true,
            allow_positioning: true,
            force_recovery: true,
            allow_recovery: true,
            force_recovery_mode: RecoveryMode::Cache,
            auto_cache_recover: true,
            allowed_delta_types: vec![DeltaType::Fossil],
            delta_publish: true,
            allow_tags_filter: true,
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            allow_publish_for_client: true,
            allow_publish_for_subscriber: true,
            allow_publish_for_anonymous: true,
            allow_history_for_client: true,
            allow_history_for_subscriber: true,
            allow_history_for_anonymous: true,
            allow_presence_for_client: true,
            allow_presence_for_subscriber: true,
            allow_presence_for_anonymous: true,
            allow_user_limited_channels: true,
            channel_regex: config.namespace_of(&name("chat.v2:x")).unwrap().channel_regex.clone(),
            publication_data_format: DataFormat::JsonObject,
            shards: 7,
            insecure: false,
            announce: None,
        };
        assert_eq!(config.namespace_of(&name("chat.v2:x")), Some(&expected));
        assert_eq!(expected.channel_regex.unwrap().as_str(), "^[a-z]+$");
    }

    #[test]
    fn every_option_of_the_client_and_the_server_api_is_read() {
        let json = r#"{"client": {
            "allowed_origins": ["https://*.example.org"], "insecure": true, "insecure_skip_token_signature_verify": true,
            "allow_anonymous_connect_without_token": true, "disallow_anonymous_connection_tokens": true,
            "channel_limit": 90, "user_connection_limit": 4, "connection_limit": 5, "per_address_connection_limit": 6,
            "expired_close_delay": "1s", "expired_sub_close_delay": "2s", "stale_close_delay": "3s",
            "ping_interval": "9m30s", "pong_timeout": -1, "recovery_max_publication_limit": 7,
            "history_max_publication_limit": 8, "concurrency": 9, "connect_include_server_time": true,
            "subscribe_to_user_personal_channel": {
                "enabled": true, "personal_channel_namespace": "own", "single_connection": true
            },
            "token": {
                "hmac_secret_key": "a", "hmac_previous_secret_key": "b", "hmac_previous_secret_key_valid_until": 10,
                "rsa_public_key": "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "audience": "c",
                "ed25519_public_key": "-----BEGIN PUBLIC KEY-----\nz\n-----END PUBLIC KEY-----",
                "issuer_regex": "^d$", "user_id_claim": "user_id"
            },
            "subscription_token": {
                "enabled": true, "jwks_public_endpoint": "https://e/jwks", "audience_regex": "f", "issuer": "g",
                "ecdsa_public_key": "-----BEGIN PUBLIC KEY-----\ny\n-----END PUBLIC KEY-----"
            }
        },
        "http_api": {"key": "h", "insecure": true, "error_mode": "transport", "handler_prefix": "/api"},
        "channel": {"history_meta_ttl": "2h", "publication_data_format": "json_object",
            "without_namespace": {"publication_data_format": "json"}, "namespaces": [{"name": "own", "presence": true}]}}"#;
        let config = ChannelsConfig::parse(json).unwrap();
        let ClientConfig { token, subscription_token, subscribe_to_user_personal_channel: personal, .. } =
            &config.client;
        let sub = subscription_token.as_ref().unwrap();
        assert_eq!(token.hmac_secret_key.as_deref(), Some("a"));
        assert_eq!(token.hmac_previous_secret_key.as_deref(), Some("b"));
        assert_eq!(token.hmac_previous_secret_key_valid_until, 10);
        assert!(token.rsa_public_key.is_some() && sub.ecdsa_public_key.is_some());
        assert!(token.ed25519_public_key.as_ref().is_some_and(|pem| pem.contains("\nz\n")));
        assert_eq!((token.audience.as_deref(), sub.issuer.as_deref()), (Some("c"), Some("g")));
        assert!(token.issuer_regex.as_ref().is_some_and(|regex| regex.matches("d")));
        assert!(sub.audience_regex.is_some());
        assert_eq!(token.user_id_claim.as_deref(), Some("user_id"));
        assert_eq!(sub.jwks_public_endpoint.as_deref(), Some("https://e/jwks"));
        assert!(personal.enabled && personal.single_connection);
        assert_eq!(config.personal_channel("anna"), Some(name("own:#anna")));
        assert_eq!(config.personal_channel(""), None, "the anonymous have nothing of their own");
        let expected = ClientConfig {
            allowed_origins: vec!["https://*.example.org".to_owned()],
            insecure: true,
            insecure_skip_token_signature_verify: true,
            allow_anonymous_connect_without_token: true,
            disallow_anonymous_connection_tokens: true,
            channel_limit: 90,
            user_connection_limit: 4,
            connection_limit: 5,
            per_address_connection_limit: 6,
            expired_close_delay: Duration::from_secs(1),
            expired_sub_close_delay: Duration::from_secs(2),
            stale_close_delay: Duration::from_secs(3),
            ping_interval: Duration::from_secs(570),
            recovery_max_publication_limit: 7,
            history_max_publication_limit: 8,
            connect_include_server_time: true,
            subscribe_to_user_personal_channel: personal.clone(),
            token: token.clone(),
            subscription_token: subscription_token.clone(),
        };
        assert_eq!(config.client, expected);
        let http_api = HttpApiConfig { key: Some("h".to_owned()), insecure: true, error_mode: ErrorMode::Transport };
        assert_eq!(config.http_api, http_api);
        let own = config.namespace_of(&name("own:x")).unwrap();
        assert_eq!(own.history_meta_ttl, Duration::from_hours(2), "the namespaces' default");
        assert_eq!(own.publication_data_format, DataFormat::JsonObject);
        assert!(own.insecure);
        assert_eq!(config.namespace_of(&name("x")).unwrap().publication_data_format, DataFormat::Json);
    }

    #[test]
    fn a_personal_channel_without_a_namespace_is_the_user_s_name_after_a_hash() {
        let json = r#"{"client":{"subscribe_to_user_personal_channel":{"enabled":true}}}"#;
        let config = ChannelsConfig::parse(json).unwrap();
        assert_eq!(config.personal_channel("anna"), Some(name("#anna")));
        assert_eq!(config.personal_channel(&"x".repeat(255)), None);
        assert_eq!(ChannelsConfig::default().personal_channel("anna"), None);
    }

    #[test]
    fn an_unknown_option_is_named_with_its_whole_path() {
        assert_eq!(
            in_namespace(r#""histroy_size":3"#),
            "channel.namespaces[chat].histroy_size: unknown option; is history_size meant?"
        );
        assert_eq!(in_namespace(r#""color":3"#), "channel.namespaces[chat].color: unknown option");
        assert_eq!(mistakes(r#"{"chanel":{}}"#), "chanel: unknown option; is channel meant?");
        assert_eq!(in_client(r#""token":{"hmac_key":"x"}"#), "client.token.hmac_key: unknown option");
        assert_eq!(
            mistakes(r#"{"channel":{"without_namespace":{"name":"x"}}}"#),
            "channel.without_namespace.name: unknown option"
        );
        assert_eq!(mistakes(r#"{"http_api":{"keys":[]}}"#), "http_api.keys: unknown option; is key meant?");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let json = r#"{
            "client": {"channel_limit": 91, "token": {"rsa_public_key": "x"}},
            "channel": {"namespaces": [
                {"name": "a", "history_ttl": "5 minutes"},
                {"name": "chat", "presense": true, "channel_regex": "("},
                {"name": "chat"},
                {"force_recovery": 1}
            ]},
            "redis": {"address": "x"}
        }"#;
        let error = ChannelsConfig::parse(json).unwrap_err();
        let text = error.to_string();
        let expected = [
            "redis: DynamoDB is the only store",
            "client.token.rsa_public_key: is not PEM",
            "client.channel_limit: a number from 1 to 90 is expected, not 91",
            r#"channel.namespaces[a].name: "a" must be 2 or more of"#,
            r#"channel.namespaces[a].history_ttl: a duration such as "30s" or "1h30m" is expected, not "5 minutes""#,
            r#"channel.namespaces[chat].channel_regex: "(" is not a regular expression"#,
            "channel.namespaces[chat].presense: unknown option; is presence meant?",
            "channel.namespaces[chat].name: is there twice",
            "channel.namespaces[3].name: missing",
            "channel.namespaces[3].force_recovery: true or false is expected, not 1",
        ];
        assert_eq!(text.lines().count(), expected.len(), "{text}");
        assert_eq!(error.mistakes().len(), expected.len());
        for (line, expected) in text.lines().zip(expected) {
            assert!(line.starts_with(expected), "{line}\n{expected}");
        }
    }

    #[test]
    fn contradictions_are_found() {
        let history = r#""history_size":10,"history_ttl":"60s""#;
        for (options, expected) in [
            (r#""force_recovery":true"#, "force_recovery: needs history_size and history_ttl"),
            (r#""allow_recovery":true"#, "allow_recovery: needs history_size and history_ttl"),
            (r#""force_positioning":true"#, "force_positioning: needs history_size and history_ttl"),
            (r#""allow_positioning":true"#, "allow_positioning: needs history_size and history_ttl"),
            (r#""force_recovery_mode":"cache""#, "force_recovery_mode: needs history_size and history_ttl"),
            (r#""history_size":10"#, "history_size: needs history_ttl: history has both or none"),
            (r#""history_ttl":"60s""#, "history_ttl: needs history_size: history has both or none"),
            (
                r#""history_size":1,"history_ttl":"2h","history_meta_ttl":"1h""#,
                "history_ttl: 2h0m0s is longer than history_meta_ttl, 1h0m0s",
            ),
            (r#""force_push_join_leave":true"#, "force_push_join_leave: needs join_leave"),
            (
                &format!(r#"{history},"allowed_delta_types":["fossil"]"#),
                "allowed_delta_types: needs positioning or recovery, forced or allowed",
            ),
            (
                &format!(r#"{history},"force_recovery":true,"delta_publish":true"#),
                "delta_publish: needs allowed_delta_types",
            ),
            (
                &format!(r#"{history},"force_recovery":true,"auto_cache_recover":true"#),
                "auto_cache_recover: needs force_recovery and force_recovery_mode \"cache\"",
            ),
        ] {
            assert_eq!(in_namespace(options), format!("channel.namespaces[chat].{expected}"), "{options}");
        }
        assert_eq!(
            in_namespace(r#""allowed_delta_types":["fossil"],"allow_history_for_client":true"#),
            "channel.namespaces[chat].allowed_delta_types: needs history_size and history_ttl"
        );
        assert_eq!(
            mistakes(
                r#"{"channel":{"history_meta_ttl":"1m","without_namespace":{"history_size":1,"history_ttl":"1h"}}}"#
            ),
            "channel.without_namespace.history_ttl: 1h0m0s is longer than history_meta_ttl, 1m0s"
        );
        let personal = |options: &str| in_client(&format!(r#""subscribe_to_user_personal_channel":{{{options}}}"#));
        assert_eq!(
            personal(r#""enabled":true,"personal_channel_namespace":"own""#),
            "client.subscribe_to_user_personal_channel.personal_channel_namespace: there is no namespace \"own\""
        );
        assert_eq!(
            personal(r#""enabled":true,"single_connection":true"#),
            "client.subscribe_to_user_personal_channel.single_connection: needs channel.without_namespace.presence"
        );
        assert_eq!(
            in_client(r#""subscription_token":{"hmac_secret_key":"x"}"#),
            "client.subscription_token: has no effect without enabled"
        );
        assert_eq!(
            in_client(r#""subscription_token":{"enabled":true}"#),
            "client.subscription_token: needs hmac_secret_key, rsa_public_key, ecdsa_public_key, ed25519_public_key or \
             jwks_public_endpoint"
        );
        assert_eq!(
            in_client(r#""token":{"ed25519_public_key":"x"}"#),
            "client.token.ed25519_public_key: is not PEM (-----BEGIN PUBLIC KEY-----)"
        );
        assert_eq!(
            in_client(r#""token":{"issuer":"a","issuer_regex":"b"}"#),
            "client.token.issuer_regex: cannot be used together with issuer"
        );
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused() {
        for (options, expected) in [
            (r#""presence":"yes""#, "presence: true or false is expected, not \"yes\""),
            (r#""history_size":-1"#, "history_size: a number from 0 is expected, not -1"),
            (r#""history_size":1.5"#, "history_size: a number from 0 is expected, not 1.5"),
            (r#""history_ttl":60"#, "history_ttl: a duration such as \"30s\" or \"1h30m\" is expected, not 60"),
            (r#""history_ttl":"1500ms""#, "history_ttl: 1.5s is not in whole seconds"),
            (r#""history_ttl":"-5s""#, "history_ttl: a duration such as \"30s\" or \"1h30m\" is expected, not \"-5s\""),
            (r#""force_recovery_mode":"all""#, "force_recovery_mode: one of stream, cache is expected, not \"all\""),
            (r#""allowed_delta_types":["vcdiff"]"#, "allowed_delta_types: \"fossil\" is expected, not \"vcdiff\""),
            (r#""allowed_delta_types":"fossil""#, "allowed_delta_types: a list of texts is expected, not \"fossil\""),
            (r#""shards":0"#, "shards: a number from 1 to 100 is expected, not 0"),
            (
                r#""publication_data_format":"binary""#,
                "publication_data_format: one of json, json_object is expected, not \"binary\"",
            ),
            (
                r#""subscription_type":"map""#,
                "subscription_type: \"map\" cannot be had, only \"stream\": maps and shared polls are not served",
            ),
        ] {
            assert_eq!(in_namespace(options), format!("channel.namespaces[chat].{expected}"), "{options}");
        }
        assert_eq!(mistakes("[]"), "an object is expected, not []");
        assert_eq!(mistakes(r#"{"channel":{"namespaces":{}}}"#), "channel.namespaces: a list is expected, not {}");
        assert_eq!(
            mistakes(r#"{"channel":{"namespaces":["chat"]}}"#).lines().last(),
            Some("channel.namespaces[0]: an object is expected, not \"chat\"")
        );
        assert!(
            in_client(r#""ping_interval":"25s""#).starts_with("client.ping_interval: 25s is not from 9m0s to 1h0m0s")
        );
        assert!(in_client(r#""pong_timeout":"8s""#).starts_with("client.pong_timeout: \"8s\" cannot be had, only -1"));
        assert!(in_client(r#""allowed_origins":["example.org"]"#).contains("neither * nor an origin"));
        assert_eq!(
            in_client(r#""token":{"hmac_secret_key":["secret"]}"#),
            "client.token.hmac_secret_key: a text is expected, not a list"
        );
        assert!(in_client(r#""token":{"jwks_public_endpoint":"jwks"}"#).contains("not an http or https URL"));
        assert!(
            in_client(r#""token":{"jwks_public_endpoint":"https://x/{{tenant}}"}"#).contains("there are no templates")
        );
        assert!(in_client(r#""token":{"hmac_previous_secret_key_valid_until":-1}"#).contains("a time in Unix seconds"));
        assert!(in_client(r#""token":{"user_id_claim":"user.id"}"#).contains("user_id_claim"));
        assert!(in_client(r#""recovery_max_publication_limit":0"#).contains("a number from 1 is expected"));
        assert!(mistakes(r#"{"http_api":{"error_mode":"custom"}}"#).contains("one of transport is expected"));
    }

    #[test]
    fn options_that_cannot_be_served_are_refused_with_the_reason_unless_they_are_off() {
        for (options, reason) in [
            (r#""subscribe_proxy_enabled":true"#, "there are no proxies"),
            (r#""publish_proxy_name":"x""#, "there are no proxies"),
            (r#""map":{"mode":"ephemeral"}"#, "map subscriptions are not served"),
            (r#""shared_poll":{"mode":"versioned"}"#, "shared poll subscriptions are not served"),
            (r#""subscribe_cel":"true""#, "belongs to Centrifugo PRO"),
            (r#""batch_max_size":10"#, "belongs to Centrifugo PRO"),
        ] {
            let told = in_namespace(options);
            assert!(told.contains(reason) && told.lines().count() == 1, "{options}: {told}");
        }
        for (json, reason) in [
            (r#"{"proxies":[{"name":"x"}]}"#, "there are no proxies"),
            (r#"{"sockjs":{"enabled":true}}"#, "SockJS is not served"),
            (r#"{"client":{"proxy":{"connect":{"enabled":true}}}}"#, "there are no proxies"),
            (r#"{"client":{"connection_rate_limit":100}}"#, "connections per second cannot be counted"),
            (r#"{"channel":{"max_length":100}}"#, "channel.max_length: 100 cannot be had, only 255"),
            (r#"{"http_api":{"handler_prefix":"/v1"}}"#, "http_api.handler_prefix: \"/v1\" cannot be had"),
        ] {
            let told = mistakes(json);
            assert!(told.contains(reason) && told.lines().count() == 1, "{json}: {told}");
        }
        let off = r#"{"client":{"proxy":{"connect":{"enabled":false}},"connection_rate_limit":0},"map_broker":{},
            "proxies":[],"channel":{"max_length":255,"without_namespace":{"subscribe_proxy_enabled":false,"map":null}}}"#;
        assert_eq!(mistakes(off), "");
    }

    /// Fails too when an option is listed as not served and read all the same.
    #[test]
    fn each_option_that_is_not_served_is_refused_with_its_own_reason() {
        let (client, token) = ((r#"{"client":{"#, "}}"), (r#"{"client":{"token":{"#, "}}}"));
        let (channel, http_api) = ((r#"{"channel":{"#, "}}"), (r#"{"http_api":{"#, "}}"));
        let namespace = (r#"{"channel":{"without_namespace":{"#, "}}}");
        for ((before, after), unserved) in [
            (("{", "}"), unserved::TOP),
            (client, unserved::CLIENT),
            (token, unserved::TOKEN),
            (channel, unserved::CHANNEL),
            (namespace, unserved::NAMESPACE),
            (http_api, unserved::HTTP_API),
        ] {
            for (option, reason) in unserved {
                let told = mistakes(&format!(r#"{before}"{option}":true{after}"#));
                assert!(told.ends_with(&format!("{option}: {reason}")), "{told}");
                assert_eq!(told.lines().count(), 1, "{told}");
                assert_eq!(mistakes(&format!(r#"{before}"{option}":false{after}"#)), "");
            }
        }
    }

    #[test]
    fn an_option_that_is_there_twice_is_refused() {
        let told = mistakes("{\"client\":{\n\"insecure\":true,\n\"insecure\":false}}");
        assert_eq!(told, "cannot be read: insecure is there twice at line 3 column 10");
    }

    #[test]
    fn what_is_no_json_is_told_with_its_line() {
        assert!(mistakes("{\n,}").starts_with("cannot be read: key must be a string at line 2"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = ChannelsConfig::parse(&text);
        }

        /// Every option with values of every kind, where it belongs and where it does not.
        #[test]
        fn no_configuration_makes_the_parser_panic(
            options in prop::collection::vec((
                prop::sample::select(vec!["client", "channel", "http_api", "without_namespace", "namespaces"]),
                prop::sample::select(vec![
                    "name", "presence", "history_size", "history_ttl", "history_meta_ttl", "force_recovery", "channel_regex",
                    "allowed_delta_types", "publication_data_format", "shards", "channel_limit", "allowed_origins", "token",
                    "subscription_token", "ping_interval", "pong_timeout", "key", "error_mode", "proxy", "max_length",
                    "subscribe_to_user_personal_channel", "namespaces", "without_namespace", "histroy_size", "",
                ]),
                prop::sample::select(vec![
                    "null", "true", "0", "-1", "1e400", "1.5", "18446744073709551615", "\"\"", "\"x\"", "\"5s\"", "\"((\"",
                    "[]", "[null]", "[\"fossil\"]", "{}", "{\"enabled\":true}", "[{\"name\":\"ab\"}]", "\"9223372036854775807h\"",
                ]),
            ), 0..12),
        ) {
            let part = |section: &str| {
                let inside = options.iter().filter(|(place, ..)| *place == section);
                inside.map(|(_, option, value)| format!("\"{option}\":{value}")).collect::<Vec<_>>().join(",")
            };
            let json = format!(
                r#"{{"client":{{{}}},"http_api":{{{}}},"channel":{{"without_namespace":{{{}}},"namespaces":[{{{}}}]}}}}"#,
                part("client"), part("http_api"), part("without_namespace"), part("namespaces"),
            );
            let _ = ChannelsConfig::parse(&json);
        }
    }
}
