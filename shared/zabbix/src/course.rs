use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use signalbox_messages::{ChangeKind, Host, Observed, StatusChanged, Tag};

use crate::{Problem, ProblemKind};

/// How one problem went, from all the messages about it: what availability and times to respond are computed from.
///
/// The messages are a set: their order and their repetitions, by whichever way each came, make no difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Course {
    /// What it is counted for, as the problem shows it.
    pub subject: Subject,
    /// Unix seconds.
    pub opened_at: i64,
    /// When somebody first took it, unix seconds; never before `opened_at`.
    pub acknowledged_at: Option<i64>,
    /// When it recovered, unix seconds. One that is gone has not: nobody has seen it recover.
    pub recovered_at: Option<i64>,
    /// The worst it ever was; of one that ended as it began, what it was then.
    pub severity: u8,
    /// The time from its opening to its end without gaps, in order; neighbours differ. Empty for one that ended as it began.
    pub stretches: Vec<Stretch>,
}

/// What a problem's seconds are counted for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The host; an empty id where nobody but a connector told.
    pub host: Host,
    /// Sorted.
    pub groups: Vec<String>,
    /// Sorted.
    pub tags: Vec<Tag>,
}

/// A time in which a problem did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Unix seconds.
    pub began_at: i64,
    /// Unix seconds, exclusive; absent while the problem is open.
    pub ended_at: Option<i64>,
    /// How it was.
    pub condition: Condition,
}

/// What decides whether a second of a problem counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// 0 not classified … 5 disaster, as it was then.
    pub severity: u8,
    /// A maintenance suppressed it.
    pub maintenance: bool,
    /// Suppressed by hand.
    pub suppressed: bool,
    /// Its trigger, its item or its host was disabled.
    pub unmonitored: bool,
}

impl Course {
    /// The course that the messages about one problem tell. `None` as long as none describes it, and for an internal one ("cannot
    /// be evaluated"), which is no problem.
    ///
    /// | part | from |
    /// |---|---|
    /// | subject, opening, recovery | the join ([`Problem`]) |
    /// | gone | the first of the observations that say so without one after them that does not: one that came back was there meanwhile |
    /// | severity, suppression by hand, acknowledgement | the updates, in the order of their entries in the update history; of several messages about one entry those with exact times |
    /// | maintenance, unmonitored | the observations, each until the next |
    ///
    /// A suppression or a maintenance with an end is over then, also if nobody says so.
    pub fn of<'a>(messages: impl IntoIterator<Item = &'a StatusChanged>) -> Option<Self> {
        let messages: Vec<&StatusChanged> = messages.into_iter().collect();
        let (first, rest) = messages.split_first()?;
        let mut problem = Problem::first(first);
        for message in rest {
            problem.merge(message);
        }
        let view = problem.view();
        if !problem.is_described() || view.kind == ProblemKind::Internal {
            return None;
        }
        let (updates, observations) = (updates(&messages), observations(&messages));
        let opened_at = view.opened_at;
        let recovered_at = view.resolved_at.filter(|_| !view.gone);
        let ended_at = recovered_at.or_else(|| if view.gone { gone_at(&observations) } else { None });
        let told = Told { first_severity: first_severity(&messages)?, updates, observations };
        let stretches = told.stretches(opened_at, ended_at);
        let worst = stretches.iter().map(|stretch| stretch.condition.severity).max();
        Some(Self {
            subject: Subject { host: view.host, groups: view.groups, tags: view.tags },
            opened_at,
            acknowledged_at: told.acknowledged_at().map(|at| at.max(opened_at)),
            recovered_at: recovered_at.map(|at| at.max(opened_at)),
            severity: worst.unwrap_or_else(|| told.at(opened_at).severity),
            stretches,
        })
    }
}

