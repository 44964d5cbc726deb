use serde::{Deserialize, Serialize};
use signalbox_messages::{
    ChangeKind, Detail, Host, Maintenance, Observed, Place, Recovery, StatusChanged, Suppression, Tag, Update,
};

/// All we know about one problem: the join of every message about it, whichever way each came (webhook, connector, poller).
///
/// A problem's messages come late, twice, out of order, and several times over by different ways (a manual close delivers the
/// recovery before or after its own update, depending on the version). So this is a join-semilattice: merging the same set of
/// messages in any order, with any repetitions, gives the same value (but for `version` and `revision`, which count the changes on
/// the way). Each part is a register with its own rule:
///
/// | part | which message wins |
/// |---|---|
/// | what it is (name, severity, acknowledged, error, host, groups, tags) | the last by (not the opening, entries in the update history, whether the host has its id, exact times, `at`, recovery before update, content) |
/// | trigger id, URL, operational data | the same, among the messages that have one: a connector has none |
/// | state | resolved as soon as any message says so; an event id never opens again |
/// | recovery | exact times before others, then the earliest by (`at`, event id); without a named one the earliest `at` of a message that says "over" |
/// | suppression by hand | as the first row, of the updates that suppress or unsuppress |
/// | last update | as the first row, of the updates |
/// | what only a poll sees | the last by the poller's clock: there is one poller at a time |
/// | host and groups as shown | a poll's word, if there is one, else what it is: it alone sees them renamed, a message has them as they were |
/// | `opened_at` | exact times before others, then the earliest |
///
/// The update history only grows, and an acknowledgement, a severity, a suppression and a comment each add to it. So who knows more
/// entries knows better, and no clock is asked; clocks decide between messages that do not tell how many there are. The opening
/// message comes first by definition, whatever its time: a late one must not undo an acknowledgement. At the same second an update
/// beats a recovery, because it certainly tells what it did itself. Earliest times win among times that were read from a clock on
/// the wall, because an unknown zone can only make them too late ([`Zone::Auto`](crate::Zone::Auto)). Several problems of one trigger
/// have different event ids and never meet here.
///
/// What a poll finds gone may come back (a token loses its rights and gets them again): that is no recovery, and not for ever.
///
/// Stored as JSON: the status table and Postgres hold this, the world sees [`Problem::view`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    event_id: String,
    version: u64,
    revision: u64,
    kind: ProblemKind,
    opened_at: Told<i64>,
    /// Named by Zabbix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery: Option<Told<Recovery>>,
    /// A message said "over" without naming the recovery, at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    over_at: Option<i64>,
    /// `None` as long as nothing but a connector's recovery is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    what: Option<Register<What>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trigger_id: Option<Register<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<Register<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opdata: Option<Register<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    suppression: Option<Register<Suppression>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_update: Option<Register<Update>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    observed: Option<Seen>,
}

/// The greater of two wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Seen {
    /// Unix milliseconds of the poller.
    at_ms: i64,
    value: Observed,
}

/// What every message but a connector's recovery tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct What {
    name: String,
    severity: u8,
    acknowledged: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    host: Host,
    groups: Vec<String>,
    tags: Vec<Tag>,
}

impl What {
    fn of(detail: &Detail) -> Option<Self> {
        let Detail { name, severity, acknowledged, error, host, groups, tags, .. } = detail.clone();
        (!name.is_empty()).then_some(Self { name, severity, acknowledged, error, host, groups, tags })
    }
}

/// The greater of two wins: by stamp, then by content, so that no two messages tie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Register<T> {
    stamp: Stamp,
    value: T,
}

/// The lesser of two wins: exact ones first, then the earliest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Told<T> {
    by: By,
    value: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum By {
    UnixTime,
    Wall,
    /// A message that does not describe the problem does not say when it began either.
    Nothing,
}

impl By {
    fn of(message: &StatusChanged) -> Self {
        if message.exact { Self::UnixTime } else { Self::Wall }
    }

