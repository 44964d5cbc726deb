use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use futures::{TryStreamExt as _, stream};
use signalbox_channels::Namespace;
use signalbox_connections::{Head, LogEntry, LogState, PageStart, Subscriber};
use signalbox_protocol::{Disconnect, Push, Unsubscribed};
use tokio::{sync::OnceCell, time::Instant};
use tracing::{debug, error, warn};

use crate::{
    batch::Batch,
    gateway::{Frame, PostError},
    publish::{Publisher, Timing, now_ms},
};

/// Posts that are under way at once. API Gateway answers in some 10 ms; its default quota is 10,000 requests a second for the
/// whole account.
const POSTS_AT_ONCE: usize = 128;

/// A subscribe that is not through after this is not going to be: its invocation's time-out is 15 s (template.yaml), and the row is
/// written within it.
pub(crate) const UNREADY_SECONDS: i64 = 15;

/// How long a worker posts to a shard: its time-out is later, and SQS's visibility time-out later still.
const WORKER: Duration = Duration::from_secs(50);

/// Places without a publication that are looked past for the one that a delta is made against.
const TOMBSTONES: u64 = 8;

/// Batches for rows that are behind that are kept within a round: in a storm of reconnects many are behind at the same place.
const BATCHES: usize = 64;

/// Rows that are read at once: what they take stays small beside the posts to them, and while the next ones are read the last of these
/// are still being posted to.
pub(crate) const ROWS_AT_ONCE: u32 = 1000;

/// A page of a channel's rows and where the next one begins.
pub(crate) type Page = (Vec<Subscriber>, Option<PageStart>);

/// The only publication of a first round, which spares reading it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) entry: LogEntry,
    /// What its delta is made against, where it is to be one.
    pub(crate) before: Option<LogEntry>,
}

/// A delivery that this invocation holds.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) channel: String,
    pub(crate) holder: String,
    /// The head when it was last heard of.
    pub(crate) head: Head,
    /// Posted up to here.
    pub(crate) delivered: u64,
    /// Taken up to here.
    pub(crate) top: u64,
    pub(crate) shards: u32,
    pub(crate) stream: Stream,
    /// Somebody before may have posted what is after `delivered` and have died, or not.
    maybe_posted: bool,
    timing: Timing,
    lease: Mutex<Lease>,
    renewing: tokio::sync::Mutex<()>,
}

/// What of a channel's options its deliverer needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) history_ttl: Duration,
    /// Some subscribers may want deltas.
    pub(crate) delta: bool,
}

impl Stream {
    pub(crate) fn of(namespace: &Namespace) -> Self {
        Self { history_ttl: namespace.history_ttl, delta: !namespace.allowed_delta_types.is_empty() }
    }
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    /// Nothing is posted after this.
    until: Instant,
    /// It was ours then.
    seen: Instant,
}

impl Lease {
    /// The lease runs from the moment it was asked for, not from the answer, and clocks differ.
    fn asked_at(asked_ms: i64, timing: &Timing) -> Self {
        let now = Instant::now();
        let ago = Duration::from_millis(u64::try_from(now_ms() - asked_ms).unwrap_or(0));
        Self { until: now + timing.lease.saturating_sub(ago + timing.skew), seen: now.checked_sub(ago).unwrap_or(now) }
    }
}

impl Hold {
    pub(crate) fn new(
        channel: &str,
        holder: &str,
        head: &Head,
        asked_ms: i64,
        timing: Timing,
        namespace: &Namespace,
        maybe_posted: bool,
    ) -> Self {
        Self {
            channel: channel.to_owned(),
            holder: holder.to_owned(),
            head: head.clone(),
            delivered: head.delivered,
            top: head.offset.max(head.delivered),
            shards: head.shards.max(namespace.shards),
            stream: Stream::of(namespace),
            maybe_posted,
            timing,
            lease: Mutex::new(Lease::asked_at(asked_ms, &timing)),
            renewing: tokio::sync::Mutex::default(),
        }
    }

    /// Another offset was taken under the same hold.
    pub(crate) fn moved(self, head: &Head) -> Self {
        Self { top: head.offset, delivered: self.delivered.max(head.delivered), head: head.clone(), ..self }
    }

