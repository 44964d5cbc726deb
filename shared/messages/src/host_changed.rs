use serde::{Deserialize, Serialize};

use crate::Host;

/// A host is another than it was known to be, as a poll found it. Zabbix tells nobody (Zabbix notes, 3.11).
///
/// It may be late or come twice: of one host the one with the greatest `at_ms` is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostChanged {
    /// When it was polled, unix milliseconds of the poller.
    pub at_ms: i64,
    /// The host as it is called now.
    pub host: Host,
    /// Its host groups, sorted.
    pub groups: Vec<String>,
    /// How it is.
    pub state: HostState,
}

/// What is out of the ordinary about a host; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// Zabbix does not monitor it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Id of the maintenance that is in effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<String>,
    /// Ways to it that do not work at present.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<Unavailable>,
    /// Zabbix does not list it any more: it was deleted, or is out of sight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

impl HostState {
    /// Whether nothing is out of the ordinary.
    pub fn is_ordinary(&self) -> bool {
        *self == Self::default()
    }
}

/// An interface that Zabbix cannot reach.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unavailable {
    /// `agent`, `snmp`, `ipmi`, `jmx`, or `active` for an agent's active checks.
    pub interface: String,
    /// Zabbix's words, may be empty.
    pub error: String,
}
