//! Payloads of the bus and the queues. Pure data: producer and consumer share these types, nobody else defines them.
//!
//! On the bus a [`StatusChanged`] is the `detail` of an EventBridge event with source [`SOURCE`] and detail type
//! [`STATUS_CHANGED`]; the record queue carries that whole EventBridge event as its message body ([`BusEvent`]).

mod status_changed;

pub use status_changed::{ChangeKind, Detail, Host, Maintenance, Observed, Recovery, StatusChanged, Suppression, Tag, Update};

use serde::{Deserialize, Serialize};

/// EventBridge `source` of everything that comes from Zabbix.
pub const SOURCE: &str = "signalbox.zabbix";

/// EventBridge `detail-type` of a [`StatusChanged`].
pub const STATUS_CHANGED: &str = "StatusChanged";

/// The parts of an EventBridge event that a queue consumer needs (EventBridge user guide, "Event structure").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BusEvent<T> {
    /// EventBridge's own id: a new one at each `PutEvents`, so never an idempotency key.
    pub id: String,
    /// For example [`STATUS_CHANGED`].
    #[serde(rename = "detail-type")]
    pub detail_type: String,
    /// For example [`SOURCE`].
    pub source: String,
    /// The payload.
    pub detail: T,
}
