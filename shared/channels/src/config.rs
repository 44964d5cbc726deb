use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use crate::ChannelName;

/// Options of a namespace, named as in Centrifugo's configuration ("Channel and namespaces").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools)] // Centrifugo's options
pub struct Namespace {
    /// Publications kept for recovery; 0 = no history.
    pub history_size: u32,
    /// How long a publication is kept, as `30s`, `5m`, `1h`.
    #[serde(deserialize_with = "duration")]
    pub history_ttl: Duration,
    /// How long a quiet channel's offset and epoch are kept.
    #[serde(deserialize_with = "duration")]
    pub history_meta_ttl: Duration,
    /// Every subscription has a position.
    pub force_positioning: bool,
    /// A client may ask for a position.
    pub allow_positioning: bool,
    /// Every subscription can recover.
    pub force_recovery: bool,
    /// A client may ask for recovery.
    pub allow_recovery: bool,
    /// Any authenticated client may subscribe.
    pub allow_subscribe_for_client: bool,
    /// So may anonymous ones; only adds to `allow_subscribe_for_client`.
    pub allow_subscribe_for_anonymous: bool,
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            history_size: 0,
            history_ttl: Duration::ZERO,
            history_meta_ttl: Duration::from_hours(30 * 24),
            force_positioning: false,
            allow_positioning: false,
            force_recovery: false,
            allow_recovery: false,
            allow_subscribe_for_client: false,
            allow_subscribe_for_anonymous: false,
        }
    }
}

impl Namespace {
    /// History needs a size and a time.
    pub fn has_history(&self) -> bool {
        self.history_size > 0 && !self.history_ttl.is_zero()
    }

    /// Whether a user (empty = anonymous) may subscribe without a subscription token.
    pub fn may_subscribe(&self, user: &str) -> bool {
        self.allow_subscribe_for_client && (!user.is_empty() || self.allow_subscribe_for_anonymous)
    }
}

/// The namespaces of `channels.json`.
#[derive(Debug, Clone, Default)]
pub struct ChannelsConfig {
    without_namespace: Namespace,
    namespaces: BTreeMap<String, Namespace>,
}

/// A `channels.json` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not JSON, or not this shape; the message has line and column.
    #[error("channels.json: {0}")]
    Shape(#[from] serde_json::Error),
    /// A namespace that cannot be addressed.
    #[error("channels.json: channel.namespaces: name {0:?} must be at least 2 of a-z, A-Z, 0-9, _ and -")]
    Name(String),
    /// Two of one name.
    #[error("channels.json: channel.namespaces: {0:?} is there twice")]
    Duplicate(String),
    /// Recovery without something to recover from.
    #[error("channels.json: {0}: positioning and recovery need history_size and history_ttl")]
    NoHistory(String),
}

impl ChannelsConfig {
    /// Reads `channels.json`.
    pub fn parse(json: &str) -> Result<Self, ConfigError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default)]
            channel: Channel,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Channel {
            without_namespace: Namespace,
            namespaces: Vec<serde_json::Map<String, serde_json::Value>>,
        }

        let File { channel } = serde_json::from_str(json)?;
        check("channel.without_namespace", &channel.without_namespace)?;
        let mut namespaces = BTreeMap::new();
        // serde cannot both flatten and deny unknown fields: the name is taken out first
        for mut options in channel.namespaces {
            let Some(serde_json::Value::String(name)) = options.remove("name") else {
                return Err(ConfigError::Name(String::new()));
            };
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            if name.len() < 2 || !name.bytes().all(allowed) {
                return Err(ConfigError::Name(name));
            }
            let namespace: Namespace = serde_json::from_value(serde_json::Value::Object(options))
                .map_err(|cause| serde_json::Error::custom(format!("channel.namespaces[{name}]: {cause}")))?;
            check(&name, &namespace)?;
            if namespaces.insert(name.clone(), namespace).is_some() {
                return Err(ConfigError::Duplicate(name));
            }
        }
        Ok(Self { without_namespace: channel.without_namespace, namespaces })
    }

    /// The options that hold for a channel; `None` when it names a namespace that does not exist (error 102).
    pub fn namespace_of(&self, channel: &ChannelName) -> Option<&Namespace> {
        match channel.namespace() {
            None => Some(&self.without_namespace),
            Some(name) => self.namespaces.get(name),
        }
    }
}

fn check(path: &str, namespace: &Namespace) -> Result<(), ConfigError> {
    let positioned = namespace.force_positioning
        || namespace.allow_positioning
        || namespace.force_recovery
        || namespace.allow_recovery;
    if positioned && !namespace.has_history() { Err(ConfigError::NoHistory(path.to_owned())) } else { Ok(()) }
}

/// Go's duration strings as far as people write them by hand: one number and one unit (`ms`, `s`, `m`, `h`).
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let invalid = || D::Error::custom(format!("{text:?} is not a duration such as 30s, 5m or 1h"));
    let number: u64 = digits.parse().map_err(|_| invalid())?;
    let milliseconds = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(invalid()),
    };
    number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_s_own_channels_are_valid() {
        let config = ChannelsConfig::parse(include_str!("../../../channels.json")).unwrap();
        let status = config.namespace_of(&ChannelName::parse("status:all").unwrap()).unwrap();
        assert!(status.has_history() && status.force_recovery);
        assert!(status.may_subscribe("anna") && status.may_subscribe(""));
        assert!(config.namespace_of(&ChannelName::parse("nothing:x").unwrap()).is_none());
        let bare = config.namespace_of(&ChannelName::parse("x").unwrap()).unwrap();
        assert!(!bare.may_subscribe("anna"), "nothing is allowed that was not configured");
    }

    #[test]
    fn a_mistake_is_named() {
        let message = |json: &str| ChannelsConfig::parse(json).unwrap_err().to_string();
        let in_namespace =
            |option: &str| message(&format!(r#"{{"channel":{{"namespaces":[{{"name":"chat",{option}}}]}}}}"#));
        assert!(in_namespace(r#""histroy_size":3"#).contains("histroy_size"));
        assert!(in_namespace(r#""histroy_size":3"#).contains("namespaces[chat]"));
        assert!(in_namespace(r#""history_ttl":"5 minutes""#).contains("5 minutes"));
        assert!(in_namespace(r#""force_recovery":true"#).contains("chat"));
        assert!(message(r#"{"channel":{"namespaces":[{"name":"a"}]}}"#).contains("\"a\""));
        assert!(message(r#"{"chanel":{}}"#).contains("chanel"));
        assert!(message(r#"{"channel":{"namespaces":[{"name":"ab"},{"name":"ab"}]}}"#).contains("twice"));
    }
}
