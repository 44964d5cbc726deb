use std::time::Duration;

use serde_json::json;

use crate::{Regex, duration, section::Section, unserved};

/// More channels than this on one connection make a frame of more than API Gateway's 32 KB when centrifuge-js subscribes to all
/// of them again with a token each.
const MAX_CHANNEL_LIMIT: u32 = 90;
/// `keeper` pings each connection every 8 minutes; a client must not take it for dead before.
const MIN_PING_INTERVAL: Duration = Duration::from_mins(9);
const MAX_PING_INTERVAL: Duration = Duration::from_hours(1);

/// `client.*`
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Centrifugo's options
pub struct ClientConfig {
    /// Origins whose pages may connect, besides those of the parameter `AllowedOrigins`; `*` stands for any text.
    pub allowed_origins: Vec<String>,
    /// Who connects without a token is let in as anonymous, nothing is forbidden (but private channels), and connections do not
    /// expire. For tests alone.
    pub insecure: bool,
    /// Tokens are read but not verified. For tests alone.
    pub insecure_skip_token_signature_verify: bool,
    /// Who connects without a token is let in as anonymous.
    pub allow_anonymous_connect_without_token: bool,
    /// A token without a user is refused (3507).
    pub disallow_anonymous_connection_tokens: bool,
    /// Channels on one connection, 1 to 90. Ours is 64, Centrifugo's 128.
    pub channel_limit: u32,
    /// Connections of one user in all; 0 = any number.
    pub user_connection_limit: u32,
    /// Connections in all, where Centrifugo counts each node's; 0 = any number. Counted every 10 s at most, so sockets that open
    /// at the same moment may exceed it.
    pub connection_limit: u32,
    /// Ours: connections from one address; 0 = any number.
    pub per_address_connection_limit: u32,
    /// How long a connection whose token has expired may still refresh it.
    pub expired_close_delay: Duration,
    /// How long a subscription whose token has expired may still refresh it.
    pub expired_sub_close_delay: Duration,
    /// How long a socket may be silent before its `connect`.
    pub stale_close_delay: Duration,
    /// What clients are told of the interval of pings; `keeper` sends one every 8 minutes. Ours is 10 minutes (Centrifugo's 25 s),
    /// 9 to 60 minutes.
    pub ping_interval: Duration,
    /// Publications that a recovery may bring; more are not recovered. From 1.
    pub recovery_max_publication_limit: u32,
    /// Publications on one page of history. From 1.
    pub history_max_publication_limit: u32,
    /// The connect reply has the server's time.
    pub connect_include_server_time: bool,
    /// A channel of the user's own at connect.
    pub subscribe_to_user_personal_channel: PersonalChannel,
    /// How connection tokens are verified, and subscription tokens where `subscription_token` is not enabled.
    pub token: TokenConfig,
    /// How subscription tokens are verified; `None` unless `client.subscription_token.enabled`.
    pub subscription_token: Option<TokenConfig>,
}

/// `client.subscribe_to_user_personal_channel`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PersonalChannel {
    /// Whether users are subscribed.
    pub enabled: bool,
    /// Where the channel is; empty = `#user` without a namespace.
    pub personal_channel_namespace: String,
    /// A user's new connection ends the older ones (3504). Needs presence in the namespace, as in Centrifugo.
    pub single_connection: bool,
}

/// `client.token`, `client.subscription_token`. Absent ones are `None`; keys may also come from the stack's parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenConfig {
    /// HS256, HS384, HS512.
    pub hmac_secret_key: Option<String>,
    /// The key before, while tokens signed with it live.
    pub hmac_previous_secret_key: Option<String>,
    /// Unix seconds until when it counts; 0 = for ever.
    pub hmac_previous_secret_key_valid_until: i64,
    /// RS256, RS384, RS512: PEM.
    pub rsa_public_key: Option<String>,
    /// ES256, ES384, ES512: PEM.
    pub ecdsa_public_key: Option<String>,
    /// Ours: `EdDSA` with Ed25519: PEM. Centrifugo knows such keys from a JWKS alone.
    pub ed25519_public_key: Option<String>,
    /// URL of a JWKS: RS, ES and `EdDSA`.
    pub jwks_public_endpoint: Option<String>,
    /// The `aud` that tokens must have among theirs.
    pub audience: Option<String>,
    /// What one `aud` must match.
    pub audience_regex: Option<Regex>,
    /// The `iss` that tokens must have.
    pub issuer: Option<String>,
    /// What `iss` must match.
    pub issuer_regex: Option<Regex>,
    /// The claim that names the user; `None` = `sub`.
    pub user_id_claim: Option<String>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            insecure: false,
            insecure_skip_token_signature_verify: false,
            allow_anonymous_connect_without_token: false,
            disallow_anonymous_connection_tokens: false,
            channel_limit: 64,
            user_connection_limit: 0,
            connection_limit: 0,
            per_address_connection_limit: 0,
            expired_close_delay: Duration::from_secs(25),
            expired_sub_close_delay: Duration::from_secs(25),
            stale_close_delay: Duration::from_secs(10),
            ping_interval: Duration::from_mins(10),
            recovery_max_publication_limit: 300,
            history_max_publication_limit: 300,
            connect_include_server_time: false,
            subscribe_to_user_personal_channel: PersonalChannel::default(),
            token: TokenConfig::default(),
            subscription_token: None,
        }
    }
}

