//! The objects of Zabbix's API as it answers them, 6.0 to 7.2; the client is `signalbox-zabbix-api`.
//!
//! Every number is a string there, "0" for an id means that there is none, and some empty objects are `[]` (Zabbix
//! notes, 4). What a version does not know (`cause_eventid` before 6.4, suppression by hand before 6.2) has its default
//! here.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use signalbox_messages::Tag;

/// An event, from `event.get`; a problem of `problem.get` is its event too, without [`Event::value`] and
/// [`Event::hosts`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Event {
    /// Digits.
    #[serde(deserialize_with = "id")]
    pub eventid: String,
    /// 0 a trigger's, 3 internal.
    #[serde(default, deserialize_with = "number")]
    pub source: u8,
    /// Id of the trigger.
    #[serde(deserialize_with = "id")]
    pub objectid: String,
    /// Unix seconds of the value that made it: not the order of events.
    #[serde(deserialize_with = "number")]
    pub clock: i64,
    /// False for a recovery; `problem.get` lists problems alone and has no such field.
    #[serde(default = "yes", deserialize_with = "flag")]
    pub value: bool,
    /// The event that ended it.
    #[serde(default, deserialize_with = "reference")]
    pub r_eventid: Option<String>,
    /// Of a recovery it is the problem's, of an internal event the error.
    #[serde(default)]
    pub name: String,
    /// 0 to 5 as it is now; a recovery's and an internal event's is 0.
    #[serde(default, deserialize_with = "number")]
    pub severity: u8,
    /// As it is now.
    #[serde(default, deserialize_with = "flag")]
    pub acknowledged: bool,
    /// Operational data, as it would read now.
    #[serde(default)]
    pub opdata: String,
    /// The cause that it is ranked under (6.4).
    #[serde(default, deserialize_with = "reference")]
    pub cause_eventid: Option<String>,
    /// The update history, in no certain order.
    #[serde(default)]
    pub acknowledges: Vec<Acknowledge>,
    /// What suppresses it at present.
    #[serde(default)]
    pub suppression_data: Vec<SuppressionData>,
    /// In no certain order.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// `event.get` with `selectHosts` alone.
    #[serde(default)]
    pub hosts: Vec<HostName>,
}

/// An entry of a problem's update history.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Acknowledge {
    /// Digits.
    #[serde(deserialize_with = "id")]
    pub acknowledgeid: String,
    /// Unix seconds.
    #[serde(deserialize_with = "number")]
    pub clock: i64,
    /// Comment, may be empty.
    #[serde(default)]
    pub message: String,
    /// A bit mask, see [`crate::action`].
    #[serde(deserialize_with = "number")]
    pub action: u32,
    /// 0 to 5, if it changed the severity.
    #[serde(default, deserialize_with = "number")]
    pub old_severity: u8,
    /// 0 to 5, if it changed the severity.
    #[serde(default, deserialize_with = "number")]
    pub new_severity: u8,
    /// Unix seconds, if it suppressed; 0 = until further notice.
    #[serde(default, deserialize_with = "number")]
    pub suppress_until: i64,
    /// Login name; `event.get` alone tells it.
    #[serde(default)]
    pub username: Option<String>,
    /// First name, may be empty.
    #[serde(default)]
    pub name: Option<String>,
    /// Last name, may be empty.
    #[serde(default)]
    pub surname: Option<String>,
}

/// One suppression of a problem.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct SuppressionData {
    /// Absent when somebody suppressed it by hand.
    #[serde(default, deserialize_with = "reference")]
    pub maintenanceid: Option<String>,
    /// Unix seconds; 0 = until further notice.
    #[serde(default, deserialize_with = "number")]
    pub suppress_until: i64,
}

/// A host as other objects name it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct HostName {
    /// Digits.
    #[serde(deserialize_with = "id")]
    pub hostid: String,
    /// Technical name.
    #[serde(default)]
    pub host: String,
    /// Visible name.
    #[serde(default)]
    pub name: String,
}

