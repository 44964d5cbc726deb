use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, anyhow};
use aws_sdk_dynamodb::{
    Client,
    operation::update_item::UpdateItemError,
    types::{Delete, Put, TransactWriteItem},
};
use aws_types::SdkConfig;
use serde::{Deserialize, Serialize};
use signalbox_messages::{Host, HostState, StatusChanged, ZabbixSeen};
use signalbox_zabbix::{Merged, Problem, ProblemView, poll::Known};

use crate::{
    attribute::{Item, find_number, find_text, get_number, get_text, number, text},
    table::{Transaction, applied, key, transact},
};

/// Open problems and hosts are kept for 400 days after their last change, resolved problems for 30: long enough that a late
/// message finds the problem resolved and does not open it again.
const OPEN_TTL: i64 = 400 * 24 * 60 * 60;
const RESOLVED_TTL: i64 = 30 * 24 * 60 * 60;

/// How far back a snapshot tells of resolved problems (the board's sparkline).
const RECENT: i64 = 60 * 60;

/// Bytes of JSON in one page of a snapshot: the reply must fit one WebSocket message of 128 KB with room for the rest.
const PAGE_BYTES: usize = 100 * 1024;

/// The current state of every problem, and the hosts that have had one.
#[derive(Debug, Clone)]
pub struct StatusTable {
    pub(crate) client: Client,
    pub(crate) table: String,
}

/// What came of a message.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The problem with everything known merged.
    pub problem: Problem,
    /// False for a message after which the problem looks as before: a repeated or late one, or another way's word for the same.
    pub changed: bool,
}

/// One page of a snapshot; follow `cursor` until there is none.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SnapshotPage {
    /// Open problems.
    pub problems: Vec<ProblemView>,
    /// Hosts that have had a problem, with the groups last seen.
    pub hosts: Vec<KnownHost>,
    /// What was resolved in the last hour.
    pub recent: Vec<RecentlyResolved>,
    /// On the first page, how a poller last found Zabbix; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zabbix: Option<ZabbixSeen>,
    /// Where the next page begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A host of the board's grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownHost {
    /// The host.
    #[serde(flatten)]
    pub host: Host,
    /// Its groups.
    pub groups: Vec<String>,
    /// What a poll found out of the ordinary about it.
    #[serde(default, skip_serializing_if = "HostState::is_ordinary")]
    pub state: HostState,
}

/// A problem that is over, for the sparkline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentlyResolved {
    /// Unix seconds.
    pub opened_at: i64,
    /// Unix seconds.
    pub resolved_at: i64,
    /// 0 to 5.
    pub severity: u8,
}

/// Items of a list that are read at once: enough for a page, and not the megabyte that a query without a limit reads, pays for and
/// throws away.
const PAGE_ITEMS: i32 = 250;

/// DynamoDB quotas: a sort key.
const MAX_SORT_KEY_BYTES: usize = 1024;

/// The three lists of a snapshot, in the order in which its pages go through them.
const LISTS: [&str; 3] = ["open", "hosts", "resolved"];

impl StatusTable {
    /// The table of that name.
    pub fn new(aws: &SdkConfig, table: impl Into<String>) -> Self {
        Self::with_client(Client::new(aws), table.into())
    }