impl ClientConfig {
    /// Whether pages of an origin may connect by `allowed_origins`, which is empty by default.
    pub fn allows_origin(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.allowed_origins.iter().any(|pattern| matches_pattern(&pattern.to_ascii_lowercase(), &origin))
    }

    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        section.refuse(unserved::CLIENT);
        // it has a meaning where one process serves a connection
        section.number("concurrency", 0, 0..=u32::MAX);
        section.fixed(
            "pong_timeout",
            &json!(-1),
            "pongs are not asked for, each would be an invocation; dead connections are found by the next post",
        );
        let personal = PersonalChannel::read(section.section("subscribe_to_user_personal_channel"));
        let token = TokenConfig::read(section.section("token"));
        let mut own = section.section("subscription_token");
        let enabled = own.flag("enabled");
        let subscription_token = TokenConfig::read(own);
        if !enabled && subscription_token != TokenConfig::default() {
            section.mistake("subscription_token", "has no effect without enabled");
        }
        if enabled && !subscription_token.has_key() {
            section.mistake(
                "subscription_token",
                "needs hmac_secret_key, rsa_public_key, ecdsa_public_key, ed25519_public_key or jwks_public_endpoint",
            );
        }
        let client = Self {
            allowed_origins: section.texts("allowed_origins"),
            insecure: section.flag("insecure"),
            insecure_skip_token_signature_verify: section.flag("insecure_skip_token_signature_verify"),
            allow_anonymous_connect_without_token: section.flag("allow_anonymous_connect_without_token"),
            disallow_anonymous_connection_tokens: section.flag("disallow_anonymous_connection_tokens"),
            channel_limit: section.number("channel_limit", default.channel_limit, 1..=MAX_CHANNEL_LIMIT),
            user_connection_limit: section.number("user_connection_limit", 0, 0..=u32::MAX),
            connection_limit: section.number("connection_limit", 0, 0..=u32::MAX),
            per_address_connection_limit: section.number("per_address_connection_limit", 0, 0..=u32::MAX),
            expired_close_delay: section.duration("expired_close_delay", default.expired_close_delay),
            expired_sub_close_delay: section.duration("expired_sub_close_delay", default.expired_sub_close_delay),
            stale_close_delay: section.duration("stale_close_delay", default.stale_close_delay),
            ping_interval: section.duration("ping_interval", default.ping_interval),
            recovery_max_publication_limit: section.number("recovery_max_publication_limit", 300, 1..=u32::MAX),
            history_max_publication_limit: section.number("history_max_publication_limit", 300, 1..=u32::MAX),
            connect_include_server_time: section.flag("connect_include_server_time"),
            subscribe_to_user_personal_channel: personal,
            token,
            subscription_token: Some(subscription_token).filter(|_| enabled),
        };
        client.check(&mut section);
        section.finish();
        client
    }

    fn check(&self, section: &mut Section<'_>) {
        if !(MIN_PING_INTERVAL..=MAX_PING_INTERVAL).contains(&self.ping_interval) {
            let reason = format!(
                "{} is not from {} to {}: every connection is pinged once in 8 minutes, and API Gateway ends it after 10 idle ones",
                duration::format(self.ping_interval),
                duration::format(MIN_PING_INTERVAL),
                duration::format(MAX_PING_INTERVAL),
            );
            section.mistake("ping_interval", reason);
        }
        for origin in &self.allowed_origins {
            let bare = origin.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
            if origin.contains(['?', '[', '{', '\\', ' ']) || !(origin == "*" || bare) {
                let reason = format!("{origin:?} is neither * nor an origin such as https://*.example.org");
                section.mistake("allowed_origins", reason);
            }
        }
    }
}

