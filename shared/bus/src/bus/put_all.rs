use std::time::Duration;

use aws_sdk_eventbridge::error::DisplayErrorContext;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use futures::{StreamExt as _, stream};
use serde::Serialize;
use signalbox_messages::{ITEM_VALUES, ItemValues, SOURCE, STATUS_CHANGED, StatusChanged};
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
pub struct Entry {
    detail_type: &'static str,
    detail: String,
}

impl Entry {
    /// A change of a problem.
    ///
    /// # Errors
    /// Larger than the bus takes.
    pub fn status_changed(message: &StatusChanged) -> Result<Self, PutError> {
        Self::new(STATUS_CHANGED, message)
    }

    /// Values of a host's items.
    ///
    /// # Errors
    /// Larger than the bus takes.
    pub fn item_values(message: &ItemValues) -> Result<Self, PutError> {
        Self::new(ITEM_VALUES, message)
    }

    fn new(detail_type: &'static str, message: &impl Serialize) -> Result<Self, PutError> {
        let detail = serde_json::to_string(message).map_err(|e| PutError::Unavailable(e.to_string()))?;
        let entry = Self { detail_type, detail };
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
    /// Puts all messages, many at a time and in no order. When this is `Ok`, EventBridge has them and delivers each
    /// at least once.
    ///
    /// # Errors
    /// When some could not be put, though the others were tried. Putting all of them again must be harmless, as with
    /// [`Bus::put`].
    pub async fn put_all(&self, entries: &[Entry]) -> Result<(), PutAllError> {
        match self {
            Self::EventBridge(bus) => bus.put_all(entries).await,
            #[cfg(feature = "testing")]
            Self::Recorded(recording) => recording.put_all(entries),
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
    async fn put_batch(&self, mut batch: Vec<&Entry>) -> Result<(), (usize, PutError)> {
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

#[cfg(feature = "testing")]
impl super::Recording {
    /// All item values that were put, oldest first.
    pub fn item_values(&self) -> Vec<ItemValues> {
        self.item_values.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn put_all(&self, entries: &[Entry]) -> Result<(), PutAllError> {
        let failed = |cause| PutAllError { left: entries.len(), of: entries.len(), cause };
        let unread = |e: serde_json::Error| failed(PutError::Unavailable(e.to_string()));
        if self.broken {
            return Err(failed(PutError::Refused { code: "InternalFailure".to_owned(), message: String::new() }));
        }
        for entry in entries {
            if entry.detail_type == ITEM_VALUES {
                let values = serde_json::from_str(&entry.detail).map_err(unread)?;
                self.item_values.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(values);
            } else {
                self.put(&serde_json::from_str(&entry.detail).map_err(unread)?).map_err(failed)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
