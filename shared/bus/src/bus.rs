#[cfg(feature = "testing")]
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::{Builder, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_eventbridge::error::DisplayErrorContext;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_types::SdkConfig;
use signalbox_messages::{BusDetail, SOURCE, STATUS_CHANGED, StatusChanged};
use thiserror::Error;

/// Largest entry, source and detail type included (EventBridge user guide, entry size of `PutEvents`).
pub const MAX_ENTRY_BYTES: usize = 256 * 1024;

/// Why a message is not on the bus.
#[derive(Debug, Clone, Error)]
pub enum PutError {
    /// Larger than [`MAX_ENTRY_BYTES`]: will never get on it.
    #[error("the message is {bytes} bytes, more than the bus takes")]
    TooLarge {
        /// Size of the entry.
        bytes: usize,
    },
    /// EventBridge answered, and refused this entry.
    #[error("the bus refused the message: {code}: {message}")]
    Refused {
        /// For example `InternalFailure`, `ThrottlingException`.
        code: String,
        /// EventBridge's words.
        message: String,
    },
    /// No good answer within the time there is.
    #[error("the bus did not answer: {0}")]
    Unavailable(String),
}

/// Where a [`StatusChanged`] is put.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Bus {
    /// On AWS and in the local cloud.
    EventBridge(EventBridge),
    /// In tests.
    #[cfg(feature = "testing")]
    Recorded(Recording),
}

impl Bus {
    /// The bus `name` of EventBridge.
    pub fn new(aws: &SdkConfig, name: impl Into<String>) -> Self {
        Self::EventBridge(EventBridge::new(aws, name))
    }

    /// Puts one message. When this is `Ok`, EventBridge has it and delivers it at least once.
    ///
    /// # Errors
    /// See [`PutError`]; after any of them the message may still have been taken, so putting it again must be harmless
    /// (it is: its `id` stays).
    pub async fn put(&self, message: &StatusChanged) -> Result<(), PutError> {
        let detail = serde_json::to_string(message).map_err(|e| PutError::Unavailable(e.to_string()))?;
        let bytes = SOURCE.len() + STATUS_CHANGED.len() + detail.len();
        if bytes > MAX_ENTRY_BYTES {
            return Err(PutError::TooLarge { bytes });
        }
        match self {
            Self::EventBridge(bus) => bus.put(detail).await,
            #[cfg(feature = "testing")]
            Self::Recorded(recording) => recording.put(STATUS_CHANGED, &detail),
        }
    }

    /// Puts these, in their order, as many at once as the bus takes. When this is `Ok`, EventBridge has all of them.
    ///
    /// # Errors
    /// See [`PutError`]; any of the messages may have been taken then, so putting all of them again must be harmless.
    /// With one that is [`PutError::TooLarge`] nothing is put.
    pub async fn put_all<T: BusDetail>(&self, messages: &[T]) -> Result<(), PutError> {
        let details: Result<Vec<String>, PutError> = messages
            .iter()
            .map(|message| {
                let detail = serde_json::to_string(message).map_err(|e| PutError::Unavailable(e.to_string()))?;
                let bytes = entry_bytes(T::DETAIL_TYPE, &detail);
                if bytes > MAX_ENTRY_BYTES { Err(PutError::TooLarge { bytes }) } else { Ok(detail) }
            })
            .collect();
        for batch in batches(T::DETAIL_TYPE, details?) {
            match self {
                Self::EventBridge(bus) => bus.put_batch(T::DETAIL_TYPE, batch).await?,
                #[cfg(feature = "testing")]
                Self::Recorded(recording) => {
                    batch.iter().try_for_each(|detail| recording.put(T::DETAIL_TYPE, detail))?;
                }
            }
        }
        Ok(())
    }
}

fn entry_bytes(detail_type: &str, detail: &str) -> usize {
    SOURCE.len() + detail_type.len() + detail.len()
}

