use serde::{Deserialize, Serialize};
use signalbox_messages::{ChangeKind, Detail, Host, Recovery, StatusChanged, Suppression, Tag, Update};

/// All we know about one problem: the join of every message about it.
///
/// Zabbix sends a problem's messages late, twice and out of order (a manual close delivers the recovery before or after
/// its own update, depending on the version). So this is a join-semilattice: merging the same set of messages in any order,
/// with any repetitions, gives the same value (but for `version`, which counts the changes on the way). Each part is a
/// register with its own rule:
///
/// | part | which message wins |
/// |---|---|
/// | detail (name, severity, acknowledged, host, tags …) | the last by (not the opening, `at`, `seq`, recovery before update, content) |
/// | state | resolved as soon as any message says so; an event id never opens again |
/// | recovery | the earliest by (`at`, event id); without a named one the earliest `at` of a message that says "over" |
/// | suppression | the last by (`at`, `seq`, content) of the updates that suppress or unsuppress |
/// | last update | the last by (`at`, `seq`, content) of the updates |
/// | `opened_at` | the earliest |
///
/// The opening message comes first by definition, whatever its time: `at` is then the time of the item's value, which may be
/// ahead of the server's clock, and a late one must not undo an acknowledgement. At the same second an update beats a
/// recovery, because it certainly tells what it did itself. Earliest times win because an unknown zone can only make times
/// too late ([`Zone::Auto`](crate::Zone::Auto)). Several problems of one trigger have different event ids and never meet here.
///
/// Stored as JSON: the status table and Postgres hold this, the world sees [`Problem::view`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    event_id: String,
    version: u64,
    kind: ProblemKind,
    opened_at: i64,
    /// Named by Zabbix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery: Option<Recovery>,
    /// A message said "over" without naming the recovery, at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over_at: Option<i64>,
    detail: Register<Detail>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suppression: Option<Register<Suppression>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_update: Option<Register<Update>>,
}

/// The greater of two wins: by stamp, then by content, so that no two messages tie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Register<T> {
    stamp: Stamp,
    value: T,
}

/// The order of messages about one problem; the order of the fields is the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Stamp {
    phase: Phase,
    /// Unix seconds.
    at: i64,
    /// Entries in the update history: orders updates of the same second.
    seq: u32,
    source: Source,
}

/// Whether a message is the one that opens the problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Opening,
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Event,
    Update,
}

impl Stamp {
    fn of(message: &StatusChanged) -> Self {
        let phase = match message.kind {
            ChangeKind::Problem => Phase::Opening,
            ChangeKind::Internal if message.problem => Phase::Opening,
            ChangeKind::Internal | ChangeKind::Update | ChangeKind::Recovery => Phase::Later,
        };
        let source = match message.kind {
            ChangeKind::Update => Source::Update,
            ChangeKind::Problem | ChangeKind::Recovery | ChangeKind::Internal => Source::Event,
        };
        Self { phase, at: message.at, seq: message.seq, source }
    }
}

impl Problem {
    /// The problem as its first message tells it, version 1.
    pub fn first(message: &StatusChanged) -> Self {
        let stamp = Stamp::of(message);
        Self {
            event_id: message.event_id.clone(),
            version: 1,
            kind: match message.kind {
                ChangeKind::Internal => ProblemKind::Internal,
                ChangeKind::Problem | ChangeKind::Update | ChangeKind::Recovery => ProblemKind::Problem,
            },
            opened_at: message.opened_at,
            recovery: if message.problem { None } else { message.recovery.clone() },
            over_at: (!message.problem && message.recovery.is_none()).then_some(message.at),
            detail: Register { stamp, value: message.detail.clone() },
            suppression: message.suppression.map(|value| Register { stamp, value }),
            last_update: message.update.clone().map(|value| Register { stamp, value }),
        }
    }

    /// Takes in one more message. True if it told anything new; the version then is one higher, else nothing changed.
    ///
    /// A message about another event id is none of this problem's and changes nothing.
    pub fn merge(&mut self, message: &StatusChanged) -> bool {
        if message.event_id != self.event_id {
            return false;
        }
        let changed = self.join(Self::first(message));
        if changed {
            self.version += 1;
        }
        changed
    }

    /// Least upper bound of both in every register; leaves `version` alone.
    fn join(&mut self, other: Self) -> bool {
        // every register takes part, so no `||` between them
        let changes = [
            keep_max(&mut self.kind, other.kind),
            keep_min(&mut self.opened_at, other.opened_at),
            keep(&mut self.recovery, other.recovery, keep_min),
            keep(&mut self.over_at, other.over_at, keep_min),
            keep_max(&mut self.detail, other.detail),
            keep(&mut self.suppression, other.suppression, keep_max),
            keep(&mut self.last_update, other.last_update, keep_max),
        ];
        changes.contains(&true)
    }