    /// Whether nothing else is pending.
    pub(crate) fn is_only(&self, offset: u64) -> bool {
        offset == self.top && offset == self.delivered + 1
    }

    fn lease(&self) -> MutexGuard<'_, Lease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn until(&self) -> Instant {
        self.lease().until
    }
}

/// One round: what is posted to the rows of a channel, or of one of its shards.
#[derive(Debug)]
struct Round<'a> {
    channel: &'a str,
    head: &'a Head,
    /// Everybody who is ready and not behind has everything up to here …
    delivered: u64,
    /// … and gets what came up to here.
    top: u64,
    /// Nobody knows whether those have who came before `delivered`.
    uncertain: bool,
    /// Some rows may have what is after `delivered`: for them it must mean the same twice.
    maybe_posted: bool,
    stream: Stream,
    until: Until<'a>,
    batch: Batch,
    /// For rows that are behind the batch, by where they are.
    older: Mutex<HashMap<u64, Arc<OnceCell<Batch>>>>,
}

/// What a worker posts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardRound<'a> {
    pub(crate) channel: &'a str,
    pub(crate) head: &'a Head,
    pub(crate) shard: u32,
    /// What is after this …
    pub(crate) delivered: u64,
    /// … up to this.
    pub(crate) top: u64,
    /// Nobody knows whether the rows have everything up to `delivered` that came before it.
    pub(crate) uncertain: bool,
    /// Some rows may have what is after `delivered`.
    pub(crate) maybe_posted: bool,
    pub(crate) stream: Stream,
}

/// Somebody else has taken over, or will.
#[derive(Debug, thiserror::Error)]
#[error("the delivery was taken over")]
struct DeliveryLost;

/// How long a round may go on posting.
#[derive(Debug, Clone, Copy)]
enum Until<'a> {
    /// For as long as the delivery is held.
    Held(&'a Hold),
    /// A worker: SQS gives the tasks of a shard to one at a time.
    Deadline(Instant),
}

impl Until<'_> {
    fn now(self) -> Instant {
        match self {
            Self::Held(hold) => hold.until(),
            Self::Deadline(at) => at,
        }
    }
}

impl Round<'_> {
    fn serves(&self, row: &Subscriber) -> bool {
        row.ready && row.epoch == self.head.epoch
    }
}

impl Publisher {
    /// Whether whoever holds the delivery posts itself; otherwise workers do, a shard each.
    pub(crate) fn posts_here(&self, hold: &Hold) -> bool {
        hold.shards <= 1 || self.fan_out.is_here()
    }

    /// Posts everything pending and lets go, round after round while more is appended. `known` and `rows` spare the reads of
    /// the first round. False when somebody else is to go on: it was taken over, or handed over after [`Timing::turn`].
    pub(crate) async fn deliver(
        &self,
        mut hold: Hold,
        known: Option<Known>,
        rows: Option<Page>,
    ) -> anyhow::Result<bool> {
        let result = self.deliver_rounds(&mut hold, known, rows).await;
        if result.is_err() {
            // nobody shall wait for the lease of somebody who has given up
            let _ = self.table.hand_over(&hold.channel, &hold.holder, hold.delivered, now_ms()).await;
        }
        result
    }

    async fn deliver_rounds(
        &self,
        hold: &mut Hold,
        mut known: Option<Known>,
        mut rows: Option<Page>,
    ) -> anyhow::Result<bool> {
        let turn = Instant::now() + self.timing.turn;
        loop {
            let batch = self.pending(hold, known.take()).await?;
            let posted = if self.posts_here(hold) {
                self.post_round(hold, batch, rows.take()).await?
            } else {
                self.hand_to_workers(hold).await?
            };
            if !posted {
                debug!(channel = hold.channel, "delivery was taken over");
                return Ok(false);
            }
            if self.table.release(&hold.channel, &hold.holder, hold.top).await? {
                return Ok(true);
            }
            hold.delivered = hold.top;
            hold.maybe_posted = false;
            if Instant::now() >= turn {
                // a channel that is never quiet: its publishers wait for their publications and take over, or a worker does
                self.table.hand_over(&hold.channel, &hold.holder, hold.delivered, now_ms()).await?;
                self.hand_on(&hold.channel, &hold.holder).await;
                return Ok(false);
            }
            let Some(head) = self.renew(hold).await? else { return Ok(false) };
            hold.top = head.offset;
            hold.shards = hold.shards.max(head.shards);
            hold.head = head;
        }
    }

