mod put_all;

#[cfg(feature = "testing")]
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::config::{
    Builder,
    retry::{RetryConfig, RetryPartition, TokenBucket},
    timeout::TimeoutConfig,
};
use aws_types::SdkConfig;
#[cfg(feature = "testing")]
use signalbox_messages::BusDetail;
use signalbox_messages::StatusChanged;
use thiserror::Error;

use put_all::Entry;
pub use put_all::PutAllError;

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
        let entry = Entry::of(message)?;
        match self {
            Self::EventBridge(bus) => bus.put(&entry).await,
            #[cfg(feature = "testing")]
            Self::Recorded(recording) => recording.put(&entry),
        }
    }
}

/// A bus of EventBridge.
#[derive(Debug, Clone)]
pub struct EventBridge {
    client: Client,
    name: String,
}

impl EventBridge {
    /// As often as it takes, 8.5 seconds in all: the webhook's caller hangs up after 10 (`timeout` of the Zabbix media type). Over the
    /// quota of requests a second EventBridge throttles, and a storm is over it for some seconds.
    fn new(aws: &SdkConfig, name: impl Into<String>) -> Self {
        let config = Builder::from(aws)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(20)
                    .with_initial_backoff(Duration::from_millis(50))
                    .with_max_backoff(Duration::from_secs(1)),
            )
            // a quota of retries for each client, where the SDK has one for the whole process
            .retry_partition(RetryPartition::custom("bus").token_bucket(TokenBucket::default()).build())
            .timeout_config(
                TimeoutConfig::builder()
                    .operation_attempt_timeout(Duration::from_secs(3))
                    .operation_timeout(Duration::from_millis(8_500))
                    .build(),
            )
            .build();
        Self { client: Client::from_conf(config), name: name.into() }
    }

    async fn put(&self, entry: &Entry) -> Result<(), PutError> {
        self.put_batch(vec![entry]).await.map_err(|(_, cause)| cause)
    }
}

/// A bus that keeps what is put on it, or fails on demand.
#[cfg(feature = "testing")]
#[derive(Debug, Clone, Default)]
pub struct Recording {
    entries: Arc<Mutex<Vec<Entry>>>,
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
        let of_type = entries.iter().filter(|entry| entry.detail_type == T::DETAIL_TYPE);
        of_type.filter_map(|entry| serde_json::from_str(&entry.detail).ok()).collect()
    }

    fn put(&self, entry: &Entry) -> Result<(), PutError> {
        if self.broken {
            return Err(PutError::Refused { code: "InternalFailure".to_owned(), message: String::new() });
        }
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(entry.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
