use serde::{Deserialize, Serialize};

use crate::{Host, Tag};

/// Values of the items of one host, as one POST of a connector told them.
///
/// They are no state: nothing is merged, and nothing but the viewers gets them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemValues {
    /// Idempotency key: the same values of the same host always have the same id, however often Zabbix repeats its
    /// POST.
    pub id: String,
    /// A connector does not tell a host's id: it is empty.
    pub host: Host,
    /// Host groups, sorted.
    #[serde(default)]
    pub groups: Vec<String>,
    /// In the order of the POST, which is that of their times; never empty.
    pub values: Vec<ItemValue>,
    /// When we accepted them, unix milliseconds.
    pub accepted_at_ms: i64,
}

/// One value of one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemValue {
    /// Item id.
    pub item_id: String,
    /// The item's name.
    pub name: String,
    /// When it was measured, unix seconds.
    pub clock: i64,
    /// Nanoseconds after `clock`.
    pub ns: u32,
    /// A number for the types 0 and 3, text for the others.
    pub value: Value,
    /// Type of information: 0 numeric (float), 1 character, 2 log, 3 numeric (unsigned), 4 text.
    #[serde(rename = "type")]
    pub value_type: u8,
    /// The item's tags, sorted.
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// What an item has measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// A whole number, 0 or more; a float that is one, too.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// Character, text, a line of a log.
    Text(String),
}
