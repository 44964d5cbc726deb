use std::{collections::BTreeMap, future::Future, time::Duration};

use anyhow::Context as _;
use futures::StreamExt as _;
use signalbox_channels::Namespace;
use signalbox_connections::{Head, PageStart, Subscriber};
use signalbox_protocol::{Disconnect, Push, Unsubscribed, join_frames};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::{
    gateway::{Frame, PostError},
    publish::{Publisher, Timing, now_ms, publication_line},
};

/// Posts of one batch that are under way at once. API Gateway answers in some 10 ms; its default quota is 10,000 requests a
/// second for the whole account.
const POSTS_AT_ONCE: usize = 128;

/// A subscribe that is not through after this is not going to be: its invocation's time-out is 15 s.
const UNREADY_SECONDS: i64 = 20;

/// A delivery that this invocation holds.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) channel: String,
    pub(crate) holder: String,
    pub(crate) epoch: String,
    /// Posted up to here.
    pub(crate) delivered: u64,
    /// Taken up to here.
    pub(crate) top: u64,
    pub(crate) until: Instant,
    pub(crate) timing: Timing,
    pub(crate) history_ttl: Duration,
}

impl Hold {
    pub(crate) fn new(
        channel: &str,
        holder: &str,
        head: &Head,
        asked_ms: i64,
        timing: Timing,
        namespace: &Namespace,
    ) -> Self {
        let mut hold = Self {
            channel: channel.to_owned(),
            holder: holder.to_owned(),
            epoch: head.epoch.clone(),
            delivered: head.delivered,
            top: head.offset.max(head.delivered),
            until: Instant::now(),
            timing,
            history_ttl: namespace.history_ttl,
        };
        hold.renewed(asked_ms);
        hold
    }

    /// Nothing is posted after `until`. The lease runs from the moment it was asked for, not from the answer, and clocks differ.
    fn renewed(&mut self, asked_ms: i64) {
        let ago = Duration::from_millis(u64::try_from(now_ms() - asked_ms).unwrap_or(0));
        self.until = Instant::now() + self.timing.lease.saturating_sub(ago + self.timing.skew);
    }

    fn serves(&self, row: &Subscriber) -> bool {
        row.ready && row.epoch == self.epoch
    }

    fn is_nearly_out(&self) -> bool {
        Instant::now() + self.timing.lease_margin >= self.until
    }
}

/// An entry of the log that the caller has in hand.
#[derive(Debug)]
pub(crate) struct KnownEntry {
    pub(crate) offset: u64,
    pub(crate) data: Option<String>,
}

impl Publisher {
    /// Posts everything pending and lets go, round after round while more is appended. `known` and `rows` spare the reads of
    /// the first round. False when somebody else is to go on: it was taken over, or handed over after [`Timing::turn`].
    pub(crate) async fn deliver(
        &self,
        mut hold: Hold,
        known: Option<KnownEntry>,
        rows: Option<(Vec<Subscriber>, Option<PageStart>)>,
    ) -> anyhow::Result<bool> {
        let result = self.deliver_rounds(&mut hold, known, rows).await;
        if result.is_err() {
            // nobody shall wait for the lease of somebody who has given up
            let _ = self.table.hand_over(&hold.channel, &hold.holder, hold.delivered).await;
        }
        result
    }

    async fn deliver_rounds(
        &self,
        hold: &mut Hold,
        mut known: Option<KnownEntry>,
        mut rows: Option<(Vec<Subscriber>, Option<PageStart>)>,
    ) -> anyhow::Result<bool> {
        let turn = Instant::now() + self.timing.turn;
        loop {
            let lines = self.pending(hold, known.take()).await?;
            if !self.post_round(hold, &lines, rows.take()).await? {
                debug!(channel = hold.channel, "delivery was taken over");
                return Ok(false);
            }
            if self.table.release(&hold.channel, &hold.holder, hold.top).await? {
                return Ok(true);
            }
            let top = hold.top;
            hold.delivered = top;
            if Instant::now() >= turn {
                // a channel that is never quiet: its publishers wait for their publications and take over
                self.table.hand_over(&hold.channel, &hold.holder, top).await?;
                return Ok(false);
            }
            if !self.renew(hold, top).await? {
                return Ok(false);
            }
        }
    }

    async fn renew(&self, hold: &mut Hold, delivered: u64) -> anyhow::Result<bool> {
        let asked_ms = now_ms();
        let renewed = self.table.renew(&hold.channel, &hold.holder, delivered, asked_ms, self.timing.lease).await?;
        let Some(head) = renewed else { return Ok(false) };
        hold.renewed(asked_ms);
        hold.top = head.offset;
        Ok(true)
    }

    /// Renews within a round, which ends where it began: what came meanwhile is the next one's.
    async fn keep(&self, hold: &mut Hold) -> anyhow::Result<bool> {
        let (top, delivered) = (hold.top, hold.delivered);
        let kept = self.renew(hold, delivered).await?;
        hold.top = top;
        Ok(kept)
    }

