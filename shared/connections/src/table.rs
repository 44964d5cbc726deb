use std::{future::Future, time::Duration};

use anyhow::{Context as _, anyhow};
use aws_sdk_dynamodb::{
    Client, error::SdkError, operation::transact_write_items::TransactWriteItemsError, types::TransactWriteItem,
};
use aws_types::SdkConfig;

use crate::attribute::{Item, text};

/// Connections, subscriptions, channel heads and logs.
#[derive(Debug, Clone)]
pub struct ConnectionTable {
    pub(crate) client: Client,
    pub(crate) table: String,
}

impl ConnectionTable {
    /// The table of that name.
    pub fn new(aws: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(aws), table: table.into() }
    }
}

/// Which conditions of a transaction failed, by its items' order.
pub(crate) enum Transaction {
    Done,
    Refused(Vec<bool>),
    /// Others kept writing the same items.
    Conflicted,
}

/// A transaction that loses against a concurrent write of one of its items is not refused: it is tried again.
pub(crate) async fn transact(client: &Client, items: Vec<TransactWriteItem>) -> anyhow::Result<Transaction> {
    for attempt in 0..8 {
        let Err(error) = client.transact_write_items().set_transact_items(Some(items.clone())).send().await else {
            return Ok(Transaction::Done);
        };
        let reasons = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
                .cancellation_reasons()
                .iter()
                .map(|reason| reason.code().unwrap_or("None"))
                .collect::<Vec<_>>(),
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => vec!["TransactionConflict"],
            _ => return Err(error).context("transaction"),
        };
        if reasons.contains(&"ConditionalCheckFailed") {
            return Ok(Transaction::Refused(reasons.iter().map(|&code| code == "ConditionalCheckFailed").collect()));
        }
        let passing = ["None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
        if reasons.is_empty() || !reasons.iter().all(|code| passing.contains(code)) {
            return Err(error).context("transaction");
        }
        pause(attempt).await;
    }
    Ok(Transaction::Conflicted)
}

/// For callers to whom a conflict without end is a failure.
pub(crate) fn settled(transaction: Transaction) -> anyhow::Result<Transaction> {
    match transaction {
        Transaction::Conflicted => Err(anyhow!("transaction kept conflicting")),
        settled => Ok(settled),
    }
}

/// Runs a single-item write again while a concurrent transaction holds the item.
pub(crate) async fn despite_conflicts<T, E, R, Fut>(
    is_conflict: impl Fn(&E) -> bool,
    call: impl Fn() -> Fut,
) -> Result<T, SdkError<E, R>>
where
    Fut: Future<Output = Result<T, SdkError<E, R>>>,
{
    for attempt in 0.. {
        match call().await {
            Err(error) if attempt < 8 && error.as_service_error().is_some_and(&is_conflict) => pause(attempt).await,
            result => return result,
        }
    }
    unreachable!("the loop above only ends by returning")
}

/// Whether a write with a condition was applied; false when the condition did not hold.
pub(crate) fn applied<T, E, R>(
    result: Result<T, SdkError<E, R>>,
    is_refusal: impl Fn(&E) -> bool,
) -> Result<bool, SdkError<E, R>> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.as_service_error().is_some_and(is_refusal) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn pause(attempt: u32) {
    let most = 5_u64 << attempt.min(5);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=most))).await;
}

/// The primary key.
pub(crate) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    Item::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}
