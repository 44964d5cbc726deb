//! SQS, for whoever sends. Receiving is Lambda's business (`signalbox_lambda::sqs`).

#[cfg(feature = "testing")]
use std::sync::Mutex;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use aws_sdk_sqs::{
    Client,
    types::{MessageAttributeValue, SendMessageBatchRequestEntry},
};
use aws_types::SdkConfig;

/// A queue that messages are sent to.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Arc<LazyClient>,
    url: String,
    #[cfg(feature = "testing")]
    recorded: Option<Arc<Mutex<Vec<String>>>>,
}

/// Made at the first message: most environments of those who may have something to send never have.
#[derive(Debug)]
struct LazyClient {
    aws: SdkConfig,
    client: OnceLock<Client>,
}

/// A message of a FIFO queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FifoMessage {
    /// The body.
    pub body: String,
    /// Messages of one group are received in the order in which they were sent (`MessageGroupId`, 128 characters at most).
    pub group: String,
    /// The same again within five minutes is dropped (`MessageDeduplicationId`, 128 characters at most).
    pub deduplication: String,
}

impl Queue {
    /// The queue of that URL.
    pub fn new(aws: &SdkConfig, url: impl Into<String>) -> Self {
        Self {
            client: Arc::new(LazyClient { aws: aws.clone(), client: OnceLock::new() }),
            url: url.into(),
            #[cfg(feature = "testing")]
            recorded: None,
        }
    }

    /// A queue that keeps the bodies that [`Queue::send`] was given, and where they are kept.
    #[cfg(feature = "testing")]
    pub fn recorded() -> (Self, Arc<Mutex<Vec<String>>>) {
        let recorded = Arc::default();
        let aws = SdkConfig::builder().build();
        (Self { recorded: Some(Arc::clone(&recorded)), ..Self::new(&aws, "") }, recorded)
    }

    fn client(&self) -> &Client {
        self.client.client.get_or_init(|| Client::new(&self.client.aws))
    }

    /// Sends a message with string attributes; SQS's limit of 256 KB is for all of it together.
    pub async fn send(&self, body: impl Into<String>, attributes: &[(&str, &str)]) -> anyhow::Result<()> {
        #[cfg(feature = "testing")]
        if let Some(recorded) = &self.recorded {
            recorded.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(body.into());
            return Ok(());
        }
        let mut message = self.client().send_message().queue_url(&self.url).message_body(body);
        for (name, value) in attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(*value).build()?;
            message = message.message_attributes(*name, value);
        }
        message.send().await.context("send message")?;
        Ok(())
    }

    /// Sends messages to a FIFO queue, in order within each group. An error may leave some of them sent: sent again they are
    /// dropped by their deduplication id.
    pub async fn send_fifo(&self, messages: &[FifoMessage]) -> anyhow::Result<()> {
        // SendMessageBatch takes 10 (SQS API reference)
        for chunk in messages.chunks(10) {
            let mut batch = self.client().send_message_batch().queue_url(&self.url);
            for (at, message) in chunk.iter().enumerate() {
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(at.to_string())
                    .message_body(&message.body)
                    .message_group_id(&message.group)
                    .message_deduplication_id(&message.deduplication)
                    .build()?;
                batch = batch.entries(entry);
            }
            let answer = batch.send().await.context("send messages")?;
            if let Some(failed) = answer.failed.first() {
                anyhow::bail!("message not taken: {} {}", failed.code, failed.message.as_deref().unwrap_or_default());
            }
        }
        Ok(())
    }
}