/// A host group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct HostGroup {
    /// Full name, with `/` between its levels.
    pub name: String,
}

/// A trigger, from `trigger.get`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Trigger {
    /// Digits.
    #[serde(deserialize_with = "id")]
    pub triggerid: String,
    /// Its name, expanded.
    #[serde(default)]
    pub description: String,
    /// 0 to 5: of the trigger, while a problem's severity may have been changed.
    #[serde(default, deserialize_with = "number")]
    pub priority: u8,
    /// True while Zabbix cannot evaluate it.
    #[serde(default, deserialize_with = "flag")]
    pub state: bool,
    /// Why not.
    #[serde(default)]
    pub error: String,
    /// A runbook, often.
    #[serde(default)]
    pub url: String,
    /// Its hosts.
    #[serde(default)]
    pub hosts: Vec<HostName>,
    /// `groups` before 6.2.
    #[serde(default, alias = "groups")]
    pub hostgroups: Vec<HostGroup>,
}

/// A host, from `host.get`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Host {
    /// Digits.
    #[serde(deserialize_with = "id")]
    pub hostid: String,
    /// Technical name.
    #[serde(default)]
    pub host: String,
    /// Visible name.
    #[serde(default)]
    pub name: String,
    /// True when it is disabled.
    #[serde(default, deserialize_with = "flag")]
    pub status: bool,
    /// True while a maintenance is in effect.
    #[serde(default, deserialize_with = "flag")]
    pub maintenance_status: bool,
    /// That maintenance.
    #[serde(default, deserialize_with = "reference")]
    pub maintenanceid: Option<String>,
    /// Of active checks (6.2): 0 unknown, 1 available, 2 not available.
    #[serde(default, deserialize_with = "number")]
    pub active_available: u8,
    /// Its interfaces.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// `groups` before 6.2.
    #[serde(default, alias = "groups")]
    pub hostgroups: Vec<HostGroup>,
}

/// An interface of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Interface {
    /// Digits.
    #[serde(deserialize_with = "id")]
    pub interfaceid: String,
    /// 1 agent, 2 SNMP, 3 IPMI, 4 JMX.
    #[serde(rename = "type", default, deserialize_with = "number")]
    pub kind: u8,
    /// 0 unknown, 1 available, 2 not available. It takes some 45 s to become 2 (Zabbix notes, 4).
    #[serde(default, deserialize_with = "number")]
    pub available: u8,
    /// Why not.
    #[serde(default)]
    pub error: String,
}

/// A node of the server, from `hanode.get`: one also where there is no cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct HaNode {
    /// Empty without a cluster.
    #[serde(default)]
    pub name: String,
    /// Unix seconds by the server's clock; renewed every 5 s, also by a standby. A frozen server leaves it to age.
    #[serde(deserialize_with = "number")]
    pub lastaccess: i64,
    /// 0 standby, 1 stopped, 2 unavailable, 3 active; still 3 when the server is frozen.
    #[serde(deserialize_with = "number")]
    pub status: u8,
}

/// An item, from `item.get`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Item {
    /// Digits.
    #[serde(deserialize_with = "id")]
    pub itemid: String,
    /// Unix seconds of its last value; 0 = none yet.
    #[serde(default, deserialize_with = "number")]
    pub lastclock: i64,
}

fn yes() -> bool {
    true
}

/// A number in a string, or a bare one as some answers have it (`event.acknowledge`).
fn digits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Ok("0".to_owned()),
        _ => Err(D::Error::custom("expected a number")),
    }
}

fn number<'de, D: Deserializer<'de>, N: FromStr>(deserializer: D) -> Result<N, D::Error> {
    digits(deserializer)?.parse().map_err(|_| D::Error::custom("a number is out of range"))
}

fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(digits(deserializer)? != "0")
}

/// Zabbix's ids are unsigned 64-bit numbers; one is written in one way, for it is a key.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    number::<D, u64>(deserializer).map(|id| id.to_string())
}

fn reference<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    id(deserializer).map(|id| Some(id).filter(|id| id != "0"))
}
