use signalbox_channels::Namespace;
use signalbox_connections::{Head, LogPage};
use signalbox_protocol::{Publication, StreamPosition};

use crate::{
    batch::Batch,
    publish::{Publisher, now_ms},
    subscribe::publication_bytes,
};

/// Bytes of publications in one answer, which is a frame of 128 KB with its envelope; who wants more asks on from there.
const HISTORY_BYTES: usize = 100 * 1024;

/// Which part of a channel's history.
#[derive(Debug, Clone, Copy, Default)]
pub struct HistoryQuery<'a> {
    /// Most publications; 0 asks for the position alone.
    pub limit: usize,
    /// After this position, or before it in reverse.
    pub since: Option<&'a StreamPosition>,
    /// The newest first.
    pub reverse: bool,
}

/// A part of a channel's history.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// In the order asked for.
    pub publications: Vec<Publication>,
    /// The stream's top.
    pub position: StreamPosition,
}

/// Why there is no history to tell.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The position is of another stream (error 112).
    #[error("unrecoverable position")]
    UnrecoverablePosition,
    /// Nothing that a caller could do something about but try again.
    #[error(transparent)]
    Unexpected(#[from] anyhow::Error),
}

impl Publisher {
    /// Part of a channel's history: what is within `history_size` and `history_ttl` and was not removed.
    pub async fn history(
        &self,
        channel: &str,
        namespace: &Namespace,
        query: HistoryQuery<'_>,
    ) -> Result<HistoryPage, HistoryError> {
        let now_s = now_ms() / 1000;
        let head = self.table.head(channel, now_s, namespace.history_meta_ttl).await?;
        if query.since.is_some_and(|since| !since.epoch.is_empty() && since.epoch != head.epoch) {
            return Err(HistoryError::UnrecoverablePosition);
        }
        let position = StreamPosition { offset: head.offset, epoch: head.epoch.clone() };
        if query.limit == 0 {
            return Ok(HistoryPage { publications: Vec::new(), position });
        }
        // what was appended and is not delivered yet may not be written yet: what comes after it would hide it for ever from
        // whoever pages on from there
        self.entries(channel, &head, head.delivered.min(head.offset), head.offset, namespace.history_ttl).await?;
        let (mut after, mut to) = (self.history_begins_after(channel, &head, namespace, now_s).await?, head.offset);
        match query.since {
            Some(since) if query.reverse => to = to.min(since.offset.saturating_sub(1)),
            Some(since) => after = after.max(since.offset),
            None => {}
        }
        let page = LogPage {
            channel,
            epoch: &head.epoch,
            after,
            to,
            reverse: query.reverse,
            limit: query.limit,
            max_bytes: HISTORY_BYTES,
            now_s,
        };
        let entries = if after < to { self.table.log_page(&page).await? } else { Vec::new() };
        let mut publications = Batch::new(channel, entries, None).for_reply(false, None)?;
        // tags and infos count too
        let mut bytes = 0;
        let fit = publications.iter().take_while(|publication| {
            bytes += publication_bytes(publication);
            bytes <= HISTORY_BYTES
        });
        let fit = fit.count().max(1);
        publications.truncate(fit);
        Ok(HistoryPage { publications, position })
    }

    /// Offsets up to this are not history any more, whatever their TTL: the newest `history_size` publications are. What was suppressed,
    /// or skipped the history, has taken a place among the offsets and takes none of theirs.
    async fn history_begins_after(
        &self,
        channel: &str,
        head: &Head,
        namespace: &Namespace,
        now_s: i64,
    ) -> anyhow::Result<u64> {
        let after = head.removed.max(head.offset.saturating_sub(u64::from(namespace.history_size)));
        if head.hole <= after {
            return Ok(after);
        }
        let size = usize::try_from(namespace.history_size).unwrap_or(usize::MAX);
        self.table.log_begin(channel, &head.epoch, (head.removed, head.offset), size, now_s).await
    }
}