/// What changed while it was open.
struct Told<'a> {
    first_severity: u8,
    /// With times that do not go back.
    updates: Vec<(i64, &'a StatusChanged)>,
    observations: Vec<(i64, &'a Observed)>,
}

impl Told<'_> {
    fn acknowledged_at(&self) -> Option<i64> {
        self.updates.iter().find(|(_, update)| update.detail.acknowledged).map(|(at, _)| *at)
    }

    fn stretches(&self, opened_at: i64, ended_at: Option<i64>) -> Vec<Stretch> {
        let updates = self
            .updates
            .iter()
            .flat_map(|(at, update)| [Some(*at), update.suppression.and_then(|suppression| suppression.until)]);
        let observations = self
            .observations
            .iter()
            .flat_map(|(at, seen)| [Some(*at), seen.maintenance.as_ref().and_then(|maintenance| maintenance.until)]);
        let mut cuts: Vec<i64> = updates.chain(observations).flatten().collect();
        cuts.retain(|cut| *cut > opened_at && ended_at.is_none_or(|ended_at| *cut < ended_at));
        if ended_at.is_none_or(|ended_at| opened_at < ended_at) {
            cuts.push(opened_at);
        }
        cuts.sort_unstable();
        let mut stretches: Vec<Stretch> = Vec::new();
        for began_at in cuts {
            let condition = self.at(began_at);
            match stretches.last_mut() {
                Some(last) if last.condition == condition => continue,
                Some(last) => last.ended_at = Some(began_at),
                None => {}
            }
            stretches.push(Stretch { began_at, ended_at, condition });
        }
        stretches
    }

    fn at(&self, time: i64) -> Condition {
        let updates = || self.updates.iter().rev().filter(|(at, _)| *at <= time).map(|(_, update)| update);
        let suppression = updates().find_map(|update| update.suppression);
        let seen = self.observations.iter().rev().find(|(at, _)| *at <= time).map(|(_, seen)| *seen);
        let lasts = |until: Option<i64>| until.is_none_or(|until| time < until);
        Condition {
            severity: updates().next().map_or(self.first_severity, |update| update.detail.severity),
            maintenance: seen.and_then(|seen| seen.maintenance.as_ref()).is_some_and(|found| lasts(found.until)),
            suppressed: suppression.is_some_and(|by_hand| by_hand.suppressed && lasts(by_hand.until)),
            unmonitored: seen.is_some_and(|seen| seen.unmonitored),
        }
    }
}

/// Of the message that knows least of what came after: macros are expanded when Zabbix sends, so a late opening message has a
/// later severity.
fn first_severity(messages: &[&StatusChanged]) -> Option<u8> {
    let described = messages.iter().filter(|message| !message.detail.name.is_empty());
    let first = described.min_by_key(|message| {
        (message.kind != ChangeKind::Problem, message.seq, !message.exact, message.at, &message.detail)
    });
    first.map(|message| message.detail.severity)
}

/// The updates in the order in which they were made. Where messages say how many entries the history had, those that do not are about
/// entries that are told all the same.
fn updates<'a>(messages: &[&'a StatusChanged]) -> Vec<(i64, &'a StatusChanged)> {
    let updates = || messages.iter().copied().filter(|message| message.kind == ChangeKind::Update);
    let counted = updates().any(|update| update.seq > 0);
    let mut entries: BTreeMap<u32, Vec<&StatusChanged>> = BTreeMap::new();
    for update in updates().filter(|update| !counted || update.seq > 0) {
        entries.entry(update.seq).or_default().push(update);
    }
    let mut ordered = Vec::new();
    let mut latest = i64::MIN;
    for mut entry in entries.into_values() {
        if entry.iter().any(|update| update.exact) {
            entry.retain(|update| update.exact);
        }
        entry.sort_by_key(|update| (update.at, &update.id));
        for update in entry {
            latest = latest.max(update.at);
            ordered.push((latest, update));
        }
    }
    ordered
}

/// By the poller's clock, with unix seconds.
fn observations<'a>(messages: &[&'a StatusChanged]) -> Vec<(i64, &'a Observed)> {
    let mut observations: Vec<(i64, &Observed)> = messages
        .iter()
        .filter_map(|message| {
            let at_ms = message.sent_at_ms.unwrap_or_else(|| message.at.saturating_mul(1_000));
            Some((at_ms, message.observed.as_ref()?))
        })
        .collect();
    observations.sort();
    observations.into_iter().map(|(at_ms, seen)| (at_ms.div_euclid(1_000), seen)).collect()
}

fn gone_at(observations: &[(i64, &Observed)]) -> Option<i64> {
    observations.iter().rev().take_while(|(_, seen)| seen.gone).last().map(|(at, _)| *at)
}

#[cfg(test)]
mod tests;