impl PersonalChannel {
    fn read(mut section: Section<'_>) -> Self {
        let personal = Self {
            enabled: section.flag("enabled"),
            personal_channel_namespace: section.text("personal_channel_namespace").unwrap_or_default(),
            single_connection: section.flag("single_connection"),
        };
        section.finish();
        personal
    }
}

impl TokenConfig {
    /// Whether any token can be verified.
    pub fn has_key(&self) -> bool {
        let Self {
            hmac_secret_key, rsa_public_key, ecdsa_public_key, ed25519_public_key, jwks_public_endpoint, ..
        } = self;
        [hmac_secret_key, rsa_public_key, ecdsa_public_key, ed25519_public_key, jwks_public_endpoint]
            .into_iter()
            .any(Option::is_some)
    }

    fn read(mut section: Section<'_>) -> Self {
        section.refuse(unserved::TOKEN);
        let valid_until = match section.take("hmac_previous_secret_key_valid_until") {
            None => 0,
            Some(value) => value.as_i64().filter(|seconds| *seconds >= 0).unwrap_or_else(|| {
                let reason = format!("a time in Unix seconds is expected, not {value}");
                section.mistake("hmac_previous_secret_key_valid_until", reason);
                0
            }),
        };
        let token = Self {
            hmac_secret_key: section.text("hmac_secret_key"),
            hmac_previous_secret_key: section.text("hmac_previous_secret_key"),
            hmac_previous_secret_key_valid_until: valid_until,
            rsa_public_key: section.text("rsa_public_key"),
            ecdsa_public_key: section.text("ecdsa_public_key"),
            ed25519_public_key: section.text("ed25519_public_key"),
            jwks_public_endpoint: section.text("jwks_public_endpoint"),
            audience: section.text("audience"),
            audience_regex: section.regex("audience_regex"),
            issuer: section.text("issuer"),
            issuer_regex: section.regex("issuer_regex"),
            user_id_claim: section.text("user_id_claim"),
        };
        token.check(&mut section);
        section.finish();
        token
    }

    fn check(&self, section: &mut Section<'_>) {
        let is_key = |pem: &String| pem.contains("-----BEGIN ") && pem.contains("-----END ");
        for (option, pem) in [
            ("rsa_public_key", &self.rsa_public_key),
            ("ecdsa_public_key", &self.ecdsa_public_key),
            ("ed25519_public_key", &self.ed25519_public_key),
        ] {
            if pem.as_ref().is_some_and(|pem| !is_key(pem)) {
                section.mistake(option, "is not PEM (-----BEGIN PUBLIC KEY-----)");
            }
        }
        let is_url = |url: &String| url.starts_with("https://") || url.starts_with("http://");
        if self.jwks_public_endpoint.as_ref().is_some_and(|url| !is_url(url)) {
            section.mistake("jwks_public_endpoint", "is not an http or https URL");
        }
        if self.jwks_public_endpoint.as_ref().is_some_and(|url| url.contains("{{")) {
            section.mistake("jwks_public_endpoint", "there are no templates ({{…}}) here; one provider has one URL");
        }
        let is_claim = |claim: &String| claim.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if self.user_id_claim.as_ref().is_some_and(|claim| !is_claim(claim)) {
            section.mistake("user_id_claim", "may have the characters a-z, A-Z and _");
        }
        for (option, regex, other, text) in [
            ("audience_regex", &self.audience_regex, "audience", &self.audience),
            ("issuer_regex", &self.issuer_regex, "issuer", &self.issuer),
        ] {
            if regex.is_some() && text.is_some() {
                section.mistake(option, format!("cannot be used together with {other}"));
            }
        }
    }
}

/// `*` stands for any text, none included.
fn matches_pattern(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    // the shortest stretch for each part but the last, which is at the end
    let mut rest = rest;
    let mut parts = tail.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_matched_with_stars() {
        for (pattern, origin, expected) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://A.EXAMPLE", true),
            ("https://a.example", "https://a.example.evil", false),
            ("https://*.example", "https://b.a.example", true),
            ("https://*.example", "https://example", false),
            ("https://*.example", "https://a.example.evil", false),
            ("https://a.*.b.*", "https://a.x.b.y", true),
            ("https://a.*.b.*", "https://a.x.c.y", false),
            ("*", "null", true),
            ("https://aa*aa", "https://aaa", false),
        ] {
            let client = ClientConfig { allowed_origins: vec![pattern.to_owned()], ..ClientConfig::default() };
            assert_eq!(client.allows_origin(origin), expected, "{pattern} {origin}");
        }
        assert!(!ClientConfig::default().allows_origin("https://a.example"));
    }
}