    /// The problem's event id in Zabbix.
    pub fn event_id(&self) -> &str {
        &self.event_id
    }

    /// Grows by one with every change, from 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// For a store that counts versions itself.
    pub fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    /// Not resolved.
    pub fn is_open(&self) -> bool {
        self.recovery.is_none() && self.over_at.is_none()
    }

    /// When it ended, unix seconds.
    pub fn resolved_at(&self) -> Option<i64> {
        self.recovery.as_ref().map(|recovery| recovery.at).or(self.over_at)
    }

    /// The problem as the world sees it.
    pub fn view(&self) -> ProblemView {
        let detail = &self.detail.value;
        let suppression = self.suppression.as_ref().map(|register| register.value);
        ProblemView {
            event_id: self.event_id.clone(),
            version: self.version,
            kind: self.kind,
            state: if self.is_open() { ProblemState::Open } else { ProblemState::Resolved },
            name: detail.name.clone(),
            severity: detail.severity,
            opened_at: self.opened_at,
            resolved_at: self.resolved_at(),
            acknowledged: detail.acknowledged,
            suppressed: suppression.is_some_and(|suppression| suppression.suppressed),
            suppressed_until: suppression.and_then(|suppression| suppression.until),
            opdata: detail.opdata.clone(),
            error: detail.error.clone(),
            host: detail.host.clone(),
            groups: detail.groups.clone(),
            tags: detail.tags.clone(),
            trigger_id: detail.trigger_id.clone(),
            url: detail.url.clone(),
            last_update: self.last_update.as_ref().map(|register| LastUpdate::from(&register.value)),
        }
    }
}

fn keep_max<T: Ord>(current: &mut T, other: T) -> bool {
    let better = other > *current;
    if better {
        *current = other;
    }
    better
}

fn keep_min<T: Ord>(current: &mut T, other: T) -> bool {
    let better = other < *current;
    if better {
        *current = other;
    }
    better
}

/// Something beats nothing; between two `choose` decides.
fn keep<T>(current: &mut Option<T>, other: Option<T>, choose: impl Fn(&mut T, T) -> bool) -> bool {
    match (current.as_mut(), other) {
        (_, None) => false,
        (Some(current), Some(other)) => choose(current, other),
        (None, other) => {
            *current = other;
            true
        }
    }
}

/// The JSON shape of a problem on channels, in snapshots and in the HTTP API. Absent optionals are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemView {
    /// The problem's event id in Zabbix, digits.
    pub event_id: String,
    /// Grows with every change: whoever has this version or a higher one drops the message.
    pub version: u64,
    /// An internal one is never counted as a problem.
    pub kind: ProblemKind,
    /// Open or resolved.
    pub state: ProblemState,
    /// Problem name with macros expanded; the trigger's name for an internal one.
    pub name: String,
    /// 0 not classified, 1 information, 2 warning, 3 average, 4 high, 5 disaster.
    pub severity: u8,
    /// Unix seconds.
    pub opened_at: i64,
    /// Unix seconds; only when resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<i64>,
    /// Somebody has taken it.
    pub acknowledged: bool,
    /// Suppressed by hand; over when `suppressed_until` is past. (Of maintenance Zabbix sends nothing.)
    pub suppressed: bool,
    /// Unix seconds; absent = until further notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed_until: Option<i64>,
    /// Operational data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opdata: Option<String>,
    /// Why the trigger cannot be evaluated; internal only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// First host of the trigger; empty texts if Zabbix named none.
    pub host: Host,
    /// Sorted.
    pub groups: Vec<String>,
    /// Sorted.
    pub tags: Vec<Tag>,
    /// Trigger id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_id: Option<String>,
    /// Of the trigger, http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What somebody did last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_update: Option<LastUpdate>,
}

/// What kind of trouble it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// A trigger fired.
    Problem,
    /// Zabbix cannot evaluate the trigger.
    Internal,
}

/// Whether it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemState {
    /// Still there.
    Open,
    /// Over for good; the same trigger's next problem has another event id.
    Resolved,
}

/// The last thing somebody did to a problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastUpdate {
    /// Unix seconds.
    pub at: i64,
    /// Zabbix's words, for example `acknowledged and commented`.
    pub action: String,
    /// The comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Full name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl From<&Update> for LastUpdate {
    fn from(update: &Update) -> Self {
        let Update { at, action, message, user } = update.clone();
        Self { at, action, message, user }
    }
}

#[cfg(test)]
mod tests;
