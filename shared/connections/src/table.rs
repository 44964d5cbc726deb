use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{
        query::{QueryOutput, builders::QueryFluentBuilder},
        transact_write_items::TransactWriteItemsError,
    },
    types::{KeysAndAttributes, TransactWriteItem},
};
use aws_types::SdkConfig;
use sha2::{Digest as _, Sha256};

use crate::{
    StatusTable,
    attribute::{Item, number, text},
};

/// The index by `due_shard` and `due_at`: what somebody must look at, and when.
const DUE_INDEX: &str = "due";

/// Connections, subscriptions, channel heads and logs.
#[derive(Debug, Clone)]
pub struct ConnectionTable {
    pub(crate) client: Client,
    pub(crate) table: String,
    /// Channels noted in the registry by this environment, and when (unix seconds).
    pub(crate) noted: Arc<Mutex<HashMap<String, i64>>>,
    /// Channels that this environment found somebody delivering in, and when (unix milliseconds).
    pub(crate) busy: Arc<Mutex<HashMap<String, i64>>>,
}

/// Where the next page begins.
#[derive(Debug, Clone)]
pub struct PageStart(pub(crate) Item);

impl ConnectionTable {
    /// The table of that name.
    pub fn new(aws: &SdkConfig, table: impl Into<String>) -> Self {
        Self::with_client(Client::new(aws), table.into())
    }

    /// The table of problems, over the same client: the SDK's takes some time to make.
    pub fn status_table(&self, table: impl Into<String>) -> StatusTable {
        StatusTable::with_client(self.client.clone(), table.into())
    }

    pub(crate) fn with_client(client: Client, table: String) -> Self {
        Self { client, table, noted: Arc::default(), busy: Arc::default() }
    }

    /// The items of a partition, read consistently.
    pub(crate) fn partition(&self, pk: impl Into<String>) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", text(pk))
    }

    /// One page of what is due in a shard of the index until `until_ms` (unix milliseconds; `None` = all there is), the
    /// earliest first. An index is read as it was a moment ago (DynamoDB has no consistent read of one).
    pub(crate) async fn due(
        &self,
        shard: String,
        until_ms: Option<i64>,
        start: Option<PageStart>,
    ) -> anyhow::Result<(Vec<Item>, Option<PageStart>)> {
        let query = self.client.query().table_name(&self.table).index_name(DUE_INDEX);
        let query = query.expression_attribute_values(":shard", text(shard));
        let query = match until_ms {
            None => query.key_condition_expression("due_shard = :shard"),
            Some(until) => query
                .key_condition_expression("due_shard = :shard AND due_at <= :until")
                .expression_attribute_values(":until", number(until)),
        };
        let page =
            query.set_exclusive_start_key(start.map(|start| start.0)).send().await.context("query what is due")?;
        Ok(paged(page))
    }
}

/// A page's items, and where the next one begins.
pub(crate) fn paged(page: QueryOutput) -> (Vec<Item>, Option<PageStart>) {
    (page.items.unwrap_or_default(), page.last_evaluated_key.map(PageStart))
}

/// Which conditions of a transaction failed, by its items' order.
pub(crate) enum Transaction {
    Done,
    Refused(Vec<bool>),
    /// Others kept writing the same items.
    Conflicted,
}

/// A transaction that loses against a concurrent write of one of its items is not refused: it is tried again.
///
/// A try whose end is not known (`TransactionInProgress`, and what the SDK repeats by itself) is repeated under its own token,
/// which DynamoDB answers with that try's success; only one that was cancelled for certain is followed by another token, because what
/// DynamoDB remembers of a cancelled one is not documented.
pub(crate) async fn transact(client: &Client, items: Vec<TransactWriteItem>) -> anyhow::Result<Transaction> {
    let mut token = new_token();
    for attempt in 0..16 {
        let transaction = client.transact_write_items().set_transact_items(Some(items.clone()));
        let Err(error) = transaction.client_request_token(&token).send().await else {
            return Ok(Transaction::Done);
        };
        match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons();
                let codes: Vec<_> = reasons.iter().map(|reason| reason.code().unwrap_or("None")).collect();
                if codes.contains(&"ConditionalCheckFailed") {
                    return Ok(Transaction::Refused(
                        codes.iter().map(|&code| code == "ConditionalCheckFailed").collect(),
                    ));
                }
                let passing = ["None", "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
                if codes.is_empty() || !codes.iter().all(|code| passing.contains(code)) {
                    return Err(error).context("transaction");
                }
                token = new_token();
            }
            Some(TransactWriteItemsError::TransactionInProgressException(_)) => {}
            _ => return Err(error).context("transaction"),
        }
        pause(attempt).await;
    }
    Ok(Transaction::Conflicted)
}

