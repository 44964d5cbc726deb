use std::time::Duration;

use aws_sdk_eventbridge::error::DisplayErrorContext;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use futures::{StreamExt as _, stream};
use signalbox_messages::{BusDetail, SOURCE};
use thiserror::Error;

use super::{Bus, EventBridge, MAX_ENTRY_BYTES, PutError};

/// Most entries of one `PutEvents` (EventBridge API reference); together they may have [`MAX_ENTRY_BYTES`].
const MAX_ENTRIES: usize = 10;

/// Requests under way at once: a thousand entries take thirteen round trips, and one POST does not use up what the
/// account may put in a second (EventBridge quotas, `PutEvents`: from 400 requests a second on).
const AT_ONCE: usize = 8;

/// Before entries that were refused inside a good answer are put again. Whole requests are repeated by the SDK.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// A message as it goes onto the bus.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) detail_type: &'static str,
    pub(super) detail: String,
}

impl Entry {
    pub(super) fn of<T: BusDetail>(message: &T) -> Result<Self, PutError> {
        let detail = serde_json::to_string(message).map_err(|e| PutError::Unavailable(e.to_string()))?;
        let entry = Self { detail_type: T::DETAIL_TYPE, detail };
        match entry.bytes() {
            bytes if bytes > MAX_ENTRY_BYTES => Err(PutError::TooLarge { bytes }),
            _ => Ok(entry),
        }
    }

    /// As EventBridge counts them.
    fn bytes(&self) -> usize {
        SOURCE.len() + self.detail_type.len() + self.detail.len()
    }
}

/// Some messages are not on the bus; which of the others are is not told.
#[derive(Debug, Error)]
#[error("{left} of {of} messages are not on the bus: {cause}")]
pub struct PutAllError {
    /// How many are not, or may not be.
    pub left: usize,
    /// How many there were.
    pub of: usize,
    /// Why the first of them is not.
    pub cause: PutError,
}

impl Bus {
    /// Puts all messages, many at a time and in no order: what they change must not depend on it. When this is `Ok`,
    /// EventBridge has them and delivers each at least once.
    ///
    /// # Errors
    /// When some could not be put, though the others were tried; with one that is [`PutError::TooLarge`] none was.
    /// Putting all of them again must be harmless, as with [`Bus::put`].
    pub async fn put_all<T: BusDetail>(&self, messages: &[T]) -> Result<(), PutAllError> {
        let none = |cause| PutAllError { left: messages.len(), of: messages.len(), cause };
        let entries: Vec<Entry> = messages.iter().map(Entry::of).collect::<Result<_, _>>().map_err(none)?;
        match self {
            Self::EventBridge(bus) => bus.put_all(&entries).await,
            #[cfg(feature = "testing")]
            Self::Recorded(recording) => entries.iter().try_for_each(|entry| recording.put(entry)).map_err(none),
        }
    }
}

impl EventBridge {
    async fn put_all(&self, entries: &[Entry]) -> Result<(), PutAllError> {
        // collected: a closure within the stream would have to be good for any lifetime
        let puts: Vec<_> = batches(entries).into_iter().map(|batch| self.put_batch(batch)).collect();
        let mut done = stream::iter(puts).buffer_unordered(AT_ONCE);
        let (mut left, mut first) = (0, None);
        while let Some(result) = done.next().await {
            if let Err((count, cause)) = result {
                left += count;
                first.get_or_insert(cause);
            }
        }
        first.map_or(Ok(()), |cause| Err(PutAllError { left, of: entries.len(), cause }))
    }

    /// An error says how many of the batch are left.
    pub(super) async fn put_batch(&self, mut batch: Vec<&Entry>) -> Result<(), (usize, PutError)> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let Some((refused, cause)) = self.refused_of(&batch).await.map_err(|cause| (batch.len(), cause))? else {
                return Ok(());
            };
            let Some(pause) = pauses.next() else { return Err((refused.len(), cause)) };
            batch = refused;
            tokio::time::sleep(pause).await;
        }
    }

    /// One request: the entries that were refused, and why the first was; `None` if none was.
    async fn refused_of<'a>(&self, batch: &[&'a Entry]) -> Result<Option<(Vec<&'a Entry>, PutError)>, PutError> {
        let request = batch.iter().fold(self.client.put_events(), |request, entry| {
            let entry = PutEventsRequestEntry::builder()
                .event_bus_name(&self.name)
                .source(SOURCE)
                .detail_type(entry.detail_type)
                .detail(&entry.detail);
            request.entries(entry.build())
        });
        let answer = request.send().await;
        let answer = answer.map_err(|e| PutError::Unavailable(DisplayErrorContext(e).to_string()))?;
        let told = answer.entries();
        let first = told.iter().find(|entry| entry.error_code().is_some());
        if first.is_none() && answer.failed_entry_count() == 0 {
            return Ok(None);
        }
        // results stand in the order of the entries; where they do not say which, it may be any
        let refused = batch.iter().zip(told).filter(|(_, result)| result.error_code().is_some());
        let refused: Vec<&Entry> = refused.map(|(entry, _)| *entry).collect();
        let explained = told.len() == batch.len() && !refused.is_empty();
        let cause = PutError::Refused {
            code: first.and_then(|entry| entry.error_code()).unwrap_or("Unknown").to_owned(),
            message: first.and_then(|entry| entry.error_message()).unwrap_or_default().to_owned(),
        };
        Ok(Some((if explained { refused } else { batch.to_vec() }, cause)))
    }
}

/// In their order, as many to a request as it takes.
fn batches(entries: &[Entry]) -> Vec<Vec<&Entry>> {
    let mut batches: Vec<Vec<&Entry>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.bytes();
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_ENTRIES && bytes <= MAX_ENTRY_BYTES => batch.push(entry),
            _ => {
                bytes = entry.bytes();
                batches.push(vec![entry]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests;