    fn of_opening(message: &StatusChanged) -> Self {
        if message.detail.name.is_empty() { Self::Nothing } else { Self::of(message) }
    }
}

/// The order of messages about one problem; the order of the fields is the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Stamp {
    phase: Phase,
    /// Entries in the update history.
    seq: u32,
    /// Whether the host has its id, which a connector does not know.
    identified: bool,
    exact: bool,
    /// Unix seconds.
    at: i64,
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
            ChangeKind::Internal | ChangeKind::Update | ChangeKind::Recovery | ChangeKind::Observed => Phase::Later,
        };
        let source = match message.kind {
            ChangeKind::Update => Source::Update,
            ChangeKind::Problem | ChangeKind::Recovery | ChangeKind::Internal | ChangeKind::Observed => Source::Event,
        };
        let identified = !message.detail.host.id.is_empty();
        Self { phase, seq: message.seq, identified, exact: message.exact, at: message.at, source }
    }
}

impl Problem {
    /// The problem as its first message tells it, version 1.
    pub fn first(message: &StatusChanged) -> Self {
        let (stamp, by) = (Stamp::of(message), By::of(message));
        let register = |value| Register { stamp, value };
        let over = (!message.problem).then_some(message.recovery.as_ref());
        Self {
            event_id: message.event_id.clone(),
            version: 1,
            revision: 1,
            kind: match message.kind {
                ChangeKind::Internal => ProblemKind::Internal,
                ChangeKind::Problem | ChangeKind::Update | ChangeKind::Recovery | ChangeKind::Observed => {
                    ProblemKind::Problem
                }
            },
            opened_at: Told { by: By::of_opening(message), value: message.opened_at },
            recovery: over.flatten().map(|recovery| Told { by, value: recovery.clone() }),
            over_at: over.is_some_and(|recovery| recovery.is_none()).then_some(message.at),
            what: What::of(&message.detail).map(|value| Register { stamp, value }),
            trigger_id: message.detail.trigger_id.clone().map(register),
            url: message.detail.url.clone().map(register),
            opdata: message.detail.opdata.clone().map(register),
            suppression: message.suppression.map(|value| Register { stamp, value }),
            last_update: message.update.clone().map(|value| Register { stamp, value }),
            observed: message.observed.clone().map(|value| {
                let at_ms = message.sent_at_ms.unwrap_or_else(|| message.at.saturating_mul(1_000));
                Seen { at_ms, value }
            }),
        }
    }

    /// Takes in one more message.
    ///
    /// A message about another event id is none of this problem's and changes nothing.
    pub fn merge(&mut self, message: &StatusChanged) -> Merged {
        if message.event_id != self.event_id {
            return Merged::Known;
        }
        let before = self.view();
        if !self.join(Self::first(message)) {
            return Merged::Known;
        }
        self.revision += 1;
        if self.view() == before {
            return Merged::Noted;
        }
        self.version += 1;
        Merged::Changed
    }

    /// Least upper bound of both in every register; leaves `version` and `revision` alone.
    fn join(&mut self, other: Self) -> bool {
        // every register takes part, so no `||` between them
        let changes = [
            keep_max(&mut self.kind, other.kind),
            keep_min(&mut self.opened_at, other.opened_at),
            keep(&mut self.recovery, other.recovery, keep_min),
            keep(&mut self.over_at, other.over_at, keep_min),
            keep(&mut self.what, other.what, keep_max),
            keep(&mut self.trigger_id, other.trigger_id, keep_max),
            keep(&mut self.url, other.url, keep_max),
            keep(&mut self.opdata, other.opdata, keep_max),
            keep(&mut self.suppression, other.suppression, keep_max),
            keep(&mut self.last_update, other.last_update, keep_max),
            keep(&mut self.observed, other.observed, keep_max),
        ];
        changes.contains(&true)
    }

    /// The problem's event id in Zabbix.
    pub fn event_id(&self) -> &str {
        &self.event_id
    }

