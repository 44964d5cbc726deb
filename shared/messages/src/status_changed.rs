use serde::{Deserialize, Serialize};

/// One thing Zabbix said about one problem, from whichever way in it came (webhook, connector, poller).
///
/// Every message is complete in itself: merging any set of them, in any order and with repetitions, gives the same state
/// (`signalbox_zabbix::Problem`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChanged {
    /// Idempotency key: the same notification always has the same id, however often Zabbix retries it.
    pub id: String,
    /// What kind of notification it was.
    pub kind: ChangeKind,
    /// The **problem's** event id, also in recoveries and updates (`{EVENT.ID}`): the identity of the problem.
    pub event_id: String,
    /// `{EVENT.VALUE}`: true while the problem is there. The state comes from here, never from `kind`: a late update of a
    /// closed problem carries `false`. Once false for an event id it never becomes true again.
    pub problem: bool,
    /// When what this message tells became true, unix seconds: the order among the messages of one problem.
    pub at: i64,
    /// How many entries the problem's update history has if the message tells it (0 if not): whoever knows more of them is right,
    /// whatever the clocks say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seq: u32,
    /// The times are Zabbix's unix times (connector, poller), not what its clock on the wall showed (webhook).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    /// When the problem began, unix seconds.
    pub opened_at: i64,
    /// Present when `problem` is false and Zabbix named the recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// Present for [`ChangeKind::Update`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Update>,
    /// Present when the update suppressed or unsuppressed the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppression: Option<Suppression>,
    /// Present for [`ChangeKind::Observed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Observed>,
    /// What the problem looked like when Zabbix sent the message. [`Detail::default`], without a name, where a message tells nothing
    /// of it: a connector's recovery names the problem and no more.
    #[serde(default)]
    pub detail: Detail,
    /// When Zabbix sent it, unix milliseconds; a retry has a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at_ms: Option<i64>,
    /// When we accepted it, unix milliseconds: the start of the latency figures.
    pub accepted_at_ms: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// Kind of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The problem began.
    Problem,
    /// Acknowledged, commented, severity changed, suppressed, closed by hand …
    Update,
    /// The problem ended.
    Recovery,
    /// Zabbix cannot (or can again) evaluate a trigger (event source 3): not a problem.
    Internal,
    /// What Zabbix tells nobody, as a poll found it: [`Observed`].
    Observed,
}

impl ChangeKind {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Update => "update",
            Self::Recovery => "recovery",
            Self::Internal => "internal",
            Self::Observed => "observed",
        }
    }
}

/// How a problem ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Recovery {
    /// Unix seconds.
    pub at: i64,
    /// The recovery's own event id.
    pub event_id: String,
}

/// What somebody did to a problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Update {
    /// Unix seconds.
    pub at: i64,
    /// Zabbix's words, for example `acknowledged and commented`.
    pub action: String,
    /// The comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Full name, or "Inaccessible user" where the webhook's user may not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What becomes true of a problem without an event and without a notification (Zabbix notes, 3.11): only a poll finds it. All of it
/// together, as it was at the message's `at`, which is the poller's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Observed {
    /// A maintenance suppresses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Its trigger, its item or its host is disabled: Zabbix keeps the problem and shows it nowhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmonitored: bool,
    /// Why Zabbix cannot evaluate the trigger at present; the problem stays as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// The event id of the problem that it is a symptom of (6.4 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Zabbix does not list it any more and knows no recovery: its trigger or its host was deleted, or is out of sight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// The host and its groups as they are called now: they can be renamed and moved while the problem lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Where a problem is.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The host.
    pub host: Host,
    /// Host groups of the trigger's hosts, sorted.
    pub groups: Vec<String>,
}

/// A maintenance that suppresses a problem.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Maintenance {
    /// Maintenance id.
    pub id: String,
    /// Unix seconds; absent = until further notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// Suppression by hand. (Zabbix sends nothing when a maintenance starts or ends suppression: [`Observed`].)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Suppression {
    /// False after an unsuppress.
    pub suppressed: bool,
    /// Unix seconds; absent = until further notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// The describing part of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Detail {
    /// Problem name with macros expanded; the trigger's name for an internal event.
    pub name: String,
    /// 0 not classified, 1 information, 2 warning, 3 average, 4 high, 5 disaster.
    pub severity: u8,
    /// Acknowledged at the moment of sending.
    pub acknowledged: bool,
    /// Operational data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opdata: Option<String>,
    /// Why the trigger cannot be evaluated; internal events only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The host.
    pub host: Host,
    /// Host groups of the trigger's hosts, sorted.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Event tags, sorted.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Trigger id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_id: Option<String>,
    /// The trigger's URL (a runbook, often).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A monitored host.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Host {
    /// Zabbix host id.
    pub id: String,
    /// Technical name.
    pub host: String,
    /// Visible name.
    pub name: String,
}

/// An event tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// Name.
    pub tag: String,
    /// Value, may be empty.
    #[serde(default)]
    pub value: String,
}