    pub(crate) fn with_client(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Merges a message into its problem, on condition that nobody else changed it meanwhile; the list of open problems is
    /// part of the same transaction. Any order and any repetition of messages ends in the same state.
    pub async fn apply(&self, message: &StatusChanged, now: i64) -> anyhow::Result<Applied> {
        for attempt in 0..16_u64 {
            let stored = self.problem(&message.event_id).await?;
            let (problem, before, merged) = match stored {
                None => (Problem::first(message), None, Merged::Changed),
                Some(mut problem) => {
                    let before = problem.clone();
                    let merged = problem.merge(message);
                    if merged == Merged::Known {
                        // the first try may have died between the two
                        self.see_host(&problem, now).await?;
                        return Ok(Applied { problem, changed: false });
                    }
                    (problem, Some(before), merged)
                }
            };
            let (written, ()) =
                tokio::try_join!(self.write(&problem, before.as_ref(), now), self.see_host(&problem, now))?;
            if written {
                return Ok(Applied { problem, changed: merged == Merged::Changed });
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=10 << attempt.min(4)))).await;
        }
        Err(anyhow!("problem {} kept changing", message.event_id))
    }

    /// A problem's state, read consistently.
    pub async fn problem(&self, event_id: &str) -> anyhow::Result<Option<Problem>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(problem_key(event_id)));
        let item = get.consistent_read(true).send().await.context("get problem")?.item;
        item.map(|item| serde_json::from_str(get_text(&item, "body")?).context("stored problem")).transpose()
    }

    async fn write(&self, problem: &Problem, before: Option<&Problem>, now: i64) -> anyhow::Result<bool> {
        let view = problem.view();
        let mut state = problem_key(problem.event_id());
        state.insert("body".to_owned(), text(serde_json::to_string(problem)?));
        state.insert("revision".to_owned(), number(problem.revision()));
        state.insert("ttl".to_owned(), number(now + if problem.is_open() { OPEN_TTL } else { RESOLVED_TTL }));
        let state = Put::builder().table_name(&self.table).set_item(Some(state));
        let state = match before {
            None => state.condition_expression("attribute_not_exists(pk)"),
            Some(before) => state
                .condition_expression("revision = :revision")
                .expression_attribute_values(":revision", number(before.revision())),
        };
        let mut items = vec![TransactWriteItem::builder().put(state.build()?).build()];
        let listed = key("open", problem.event_id());
        if !problem.is_described() {
            // nobody could show it
        } else if problem.is_open() {
            let mut item = listed;
            item.insert("body".to_owned(), text(serde_json::to_string(&view)?));
            item.insert("updates_told".to_owned(), number(problem.updates_told()));
            item.insert("ttl".to_owned(), number(now + OPEN_TTL));
            let put = Put::builder().table_name(&self.table).set_item(Some(item)).build()?;
            items.push(TransactWriteItem::builder().put(put).build());
        } else {
            let delete = Delete::builder().table_name(&self.table).set_key(Some(listed)).build()?;
            items.push(TransactWriteItem::builder().delete(delete).build());
            if let Some(resolved_at) = problem.resolved_at().filter(|at| *at > now - RECENT) {
                // keyed by the problem, not the time: a message that moves the time replaces the item
                let recent = RecentlyResolved { opened_at: view.opened_at, resolved_at, severity: view.severity };
                let mut item = key("resolved", problem.event_id());
                item.insert("body".to_owned(), text(serde_json::to_string(&recent)?));
                item.insert("ttl".to_owned(), number(resolved_at + RECENT));
                let put = Put::builder().table_name(&self.table).set_item(Some(item)).build()?;
                items.push(TransactWriteItem::builder().put(put).build());
            }
        }
        // refused or in conflict: somebody else changed the problem, which is then merged with
        Ok(matches!(transact(&self.client, items).await.context("write problem")?, Transaction::Done))
    }

    /// Notes the host as the newest problem describes it: event ids grow, so an older problem does not overwrite a newer one. From
    /// the merged problem and not the message: a repeated message that looks otherwise does not make another host.
    async fn see_host(&self, problem: &Problem, now: i64) -> anyhow::Result<()> {
        let ProblemView { host, groups, .. } = problem.view();
        if host.id.is_empty() {
            return Ok(());
        }
        let event: u64 = problem.event_id().parse().unwrap_or(0);
        let described = KnownHost { host, groups, state: HostState::default() };
        // an update: what a poll found is beside it
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key("hosts", &described.host.id)))
            .update_expression("SET #body = :body, version = :version, #ttl = :ttl")
            .condition_expression("attribute_not_exists(version) OR version <= :version")
            .expression_attribute_names("#body", "body")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":body", text(serde_json::to_string(&described)?))
            .expression_attribute_values(":version", number(event))
            .expression_attribute_values(":ttl", number(now + OPEN_TTL));
        let seen = update.send().await;
        applied(seen, UpdateItemError::is_conditional_check_failed_exception).context("note host").map(|_| ())
    }

    /// What is known of every open problem, by event id, as it was a moment ago.
    pub async fn open_problems(&self) -> anyhow::Result<BTreeMap<String, Known>> {
        let mut problems = BTreeMap::new();
        for item in self.list("open").await? {
            let view: ProblemView = serde_json::from_str(get_text(&item, "body")?).context("listed problem")?;
            let updates_told = find_number(&item, "updates_told")?.unwrap_or(0);
            problems.insert(view.event_id.clone(), Known { view, updates_told });
        }
        Ok(problems)
    }

    /// Every item of a list, as it was a moment ago: half the price of a consistent read.
    pub(crate) async fn list(&self, list: &str) -> anyhow::Result<Vec<Item>> {
        let query = self.client.query().table_name(&self.table).key_condition_expression("pk = :pk");
        let mut pages = query.expression_attribute_values(":pk", text(list)).into_paginator().items().send();
        let mut items = Vec::new();
        while let Some(item) = pages.next().await {
            items.push(item.with_context(|| format!("query {list}"))?);
        }
        Ok(items)
    }

    /// A page of the snapshot, read consistently, from `cursor` on (`None` = the beginning).
    ///
    /// # Errors
    /// A cursor that is not one of ours is `Ok(None)`.
    pub async fn snapshot(&self, cursor: Option<&str>, now: i64) -> anyhow::Result<Option<SnapshotPage>> {
        let (mut list, mut after) = match cursor {
            None => (0, None),
            Some(cursor) => {
                let Some((list, after)) = cursor.split_once(':') else { return Ok(None) };
                let Some(list) = LISTS.iter().position(|name| *name == list) else { return Ok(None) };
                if after.len() > MAX_SORT_KEY_BYTES {
                    return Ok(None);
                }
                (list, Some(after.to_owned()).filter(|after| !after.is_empty()))
            }
        };
        let mut page = SnapshotPage::default();
        if cursor.is_none() {
            page.zabbix = self.zabbix_seen().await?;
        }
        let (mut bytes, mut last) = (0, String::new());
        while list < LISTS.len() {
            let answer = self
                .client
                .query()
                .table_name(&self.table)
                .consistent_read(true)
                .key_condition_expression("pk = :pk")
                .expression_attribute_values(":pk", text(LISTS[list]))
                .limit(PAGE_ITEMS)
                .set_exclusive_start_key(after.take().map(|sk| key(LISTS[list], sk)))
                .send()
                .await
                .context("query snapshot")?;
            for item in answer.items() {
                let body = get_text(item, "body")?;
                if bytes > 0 && bytes + body.len() > PAGE_BYTES {
                    page.cursor = Some(format!("{}:{last}", LISTS[list]));
                    return Ok(Some(page));
                }
                bytes += body.len() + 1;
                page.take(LISTS[list], item, body, now)?;
                get_text(item, "sk")?.clone_into(&mut last);
            }
            if answer.last_evaluated_key.is_some() {
                after = Some(last.clone());
            } else {
                list += 1;
                last.clear();
            }
        }
        Ok(Some(page))
    }
}

impl SnapshotPage {
    fn take(&mut self, list: &str, item: &Item, body: &str, now: i64) -> anyhow::Result<()> {
        match list {
            "open" => self.problems.push(serde_json::from_str(body).context("listed problem")?),
            "hosts" => self.hosts.push(known_host(item)?),
            // TTL removes items late
            _ if get_number::<i64>(item, "ttl")? >= now => {
                self.recent.push(serde_json::from_str(body).context("recently resolved problem")?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// A host, with what a poll found of it beside what its problems tell.
pub(crate) fn known_host(item: &Item) -> anyhow::Result<KnownHost> {
    let mut host: KnownHost = serde_json::from_str(get_text(item, "body")?).context("listed host")?;
    if let Some(state) = find_text(item, "host_state") {
        host.state = serde_json::from_str(&state).context("a host's state")?;
    }
    Ok(host)
}

fn problem_key(event_id: &str) -> Item {
    key(format!("problem#{event_id}"), "state")
}