fn new_token() -> String {
    uuid::Uuid::new_v4().to_string()
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
            Err(error) if attempt < 16 && error.as_service_error().is_some_and(&is_conflict) => pause(attempt).await,
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
    Ok(unless_refused(result, is_refusal)?.is_some())
}

/// The answer to a write with a condition; `None` when the condition did not hold.
pub(crate) fn unless_refused<T, E, R>(
    result: Result<T, SdkError<E, R>>,
    is_refusal: impl Fn(&E) -> bool,
) -> Result<Option<T>, SdkError<E, R>> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.as_service_error().is_some_and(is_refusal) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits before another try, longer each time, and at random: those who met once would meet again.
pub(crate) async fn pause(attempt: u32) {
    let most = 5_u64 << attempt.min(5);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=most))).await;
}

/// The primary key.
pub(crate) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    Item::from([("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))])
}

/// A number that is the same for a name in every build and on every machine (FNV-1a): what is stored depends on it.
pub(crate) fn stable_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// One of `count` buckets for a name. FNV mixes the last letters poorly, and ids differ in few: its number is mixed once more
/// (as `MurmurHash3` ends).
pub(crate) fn bucket(name: &str, count: u32) -> u32 {
    let mut hash = stable_hash(name);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    u32::try_from((hash ^ (hash >> 33)) % u64::from(count.max(1))).unwrap_or(0)
}

/// A name as part of a key, whatever its length: keys have at most 2048 and 1024 bytes (DynamoDB quotas), users and idempotency
/// keys come from outside.
pub(crate) fn bounded(name: &str) -> String {
    if name.len() <= 512 { name.to_owned() } else { format!("sha256#{}", hex::encode(Sha256::digest(name))) }
}

/// Most keys of one `BatchGetItem` (DynamoDB API reference).
const GET_AT_ONCE: usize = 100;

/// The items that are there, in no order, read consistently. No key may be there twice.
pub(crate) async fn get_all(client: &Client, table: &str, mut keys: Vec<Item>) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut attempt = 0;
    while !keys.is_empty() {
        let rest = keys.split_off(keys.len().min(GET_AT_ONCE));
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build()?;
        let mut answer = client.batch_get_item().request_items(table, wanted).send().await.context("batch get")?;
        items.extend(answer.responses.take().and_then(|mut tables| tables.remove(table)).unwrap_or_default());
        keys = rest;
        // over 16 MB, or more than the table reads just now
        let left = answer.unprocessed_keys.take().and_then(|mut tables| tables.remove(table));
        if let Some(left) = left.filter(|left| !left.keys.is_empty()) {
            anyhow::ensure!(attempt < 8, "DynamoDB leaves {} keys unread", left.keys.len());
            pause(attempt).await;
            attempt += 1;
            keys.extend(left.keys);
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_make_keys_of_bounded_length_that_differ() {
        let long = "ä".repeat(5000);
        let other = format!("{}b", "ä".repeat(4999));
        assert!(bounded(&long).len() < 700);
        assert_ne!(bounded(&long), bounded(&other));
        assert_eq!(bounded("short"), "short");
    }

    /// Rows are found again by it: it may never change.
    #[test]
    fn the_hash_of_a_name_is_the_published_fnv_1a() {
        assert_eq!(stable_hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(stable_hash("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(stable_hash("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn buckets_are_filled_evenly() {
        let mut counts = [0_u32; 8];
        for n in 0..8000 {
            counts[bucket(&format!("L0SM9cOFvHcCIhw{n}="), 8) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
