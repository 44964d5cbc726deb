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
            top: head.offset,
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
    /// the first round. False when somebody else has taken the delivery over.
    pub(crate) async fn deliver(
        &self,
        mut hold: Hold,
        mut known: Option<KnownEntry>,
        mut rows: Option<(Vec<Subscriber>, Option<PageStart>)>,
    ) -> anyhow::Result<bool> {
        loop {
            let lines = self.pending(&hold, known.take()).await?;
            if !self.post_round(&mut hold, &lines, rows.take()).await? {
                debug!(channel = hold.channel, "delivery was taken over");
                return Ok(false);
            }
            if self.table.release(&hold.channel, &hold.holder, hold.top).await? {
                return Ok(true);
            }
            let top = hold.top;
            if !self.renew(&mut hold, top).await? {
                return Ok(false);
            }
            hold.delivered = top;
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
                if hold.is_nearly_out() {
                    let (top, delivered) = (hold.top, hold.delivered);
                    if !self.renew(hold, delivered).await? {
                        return Ok(false);
                    }
                    // this round ends where it began; what came meanwhile is the next one's
                    hold.top = top;
                }
                let (held, frames) = (&*hold, &frames);
                let ready = part.iter().filter(|row| row.ready).cloned().collect();
                self.post_page(&held.channel, ready, held.until, |row| async move {
                    if row.behind {
                        self.frames_behind(held, &row).await
                    } else if row.from <= held.delivered {
                        Ok(frames.clone())
                    } else {
                        let newer = lines.range(row.from + 1..).map(|(_, line)| line);
                        Ok(join_frames(newer).into_iter().map(Frame::new).collect())
                    }
                })
                .await;
                for row in part.iter().filter(|row| row.ready && row.behind) {
                    // after the post: should this invocation die in between, it is posted twice, where the other order would
                    // leave a gap
                    self.table.caught_up(&row.connection_id, &held.channel, held.top).await?;
                }
            }
            start = next;
            if start.is_none() {
                return Ok(true);
            }
        }
    }

    /// What a row lacks that was made ready on a channel too busy to catch up with.
    async fn frames_behind(&self, hold: &Hold, row: &Subscriber) -> anyhow::Result<Vec<Frame>> {
        let entries = self.entries(&hold.channel, &hold.epoch, row.from, hold.top, hold.history_ttl).await?;
        let lines = entries.iter().map(|(offset, data)| publication_line(&hold.channel, *offset, data));
        let lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(join_frames(lines).into_iter().map(Frame::new).collect())
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

    async fn post_frames(&self, connection_id: &str, frames: &[Frame]) -> Result<(), PostError> {
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

    /// Publications did not reach a connection: its subscription ends with 2500, and the SDK subscribes again and recovers.
    /// `command_id` is that of the row that missed them: a subscribe that came since has a row of its own.
    pub(crate) async fn interrupt(&self, channel: &str, connection_id: &str, command_id: u32) {
        if let Err(cause) = self.table.drop_subscriber(connection_id, channel, command_id).await {
            error!(channel, connection_id, error = format!("{cause:#}"), "subscription was not dropped");
        }
        let push = Push::Unsubscribe { channel, reason: Unsubscribed::INSUFFICIENT_STATE };
        match self.post(connection_id, &Frame::new(push.to_line())).await {
            Ok(()) => metrics::counter!("Interrupted").increment(1),
            Err(PostError::Gone) => self.remove_gone(connection_id).await,
            Err(_) => {
                // not even that: closing the socket is the last way to make the SDK recover
                if let Err(cause) = self.gateway.delete(connection_id).await {
                    error!(connection_id, error = %cause, "connection that missed publications could not be closed");
                }
                self.remove_gone(connection_id).await;
            }
        }
    }

    /// The connection's token has expired: nothing is posted any more but that.
    async fn expire(&self, connection_id: &str) {
        self.remove_gone(connection_id).await;
        let _ = self.post(connection_id, &Frame::new(Push::Disconnect(Disconnect::EXPIRED).to_line())).await;
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