    /// Grows by one with every change that the world sees, from 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Grows by one with every message that told anything new, from 1: what a store compares before it writes.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// For a store that counts versions itself.
    pub fn set_version(&mut self, version: u64) {
        (self.version, self.revision) = (version, version);
    }

    /// Neither resolved nor gone.
    pub fn is_open(&self) -> bool {
        !self.is_resolved() && !self.observed().gone
    }

    /// Whether a message has told yet what it is. A connector's recovery that is here first has not.
    pub fn is_described(&self) -> bool {
        self.what.is_some()
    }

    /// How many entries of its update history are known to have been told.
    pub fn updates_told(&self) -> u32 {
        self.what.as_ref().map_or(0, |what| what.stamp.seq)
    }

    fn is_resolved(&self) -> bool {
        self.recovery.is_some() || self.over_at.is_some()
    }

    fn observed(&self) -> Observed {
        self.observed.as_ref().map(|observed| observed.value.clone()).unwrap_or_default()
    }

    /// When it ended, unix seconds; of one that is gone, when that was found.
    pub fn resolved_at(&self) -> Option<i64> {
        let gone_at = || self.observed.as_ref().filter(|seen| seen.value.gone).map(|gone| gone.at_ms / 1_000);
        self.recovery.as_ref().map(|recovery| recovery.value.at).or(self.over_at).or_else(gone_at)
    }

    /// The problem as the world sees it.
    pub fn view(&self) -> ProblemView {
        let what = self.what.as_ref().map(|what| &what.value);
        let suppression = self.suppression.as_ref().map(|register| register.value);
        let observed = self.observed();
        let text = |register: &Option<Register<String>>| register.as_ref().map(|register| register.value.clone());
        let is_open = self.is_open();
        let place =
            observed.place.or_else(|| what.map(|what| Place { host: what.host.clone(), groups: what.groups.clone() }));
        let Place { host, groups } = place.unwrap_or_default();
        ProblemView {
            event_id: self.event_id.clone(),
            version: self.version,
            kind: self.kind,
            state: if is_open { ProblemState::Open } else { ProblemState::Resolved },
            name: what.map(|what| what.name.clone()).unwrap_or_default(),
            severity: what.map_or(0, |what| what.severity),
            opened_at: self.opened_at.value,
            resolved_at: self.resolved_at(),
            gone: observed.gone && !self.is_resolved(),
            acknowledged: what.is_some_and(|what| what.acknowledged),
            suppressed: suppression.is_some_and(|suppression| suppression.suppressed),
            suppressed_until: suppression.and_then(|suppression| suppression.until),
            // of a problem that is over nothing is observed any more: what was last seen of it is not so now
            maintenance: observed.maintenance.filter(|_| is_open),
            unmonitored: observed.unmonitored && is_open,
            unknown: observed.unknown.filter(|_| is_open),
            cause: observed.cause,
            opdata: text(&self.opdata),
            error: what.and_then(|what| what.error.clone()),
            host,
            groups,
            tags: what.map(|what| what.tags.clone()).unwrap_or_default(),
            trigger_id: text(&self.trigger_id),
            url: text(&self.url),
            last_update: self.last_update.as_ref().map(|register| LastUpdate::from(&register.value)),
        }
    }
}

/// What a message was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// Nothing new.
    Known,
    /// Something to remember (which of two messages was the later one), and nothing that the world sees.
    Noted,
    /// The problem is another now.
    Changed,
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
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own")]
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
    /// Resolved in that Zabbix does not list it any more: nobody has seen it recover.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// Somebody has taken it.
    pub acknowledged: bool,
    /// Suppressed by hand; over when `suppressed_until` is past.
    pub suppressed: bool,
    /// Unix seconds; absent = until further notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed_until: Option<i64>,
    /// Suppressed by a maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// Its trigger, its item or its host is disabled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmonitored: bool,
    /// Why Zabbix cannot evaluate its trigger at present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// The event id of the problem that it is a symptom of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
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
