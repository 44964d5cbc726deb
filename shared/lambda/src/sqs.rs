//! SQS batches: records are decoded, the handler says what became of each, and only what must come back comes back.

use std::future::Future;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use aws_types::SdkConfig;
use serde::de::DeserializeOwned;
use signalbox_queues::Queue;
use tracing::{error, warn};

use crate::env;

/// One decoded message.
#[derive(Debug, Clone)]
pub struct Record<T> {
    /// SQS message id; stays the same when the message is received again and when it moves to the dead letter queue.
    pub message_id: String,
    /// How often it was received, this time included; 1 where SQS does not say (`ApproximateReceiveCount`).
    pub receives: u32,
    /// The body.
    pub body: T,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done; SQS deletes it.
    Stored,
    /// Not now: SQS delivers it again after the visibility timeout, and moves it to the dead letter queue after
    /// `maxReceiveCount`.
    Retry(String),
    /// Never: it goes to the dead letter queue at once, with the reason.
    Never(String),
}

/// Where records go that can never be processed.
#[derive(Debug)]
pub enum DeadLetters {
    /// Sent at once, with the message attributes `Reason` and `MessageId`.
    Queue(Queue),
    /// In the VPC there is no way to SQS: the redrive policy moves the message, and the log has the reason.
    Redrive,
}

impl DeadLetters {
    /// `DEAD_LETTER_QUEUE_URL`, where the function can reach SQS.
    pub fn from_env(aws: &SdkConfig) -> Self {
        match env::optional("DEAD_LETTER_QUEUE_URL") {
            Some(url) => Self::Queue(Queue::new(aws, url)),
            None => Self::Redrive,
        }
    }

    /// True when the record needs no further delivery.
    async fn bury(&self, message_id: &str, body: Option<String>, reason: &str) -> bool {
        error!(message_id, reason, "record can never be processed");
        let Self::Queue(queue) = self else { return false };
        let body = body.filter(|body| !body.is_empty()).unwrap_or_else(|| "(empty)".to_owned());
        let (reason, id) = (attribute_text(reason), attribute_text(message_id));
        let sent = queue.send(body, &[("Reason", reason.as_str()), ("MessageId", id.as_str())]).await;
        if let Err(cause) = &sent {
            warn!(
                message_id,
                error = format!("{cause:#}"),
                "dead letter queue refused the record; redrive will move it"
            );
        }
        sent.is_ok()
    }
}

/// Longest reason that goes along; a message and its attributes share SQS's size limit.
const REASON_CHARS: usize = 1_000;

/// SQS allows in an attribute what XML 1.0 allows, and not nothing (SQS API reference, `SendMessage`).
fn attribute_text(text: &str) -> String {
    let mut text: String = text
        .chars()
        .take(REASON_CHARS)
        .map(|c| if c.is_control() && !matches!(c, '\t' | '\n' | '\r') { '\u{fffd}' } else { c })
        .collect();
    if text.is_empty() {
        text.push('?');
    }
    text
}

/// Runs one batch: undecodable bodies are buried, the others go to `handler` together, and each record that must come back
/// is named in the response. A handler that fails as a whole fails all its records.
pub async fn process<T, Fut>(
    event: SqsEvent,
    dead_letters: &DeadLetters,
    handler: impl FnOnce(Vec<Record<T>>) -> Fut,
) -> SqsBatchResponse
where
    T: DeserializeOwned,
    Fut: Future<Output = anyhow::Result<Vec<Outcome>>>,
{
    let mut failed = Vec::new();
    let (mut records, mut bodies) = (Vec::new(), Vec::new());
    for SqsMessage { message_id, body, attributes, .. } in event.records {
        let message_id = message_id.unwrap_or_default();
        let receives = attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1);
        match serde_json::from_str(body.as_deref().unwrap_or_default()) {
            Ok(decoded) => {
                records.push(Record { message_id: message_id.clone(), receives, body: decoded });
                bodies.push((message_id, body));
            }
            Err(cause) => {
                if !dead_letters.bury(&message_id, body, &format!("cannot be decoded: {cause}")).await {
                    failed.push(message_id);
                }
            }
        }
    }
    if !records.is_empty() {
        let outcomes = handler(records).await.unwrap_or_else(|cause| {
            error!(error = format!("{cause:#}"), "batch failed");
            Vec::new()
        });
        // A record without an outcome has not been dealt with.
        let outcomes = outcomes.into_iter().chain(std::iter::repeat(Outcome::Retry("no outcome".to_owned())));
        for ((message_id, body), outcome) in bodies.into_iter().zip(outcomes) {
            let done = match outcome {
                Outcome::Stored => true,
                Outcome::Retry(reason) => {
                    warn!(message_id, reason, "record comes back");
                    false
                }
                Outcome::Never(reason) => dead_letters.bury(&message_id, body, &reason).await,
            };
            if !done {
                failed.push(message_id);
            }
        }
    }
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed
        .into_iter()
        .map(|message_id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message_id;
            failure
        })
        .collect();
    response
}