    /// The head after a round, if the delivery is still ours.
    async fn renew(&self, hold: &Hold) -> anyhow::Result<Option<Head>> {
        let asked_ms = now_ms();
        let renewed =
            self.table.renew(&hold.channel, &hold.holder, hold.delivered, asked_ms, self.timing.lease).await?;
        if renewed.is_some() {
            *hold.lease() = Lease::asked_at(asked_ms, &hold.timing);
        }
        Ok(renewed)
    }

    /// Renews within a round: the lease alone.
    async fn extend(&self, hold: &Hold) -> anyhow::Result<bool> {
        let asked_ms = now_ms();
        let ours = self.table.extend(&hold.channel, &hold.holder, asked_ms, self.timing.lease).await?;
        if ours {
            *hold.lease() = Lease::asked_at(asked_ms, &hold.timing);
        }
        Ok(ours)
    }

    /// True when the delivery is known to have been ours at some moment after `since`.
    async fn is_ours_since(&self, hold: &Hold, since: Instant) -> anyhow::Result<bool> {
        let _one_at_a_time = hold.renewing.lock().await;
        if hold.lease().seen > since {
            return Ok(true);
        }
        self.extend(hold).await
    }

    /// Renews in time, for as long as it is polled; ends when the delivery is lost.
    async fn keep(&self, hold: &Hold) -> anyhow::Result<()> {
        loop {
            let margin = hold.until().checked_sub(self.timing.lease_margin);
            tokio::time::sleep_until(margin.unwrap_or_else(Instant::now)).await;
            let _one_at_a_time = hold.renewing.lock().await;
            if hold.until() <= Instant::now() + self.timing.lease_margin && !self.extend(hold).await? {
                return Ok(());
            }
        }
    }

    /// What is after `delivered` up to `top`.
    async fn pending(&self, hold: &Hold, known: Option<Known>) -> anyhow::Result<Batch> {
        if let Some(Known { entry, before }) = known
            && hold.is_only(entry.offset)
        {
            return Ok(Batch::new(&hold.channel, vec![entry], before));
        }
        let entries =
            self.entries(&hold.channel, &hold.head, hold.delivered, hold.top, hold.stream.history_ttl).await?;
        self.batch(&hold.channel, &hold.head.epoch, hold.stream, entries).await
    }

    /// Entries with what their deltas are made against.
    pub(crate) async fn batch(
        &self,
        channel: &str,
        epoch: &str,
        stream: Stream,
        entries: Vec<LogEntry>,
    ) -> anyhow::Result<Batch> {
        let first = entries.iter().find_map(|entry| Some((entry.offset, entry.publication()?.delta)));
        let previous = match first {
            Some((offset, true)) if stream.delta => self.document_before(channel, epoch, offset).await?,
            _ => None,
        };
        Ok(Batch::new(channel, entries, previous))
    }