    /// The pushes after `delivered` up to `top`, by offset.
    async fn pending(&self, hold: &Hold, known: Option<KnownEntry>) -> anyhow::Result<BTreeMap<u64, String>> {
        let mut lines = BTreeMap::new();
        match known {
            Some(KnownEntry { offset, data }) if offset == hold.top && offset == hold.delivered + 1 => {
                if let Some(data) = data {
                    lines.insert(offset, publication_line(&hold.channel, offset, &data)?);
                }
            }
            _ => {
                let entries = self.entries(&hold.channel, &hold.epoch, hold.delivered, hold.top, hold.history_ttl);
                for (offset, data) in entries.await? {
                    lines.insert(offset, publication_line(&hold.channel, offset, &data)?);
                }
            }
        }
        Ok(lines)
    }

    /// The publications after `after` up to `to`. A place that is still empty is waited for, briefly, and then filled with a
    /// tombstone: its publisher finds it filled, and takes a new offset.
    pub(crate) async fn entries(
        &self,
        channel: &str,
        epoch: &str,
        after: u64,
        to: u64,
        history_ttl: Duration,
    ) -> anyhow::Result<Vec<(u64, String)>> {
        let wanted = usize::try_from(to.saturating_sub(after)).context("too many publications")?;
        let patience = Instant::now() + self.timing.hole;
        let mut entries = self.table.log(channel, epoch, after, to, 0).await?;
        while entries.len() < wanted {
            if Instant::now() >= patience {
                let now_s = now_ms() / 1000;
                let there: std::collections::BTreeSet<u64> = entries.iter().map(|entry| entry.offset).collect();
                for offset in (after + 1..=to).filter(|offset| !there.contains(offset)) {
                    warn!(channel, offset, "a publisher died before it wrote");
                    self.table.write_tombstone(channel, epoch, offset, now_s, history_ttl).await?;
                }
                entries = self.table.log(channel, epoch, after, to, 0).await?;
                break;
            }
            tokio::time::sleep(self.timing.hole / 25).await;
            entries = self.table.log(channel, epoch, after, to, 0).await?;
        }
        Ok(entries.into_iter().filter_map(|entry| Some((entry.offset, entry.data?))).collect())
    }

    /// Posts one round to every ready row, page by page. False when the delivery was lost on the way.
    async fn post_round(
        &self,
        hold: &mut Hold,
        lines: &BTreeMap<u64, String>,
        mut rows: Option<(Vec<Subscriber>, Option<PageStart>)>,
    ) -> anyhow::Result<bool> {
        let frames: Vec<Frame> = join_frames(lines.values()).into_iter().map(Frame::new).collect();
        let mut start = None;
        loop {
            let (page, next) = match rows.take() {
                Some(page) => page,
                None => self.table.subscribers(&hold.channel, start).await?,
            };
            for part in page.chunks(POSTS_AT_ONCE * 4) {
                if hold.is_nearly_out() && !self.keep(hold).await? {
                    return Ok(false);
                }
                let (held, frames) = (&*hold, &frames);
                let ready = part.iter().filter(|row| held.serves(row)).cloned().collect();
                self.post_page(&held.channel, ready, held.until, |row| async move {
                    if row.behind {
                        // made ready on a channel too busy to catch up with
                        self.frames(&held.channel, &held.epoch, row.from, held.top, held.history_ttl).await
                    } else if row.from <= held.delivered {
                        Ok(frames.clone())
                    } else {
                        let newer = lines.range(row.from + 1..).map(|(_, line)| line);
                        Ok(join_frames(newer).into_iter().map(Frame::new).collect())
                    }
                })
                .await;
                if part.iter().any(|row| held.serves(row) && row.behind) && !self.note_caught_up(hold, part).await? {
                    return Ok(false);
                }
                self.interrupt_lost(&hold.channel, &hold.epoch, part).await;
            }
            start = next;
            if start.is_none() {
                return Ok(true);
            }
        }
    }

    /// After the post: should this invocation die in between, it is posted twice, where the other order would leave a gap. False
    /// when the delivery was lost: its new holder may have read the rows before these were ready.
    async fn note_caught_up(&self, hold: &mut Hold, rows: &[Subscriber]) -> anyhow::Result<bool> {
        if !self.keep(hold).await? {
            return Ok(false);
        }
        for row in rows.iter().filter(|row| hold.serves(row) && row.behind) {
            if let Err(cause) = self.table.caught_up(row, &hold.channel, hold.top).await {
                // it stays behind, and gets the same again with the next round
                warn!(connection_id = row.connection_id, error = format!("{cause:#}"), "row not noted as caught up");
            }
        }
        Ok(true)
    }

    /// Rows whose connection waits in vain: marked lost by somebody who died before it told the connection, never made ready
    /// because the invocation died that wrote it, or of a stream that is no more.
    async fn interrupt_lost(&self, channel: &str, epoch: &str, rows: &[Subscriber]) {
        let now = now_ms() / 1000;
        let lost = rows.iter().filter(|row| {
            row.lost || (!row.ready && row.begun_at + UNREADY_SECONDS < now) || (row.ready && row.epoch != epoch)
        });
        futures::stream::iter(lost)
            .for_each_concurrent(POSTS_AT_ONCE, |row| self.interrupt(channel, &row.connection_id, row.command_id))
            .await;
    }