/// At most 10 entries, and 256 KB in all (EventBridge quotas, `PutEvents`).
fn batches(detail_type: &str, details: Vec<String>) -> Vec<Vec<String>> {
    const MAX_ENTRIES: usize = 10;
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut bytes = 0;
    for detail in details {
        let entry = entry_bytes(detail_type, &detail);
        match batches.last_mut() {
            Some(batch) if batch.len() < MAX_ENTRIES && bytes + entry <= MAX_ENTRY_BYTES => {
                bytes += entry;
                batch.push(detail);
            }
            _ => {
                bytes = entry;
                batches.push(vec![detail]);
            }
        }
    }
    batches
}

/// A bus of EventBridge.
#[derive(Debug, Clone)]
pub struct EventBridge {
    client: Client,
    name: String,
}

impl EventBridge {
    /// Three tries and 7 seconds in all: the webhook's caller hangs up after 10 (`timeout` of the Zabbix media type).
    fn new(aws: &SdkConfig, name: impl Into<String>) -> Self {
        let config = Builder::from(aws)
            .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50)))
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout(Duration::from_secs(3))
                    .operation_timeout(Duration::from_secs(7))
                    .build(),
            )
            .build();
        Self { client: Client::from_conf(config), name: name.into() }
    }

    async fn put(&self, detail: String) -> Result<(), PutError> {
        match self.send(STATUS_CHANGED, &[detail]).await?.into_iter().next() {
            Some((_, refusal)) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Entries that EventBridge refuses are put again by themselves, twice at most.
    async fn put_batch(&self, detail_type: &str, mut details: Vec<String>) -> Result<(), PutError> {
        for attempt in 0_u32.. {
            let refused = self.send(detail_type, &details).await?;
            let Some((_, refusal)) = refused.first() else { break };
            if attempt == 2 {
                return Err(PutError::clone(refusal));
            }
            details = refused.into_iter().filter_map(|(index, _)| details.get(index).cloned()).collect();
            tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
        }
        Ok(())
    }

    /// Which of them were refused, and why. `PutEvents` answers 200 also when it took nothing.
    async fn send(&self, detail_type: &str, details: &[String]) -> Result<Vec<(usize, PutError)>, PutError> {
        let entries = details.iter().map(|detail| {
            PutEventsRequestEntry::builder()
                .event_bus_name(&self.name)
                .source(SOURCE)
                .detail_type(detail_type)
                .detail(detail)
                .build()
        });
        let answer = self.client.put_events().set_entries(Some(entries.collect())).send().await;
        let answer = answer.map_err(|e| PutError::Unavailable(DisplayErrorContext(e).to_string()))?;
        let refused: Vec<_> = answer
            .entries()
            .iter()
            .enumerate()
            .filter_map(|(index, entry)| {
                let code = entry.error_code()?.to_owned();
                Some((index, PutError::Refused { code, message: entry.error_message().unwrap_or_default().to_owned() }))
            })
            .collect();
        if refused.is_empty() && answer.failed_entry_count() > 0 {
            return Err(PutError::Refused { code: "Unknown".to_owned(), message: String::new() });
        }
        Ok(refused)
    }
}

/// A bus that keeps what is put on it, or fails on demand.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Default)]
pub struct Recording {
    entries: Arc<Mutex<Vec<(String, String)>>>,
    broken: bool,
}

#[cfg(feature = "testing")]
impl Recording {
    /// Refuses everything, as EventBridge does in an outage.
    pub fn broken() -> Self {
        Self { broken: true, ..Self::default() }
    }

    /// All status changes that were put, oldest first.
    pub fn messages(&self) -> Vec<StatusChanged> {
        self.of::<StatusChanged>()
    }

    /// All of a type that were put, oldest first.
    pub fn of<T: BusDetail + serde::de::DeserializeOwned>(&self) -> Vec<T> {
        let entries = self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let of_type = entries.iter().filter(|(detail_type, _)| detail_type == T::DETAIL_TYPE);
        of_type.filter_map(|(_, detail)| serde_json::from_str(detail).ok()).collect()
    }

    fn put(&self, detail_type: &str, detail: &str) -> Result<(), PutError> {
        if self.broken {
            return Err(PutError::Refused { code: "InternalFailure".to_owned(), message: String::new() });
        }
        let mut entries = self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        entries.push((detail_type.to_owned(), detail.to_owned()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