    /// The publication before `offset`, which is what a subscriber holds who has everything up to there. `None` where that is not
    /// known for sure: entries expire one by one, in no order that DynamoDB promises, and a delta against an older one would be
    /// applied to the wrong document.
    pub(crate) async fn document_before(
        &self,
        channel: &str,
        epoch: &str,
        offset: u64,
    ) -> anyhow::Result<Option<LogEntry>> {
        let mut to = offset - 1;
        if to == 0 {
            return Ok(None);
        }
        // mostly it is the very place before
        for places in [1, TOMBSTONES] {
            let after = to.saturating_sub(places);
            for entry in self.table.log(channel, epoch, after, to, 0).await?.into_iter().rev() {
                match entry.state {
                    _ if entry.offset != to => return Ok(None),
                    LogState::Publication(_) => return Ok(Some(entry)),
                    LogState::Expired => return Ok(None),
                    LogState::Tombstone => to -= 1,
                }
            }
            if to > after {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The entries after `after` up to `to`. A place that is still empty is waited for, briefly, and then filled with a
    /// tombstone: its publisher finds it filled, and takes a new offset.
    pub(crate) async fn entries(
        &self,
        channel: &str,
        head: &Head,
        after: u64,
        to: u64,
        history_ttl: Duration,
    ) -> anyhow::Result<Vec<LogEntry>> {
        let wanted = usize::try_from(to.saturating_sub(after)).context("too many publications")?;
        let patience = Instant::now() + self.timing.hole;
        loop {
            let mut entries = self.table.log(channel, &head.epoch, after, to, 0).await?;
            if entries.len() >= wanted {
                return Ok(entries);
            }
            if Instant::now() >= patience {
                let there: std::collections::BTreeSet<u64> = entries.iter().map(|entry| entry.offset).collect();
                for offset in (after + 1..=to).filter(|offset| !there.contains(offset)) {
                    let state = self.table.fill_hole(channel, head, offset, now_ms(), history_ttl).await?;
                    warn!(channel, offset, ?state, "a place was empty");
                    entries.push(LogEntry { offset, state });
                }
                entries.sort_by_key(|entry| entry.offset);
                return Ok(entries);
            }
            tokio::time::sleep(self.timing.hole / 25).await;
        }
    }

    /// Posts one round to every ready row. False when the delivery was lost on the way.
    async fn post_round(&self, hold: &Hold, batch: Batch, first: Option<Page>) -> anyhow::Result<bool> {
        let round = &Round {
            channel: &hold.channel,
            head: &hold.head,
            delivered: hold.delivered,
            top: hold.top,
            uncertain: false,
            maybe_posted: hold.maybe_posted,
            stream: hold.stream,
            until: Until::Held(hold),
            batch,
            older: Mutex::default(),
        };
        let posting = self
            .rows(&hold.channel, 0..hold.shards, first)
            .try_for_each_concurrent(POSTS_AT_ONCE, |row| async move { self.serve(round, row).await });
        tokio::select! {
            posted = posting => match posted {
                Err(cause) if cause.is::<DeliveryLost>() => Ok(false),
                posted => posted.map(|()| true),
            },
            lost = self.keep(hold) => lost.map(|()| false),
        }
    }

    /// A worker's round: one shard.
    pub(crate) async fn post_shard(&self, task: ShardRound<'_>, batch: Batch) -> anyhow::Result<()> {
        let ShardRound { channel, head, shard, delivered, top, uncertain, maybe_posted, stream } = task;
        let until = Until::Deadline(Instant::now() + WORKER);
        let older = Mutex::default();
        let round = &Round { channel, head, delivered, top, uncertain, maybe_posted, stream, until, batch, older };
        self.rows(channel, shard..shard + 1, None)
            .try_for_each_concurrent(POSTS_AT_ONCE, |row| async move { self.serve(round, row).await })
            .await
    }

    /// The rows of a channel, shard by shard and page by page: never more than a page is in memory.
    pub(crate) fn rows<'a>(
        &'a self,
        channel: &'a str,
        shards: std::ops::Range<u32>,
        first: Option<Page>,
    ) -> impl futures::Stream<Item = anyhow::Result<Subscriber>> + 'a {
        struct Place {
            shard: u32,
            start: Option<PageStart>,
            page: Option<Page>,
        }
        let begin = Place { shard: shards.start, start: None, page: first };
        let pages = stream::try_unfold(Some(begin), move |place| {
            let end = shards.end;
            async move {
                let Some(Place { shard, start, page }) = place else { return anyhow::Ok(None) };
                let (rows, next) = match page {
                    Some(page) => page,
                    None => self.table.subscribers(channel, shard, start, Some(ROWS_AT_ONCE)).await?,
                };
                let place = match next {
                    Some(start) => Some(Place { shard, start: Some(start), page: None }),
                    None if shard + 1 < end => Some(Place { shard: shard + 1, start: None, page: None }),
                    None => None,
                };
                Ok(Some((stream::iter(rows.into_iter().map(Ok)), place)))
            }
        });
        pages.try_flatten()
    }

    /// One row of a round. One bad connection neither fails the others nor delays them.
    async fn serve(&self, round: &Round<'_>, row: Subscriber) -> anyhow::Result<()> {
        let channel = round.channel;
        // what happens to few rows is boxed: the future of each row is as large as its largest part
        if is_lost(&row, &round.head.epoch) {
            Box::pin(self.interrupt(channel, &row)).await;
            return Ok(());
        }
        if !round.serves(&row) {
            return Ok(());
        }
        if round.uncertain && !row.behind && row.from < round.delivered {
            // its client knows what it has, and recovers from there
            Box::pin(self.interrupt(channel, &row)).await;
            return Ok(());
        }
        self.may_post(round.until).await?;
        let Some(row) = self.current(channel, row).await else { return Ok(()) };
        let frames = async {
            if row.behind && row.from < round.delivered {
                let older = Box::pin(self.older_batch(round, row.from)).await?;
                older.get().context("batch")?.frames_for(&row, row.from, true)
            } else {
                // a row that is behind may have been posted to by somebody who could not note it
                round.batch.frames_for(&row, round.delivered, round.maybe_posted || row.behind)
            }
        };
        let Some(posted) = self.post_row(channel, &row, round.until.now(), frames).await else { return Ok(()) };
        if row.behind {
            // After the post: should this invocation die in between, it is posted twice, where the other order would leave a
            // gap. And only if the delivery was ours after it: a new holder may have read the rows before this one was ready.
            if let Until::Held(hold) = round.until
                && !Box::pin(self.is_ours_since(hold, Instant::now())).await?
            {
                return Ok(());
            }
            let noted = self.table.caught_up(channel, &row, round.top, row.base || posted > 0);
            if let Err(cause) = Box::pin(noted).await {
                // it stays behind, and gets the same again with the next round
                warn!(connection_id = row.connection_id, error = format!("{cause:#}"), "row not noted as caught up");
            }
        }
        Ok(())
    }

    /// Sees to it that there is time to post to a row. A row that is begun when the time is over may have got its post or not, and
    /// must be told to begin again; one that was not begun is served by whoever comes next.
    async fn may_post(&self, until: Until<'_>) -> anyhow::Result<()> {
        loop {
            let now = Instant::now();
            if until.now() >= now + self.timing.row {
                return Ok(());
            }
            match until {
                Until::Held(hold) if Box::pin(self.is_ours_since(hold, now)).await? => {}
                Until::Held(_) => return Err(DeliveryLost.into()),
                Until::Deadline(_) => anyhow::bail!("there was no time for all rows"),
            }
        }
    }

    /// What a row that is behind the round's batch lacks.
    async fn older_batch(&self, round: &Round<'_>, from: u64) -> anyhow::Result<Arc<OnceCell<Batch>>> {
        let cell = {
            let mut older = round.older.lock().unwrap_or_else(PoisonError::into_inner);
            if older.len() >= BATCHES && !older.contains_key(&from) {
                older.clear();
            }
            Arc::clone(older.entry(from).or_default())
        };
        cell.get_or_try_init(|| async {
            let Round { channel, head, top, stream, .. } = *round;
            let entries = self.entries(channel, head, from, top, stream.history_ttl).await?;
            self.batch(channel, &head.epoch, stream, entries).await
        })
        .await?;
        Ok(cell)
    }

    /// Posts a row its frames in order, until `deadline` at the latest; how many there were. `None` when they did not arrive, and
    /// something was done about it.
    pub(crate) async fn post_row<F>(
        &self,
        channel: &str,
        row: &Subscriber,
        deadline: Instant,
        frames: F,
    ) -> Option<usize>
    where
        F: Future<Output = anyhow::Result<Arc<[Frame]>>>,
    {
        let connection_id = row.connection_id.as_str();
        let limit = deadline.min(Instant::now() + self.timing.row);
        let posted = tokio::time::timeout_at(limit, async {
            let frames = frames.await?;
            self.post_frames(connection_id, &frames).await?;
            anyhow::Ok(frames.len())
        });
        let cause = match posted.await {
            Ok(Ok(frames)) => return Some(frames),
            Ok(Err(cause)) if cause.downcast_ref() == Some(&PostError::Gone) => {
                Box::pin(self.remove_gone(connection_id)).await;
                return None;
            }
            Ok(Err(cause)) => cause,
            // it may have arrived or not: whatever it was, the subscription begins again
            Err(_) => anyhow::anyhow!("took too long"),
        };
        warn!(channel, connection_id, error = format!("{cause:#}"), "post failed");
        Box::pin(self.interrupt(channel, row)).await;
        None
    }

    /// Posts frames in which a repetition would be seen, such as publications: the SDKs do not look at offsets, and would apply a
    /// delta to its own result. What may have arrived is not posted again.
    pub(crate) async fn post_frames(&self, connection_id: &str, frames: &[Frame]) -> Result<(), PostError> {
        for frame in frames {
            self.post_while(connection_id, frame, |error| matches!(error, PostError::Unavailable(_))).await?;
        }
        Ok(())
    }

    /// Posts a frame that means the same twice, such as replies: again and again where that may help.
    pub async fn post(&self, connection_id: &str, frame: &Frame) -> Result<(), PostError> {
        let again = |error: &PostError| matches!(error, PostError::Unavailable(_) | PostError::Unanswered(_));
        self.post_while(connection_id, frame, again).await
    }

    async fn post_while(
        &self,
        connection_id: &str,
        frame: &Frame,
        again: impl Fn(&PostError) -> bool,
    ) -> Result<(), PostError> {
        for wait in self.timing.retries {
            match self.gateway.post(connection_id, frame).await {
                Err(error) if again(&error) => {
                    metrics::counter!("PostRetried").increment(1);
                    tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                }
                result => return counted(result),
            }
        }
        counted(self.gateway.post(connection_id, frame).await)
    }

    /// Publications did not reach a connection: its subscription ends with 2500 (a server-side one with its connection, 3010), and
    /// the SDK begins again and recovers. The
    /// row is marked first and deleted last, so that another deliverer says it again should this one die in between.
    ///
    /// `row` is the one that missed them: a subscribe that came since has a row of its own and is left alone.
    pub(crate) async fn interrupt(&self, channel: &str, row: &Subscriber) {
        let connection_id = row.connection_id.as_str();
        match self.table.mark_lost(row.row(channel)).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(cause) => {
                error!(channel, connection_id, error = format!("{cause:#}"), "row not marked lost");
                return self.close(connection_id).await;
            }
        }
        // a server-side subscription is made by `connect` alone: the SDKs would drop it at an `unsubscribe`
        let frame = if row.server {
            Frame::new(Push::Disconnect(Disconnect::INSUFFICIENT_STATE).to_line())
        } else {
            unsubscribe_frame(channel, Unsubscribed::INSUFFICIENT_STATE)
        };
        match counted(self.gateway.post(connection_id, &frame).await) {
            Ok(()) => {
                metrics::counter!("Interrupted").increment(1);
                if row.server {
                    self.remove_gone(connection_id).await;
                } else {
                    self.end_row(channel, row).await;
                }
            }
            Err(PostError::Gone) => self.remove_gone(connection_id).await,
            Err(_) => self.close(connection_id).await,
        }
    }