    /// The pushes after `after` up to `to` in as few frames as hold them, for one that lacks them.
    pub(crate) async fn frames(
        &self,
        channel: &str,
        epoch: &str,
        after: u64,
        to: u64,
        history_ttl: Duration,
    ) -> anyhow::Result<Vec<Frame>> {
        let entries = self.entries(channel, epoch, after, to, history_ttl).await?;
        let lines = entries.iter().map(|(offset, data)| publication_line(channel, *offset, data));
        Ok(join_frames(lines.collect::<anyhow::Result<Vec<_>>>()?).into_iter().map(Frame::new).collect())
    }

    /// Posts each row its frames, many rows at once and each row's frames in order, until `deadline` at the latest. One bad
    /// connection neither fails the others nor delays them for longer than [`Timing::row`].
    pub(crate) async fn post_page<F, Fut>(&self, channel: &str, rows: Vec<Subscriber>, deadline: Instant, frames_of: F)
    where
        F: Fn(Subscriber) -> Fut,
        Fut: Future<Output = anyhow::Result<Vec<Frame>>>,
    {
        let frames_of = &frames_of;
        futures::stream::iter(rows)
            .for_each_concurrent(POSTS_AT_ONCE, |row| async move {
                let (connection_id, command_id) = (row.connection_id.clone(), row.command_id);
                if row.expires_at.is_some_and(|at| at <= now_ms() / 1000) {
                    return self.expire(&connection_id).await;
                }
                let limit = deadline.min(Instant::now() + self.timing.row);
                let posted = tokio::time::timeout_at(limit, async {
                    self.post_frames(&connection_id, &frames_of(row).await?).await.map_err(anyhow::Error::from)
                });
                let cause = match posted.await {
                    Ok(Ok(())) => return,
                    Ok(Err(cause)) if cause.downcast_ref() == Some(&PostError::Gone) => {
                        return self.remove_gone(&connection_id).await;
                    }
                    Ok(Err(cause)) => cause,
                    // it may have arrived or not: whatever it was, the subscription begins again
                    Err(_) => anyhow::anyhow!("took too long"),
                };
                warn!(channel, connection_id, error = format!("{cause:#}"), "post failed");
                self.interrupt(channel, &connection_id, command_id).await;
            })
            .await;
    }

    pub(crate) async fn post_frames(&self, connection_id: &str, frames: &[Frame]) -> Result<(), PostError> {
        for frame in frames {
            self.post(connection_id, frame).await?;
        }
        Ok(())
    }

    /// Posts a frame, again and again where that may help.
    pub async fn post(&self, connection_id: &str, frame: &Frame) -> Result<(), PostError> {
        for wait in self.timing.retries {
            match self.gateway.post(connection_id, frame).await {
                Err(PostError::Unavailable(_)) => {
                    metrics::counter!("PostRetried").increment(1);
                    tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                }
                result => return counted(result),
            }
        }
        counted(self.gateway.post(connection_id, frame).await)
    }

    /// 410 removes that connection and nothing else.
    pub async fn remove_gone(&self, connection_id: &str) {
        if let Err(cause) = self.table.remove(connection_id).await {
            // its rows have a TTL, and the next post finds it gone again
            warn!(connection_id, error = format!("{cause:#}"), "gone connection was not removed");
        }
    }

    /// Publications did not reach a connection: its subscription ends with 2500, and the SDK subscribes again and recovers. The
    /// row is marked first and deleted last, so that another deliverer says it again should this one die in between.
    ///
    /// `command_id` is that of the row that missed them: a subscribe that came since has a row of its own and is left alone.
    pub(crate) async fn interrupt(&self, channel: &str, connection_id: &str, command_id: u32) {
        match self.table.mark_lost(connection_id, channel, command_id).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(cause) => {
                error!(channel, connection_id, error = format!("{cause:#}"), "row not marked lost");
                return self.close(connection_id).await;
            }
        }
        let push = Push::Unsubscribe { channel, reason: Unsubscribed::INSUFFICIENT_STATE };
        match counted(self.gateway.post(connection_id, &Frame::new(push.to_line())).await) {
            Ok(()) => {
                metrics::counter!("Interrupted").increment(1);
                if let Err(cause) = self.table.drop_subscriber(connection_id, channel, command_id).await {
                    // told again by the next deliverer
                    warn!(channel, connection_id, error = format!("{cause:#}"), "lost row was not deleted");
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

    /// The connection's token has expired: nothing is posted any more but that.
    async fn expire(&self, connection_id: &str) {
        self.remove_gone(connection_id).await;
        let push = Frame::new(Push::Disconnect(Disconnect::EXPIRED).to_line());
        let _ = counted(self.gateway.post(connection_id, &push).await);
    }
}

fn counted(result: Result<(), PostError>) -> Result<(), PostError> {
    match &result {
        Ok(()) => metrics::counter!("Posted").increment(1),
        Err(PostError::Gone) => metrics::counter!("Gone").increment(1),
        Err(_) => metrics::counter!("PostFailed").increment(1),
    }
    result
}
