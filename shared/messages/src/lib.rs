//! Payloads of the bus and the queues. Pure data: producer and consumer share these types, nobody else defines them.
//!
//! On the bus a [`StatusChanged`] is the `detail` of an EventBridge event with source [`SOURCE`] and detail type
//! [`STATUS_CHANGED`]; the record queue carries that whole EventBridge event as its message body ([`BusEvent`]).
//! [`ItemValues`] have the detail type [`ITEM_VALUES`] and go to the router alone.

mod action;
mod host_changed;
mod item_values;
mod status_changed;
mod zabbix_seen;

pub use action::{Action, ActionRefused, ActionRequest, MAX_COMMENT_CHARS};
pub use host_changed::{HostChanged, HostState, Unavailable};
pub use item_values::{ItemValue, ItemValues, Value};
pub use status_changed::{
    ChangeKind, Detail, Host, Maintenance, Observed, Place, Recovery, StatusChanged, Suppression, Tag, Update,
};
pub use zabbix_seen::{PollFailure, ZabbixSeen};

use serde::{Deserialize, Serialize};

/// EventBridge `source` of everything that comes from Zabbix.
pub const SOURCE: &str = "signalbox.zabbix";

/// EventBridge `detail-type` of a [`StatusChanged`].
pub const STATUS_CHANGED: &str = "StatusChanged";

/// EventBridge `detail-type` of a [`ZabbixSeen`].
pub const ZABBIX_SEEN: &str = "ZabbixSeen";

/// EventBridge `detail-type` of a [`HostChanged`].
pub const HOST_CHANGED: &str = "HostChanged";

/// EventBridge `detail-type` of an [`ActionRefused`].
pub const ACTION_REFUSED: &str = "ActionRefused";

/// EventBridge `detail-type` of [`ItemValues`].
pub const ITEM_VALUES: &str = "ItemValues";

/// What can be put on the bus.
pub trait BusDetail: Serialize {
    /// For example [`STATUS_CHANGED`].
    const DETAIL_TYPE: &'static str;
}

impl BusDetail for StatusChanged {
    const DETAIL_TYPE: &'static str = STATUS_CHANGED;
}

impl BusDetail for ZabbixSeen {
    const DETAIL_TYPE: &'static str = ZABBIX_SEEN;
}

impl BusDetail for HostChanged {
    const DETAIL_TYPE: &'static str = HOST_CHANGED;
}

impl BusDetail for ActionRefused {
    const DETAIL_TYPE: &'static str = ACTION_REFUSED;
}

impl BusDetail for ItemValues {
    const DETAIL_TYPE: &'static str = ITEM_VALUES;
}

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