    /// Closes a socket that could not be told what it missed: the SDK reconnects and recovers.
    pub async fn close(&self, connection_id: &str) {
        match self.gateway.delete(connection_id).await {
            Ok(()) | Err(PostError::Gone) => {}
            Err(cause) => error!(connection_id, error = %cause, "connection that missed something could not be closed"),
        }
        self.remove_gone(connection_id).await;
    }
}

/// Rows whose connection waits in vain: marked lost by somebody who died before it told the connection, never made ready because
/// the invocation died that wrote it, or of a stream that is no more.
fn is_lost(row: &Subscriber, epoch: &str) -> bool {
    row.lost || (!row.ready && row.begun_at + UNREADY_SECONDS < now_ms() / 1000) || (row.ready && row.epoch != epoch)
}

pub(crate) fn counted(result: Result<(), PostError>) -> Result<(), PostError> {
    match &result {
        Ok(()) => metrics::counter!("Posted").increment(1),
        Err(PostError::Gone) => metrics::counter!("Gone").increment(1),
        Err(_) => metrics::counter!("PostFailed").increment(1),
    }
    result
}

/// An `unsubscribe` push.
pub(crate) fn unsubscribe_frame(channel: &str, reason: Unsubscribed) -> Frame {
    Frame::new(signalbox_protocol::Push::Unsubscribe { channel, reason }.to_line())
}
