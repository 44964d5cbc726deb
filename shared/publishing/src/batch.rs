//! A run of publications, as frames for whoever is to get them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use serde_json::value::RawValue;
use signalbox_connections::{LogEntry, LogItem, LogState, Subscriber};
use signalbox_protocol::{ClientInfo, Filter, Json, Publication, Push, join_frames};

use crate::gateway::Frame;

/// Renderings that are kept for the next row: subscribers differ in few ways, but each may bring a filter of its own.
const KEPT: usize = 64;

/// Publications of a channel in the order of their offsets.
#[derive(Debug)]
pub(crate) struct Batch {
    channel: String,
    entries: Vec<(u64, LogItem)>,
    /// The last place whose publication expired before everybody had it.
    expired: Option<u64>,
    /// The publication before the first, which its delta is made against.
    previous: Option<(u64, LogItem)>,
    rendered: Mutex<HashMap<Shape, Arc<[Frame]>>>,
}

/// How a subscription gets its publications.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// The first publication, by its place in the batch.
    first: usize,
    /// Fossil deltas, the first one only if the subscriber has what it is made against.
    delta: Option<HasBase>,
    /// Tags filter, JSON.
    filter: Option<String>,
}

/// Whether a delta subscriber has the publication before the first one it is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HasBase(pub(crate) bool);

impl Batch {
    /// Entries in order; tombstones are nothing to anybody.
    pub(crate) fn new(channel: &str, entries: Vec<LogEntry>, previous: Option<LogEntry>) -> Self {
        let published = |entry: LogEntry| match entry.state {
            LogState::Publication(item) => Some((entry.offset, item)),
            LogState::Tombstone | LogState::Expired => None,
        };
        let expired = entries.iter().rfind(|entry| entry.state == LogState::Expired).map(|entry| entry.offset);
        Self {
            channel: channel.to_owned(),
            expired,
            entries: entries.into_iter().filter_map(published).collect(),
            previous: previous.and_then(published),
            rendered: Mutex::default(),
        }
    }

    /// What `row` lacks when everybody has got everything up to `delivered`. An error when part of that is no more: the
    /// subscription begins again then.
    ///
    /// Where it `maybe_posted` them before, the first one is whole: the SDKs do not look at offsets, and would apply a delta to what
    /// came of it.
    pub(crate) fn frames_for(
        &self,
        row: &Subscriber,
        delivered: u64,
        maybe_posted: bool,
    ) -> anyhow::Result<Arc<[Frame]>> {
        let after = row.from.max(delivered);
        anyhow::ensure!(self.expired.is_none_or(|offset| offset <= after), "publications expired undelivered");
        self.frames(self.shape_for(row, after, maybe_posted))
    }

    /// Everything, to a row that has no place in the stream.
    pub(crate) fn frames_without_place(&self, row: &Subscriber) -> anyhow::Result<Arc<[Frame]>> {
        self.frames(Shape { first: 0, delta: row.delta.then_some(HasBase(false)), filter: row.tf.clone() })
    }

    /// With deltas: a row has the publication before its first one if that was pushed to it, which is so when it came after
    /// `from`, or if its subscribe brought it (`base`), which brings no transient ones.
    fn shape_for(&self, row: &Subscriber, after: u64, maybe_posted: bool) -> Shape {
        let first = self.entries.partition_point(|(offset, _)| *offset <= after);
        let has = |(offset, item): &(u64, LogItem)| *offset > row.from || (row.base && !item.transient);
        let has_base = || HasBase(!maybe_posted && self.before(first).is_some_and(has));
        Shape { first, delta: row.delta.then(has_base), filter: row.tf.clone() }
    }

    /// As the reply to a subscribe brings them: the first one whole.
    pub(crate) fn for_reply(&self, delta: bool, filter: Option<&str>) -> anyhow::Result<Vec<Publication>> {
        let delta = delta.then_some(HasBase(false));
        self.publications(&Shape { first: 0, delta, filter: filter.map(str::to_owned) })
    }

    /// Frames of at most 128 KB.
    pub(crate) fn frames(&self, shape: Shape) -> anyhow::Result<Arc<[Frame]>> {
        let lock = || self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(frames) = lock().get(&shape) {
            return Ok(Arc::clone(frames));
        }
        let lines = self
            .publications(&shape)?
            .into_iter()
            .map(|publication| Push::Publication { channel: &self.channel, publication: &publication }.to_line());
        let frames: Arc<[Frame]> = join_frames(lines.collect::<Vec<_>>()).into_iter().map(Frame::new).collect();
        let mut rendered = lock();
        if rendered.len() < KEPT {
            rendered.insert(shape, Arc::clone(&frames));
        }
        Ok(frames)
    }

    /// The publications of a shape. What a filter leaves out takes an offset all the same.
    pub(crate) fn publications(&self, shape: &Shape) -> anyhow::Result<Vec<Publication>> {
        let filter: Option<Filter> =
            shape.filter.as_deref().map(serde_json::from_str).transpose().context("tags filter of a row")?;
        let mut publications = Vec::with_capacity(self.entries.len().saturating_sub(shape.first));
        for (at, (offset, item)) in self.entries.iter().enumerate().skip(shape.first) {
            let tags = tags_of(item)?;
            if filter.as_ref().is_some_and(|filter| !filter.matches(&tags)) {
                continue;
            }
            let (data, delta) = match shape.delta {
                None => (raw(item.data.clone())?, false),
                Some(HasBase(has_base)) => {
                    // what a filter keeps back is no base
                    let base = self.before(at).filter(|_| filter.is_none() && (at > shape.first || has_base));
                    as_delta(item, base.map(|(_, base)| base.data.as_str()))?
                }
            };
            let info: Option<ClientInfo> =
                item.info.as_deref().map(serde_json::from_str).transpose().context("info of a publication")?;
            publications.push(Publication { data, offset: *offset, info, tags, delta });
        }
        Ok(publications)
    }

    fn before(&self, at: usize) -> Option<&(u64, LogItem)> {
        at.checked_sub(1).map_or(self.previous.as_ref(), |before| self.entries.get(before))
    }
}

/// In a delta subscription every payload is a JSON string: the document's text, or the delta against the one before where
/// its publisher asked for that and it is the shorter one (centrifuge.md 1.7).
fn as_delta(item: &LogItem, base: Option<&str>) -> anyhow::Result<(Json, bool)> {
    let patch = base.filter(|_| item.delta).map(|base| signalbox_fossil::create(base.as_bytes(), item.data.as_bytes()));
    let patch = patch.filter(|patch| patch.len() < item.data.len()).and_then(|patch| String::from_utf8(patch).ok());
    let delta = patch.is_some();
    Ok((serde_json::value::to_raw_value(patch.as_deref().unwrap_or(&item.data))?, delta))
}

fn tags_of(item: &LogItem) -> anyhow::Result<BTreeMap<String, String>> {
    item.tags.as_deref().map_or(Ok(BTreeMap::new()), |tags| serde_json::from_str(tags).context("tags of a publication"))
}

fn raw(json: String) -> anyhow::Result<Json> {
    RawValue::from_string(json).context("publication is not JSON")
}
