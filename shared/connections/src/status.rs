use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use aws_sdk_dynamodb::{
    Client,
    operation::{query::QueryOutput, update_item::UpdateItemError},
    types::{Delete, Put, TransactWriteItem},
};
use aws_types::SdkConfig;
use futures::future::{join_all, try_join_all};
use serde::{Deserialize, Serialize};
use signalbox_messages::{Host, HostState, StatusChanged, ZabbixSeen};
use signalbox_zabbix::{Merged, Problem, ProblemView, poll::Known};

use crate::{
    attribute::{Item, find_number, find_text, get_number, get_text, number, text},
    table::{Transaction, applied, get_all, key, transact},
};

/// Open problems and hosts are kept for 400 days after their last change, resolved problems for 30: long enough that a late
/// message finds the problem resolved and does not open it again.
const OPEN_TTL: i64 = 400 * DAY;
const RESOLVED_TTL: i64 = 30 * DAY;
const DAY: i64 = 24 * 60 * 60;

/// Most items of a transaction (DynamoDB quotas).
const TRANSACTION_ITEMS: usize = 100;

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

/// What part of the board a snapshot is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotScope<'a> {
    /// All of it.
    All,
    /// A host, by its technical name.
    Host(&'a str),
    /// A host group, by its full name.
    Group(&'a str),
}

impl SnapshotScope<'_> {
    fn has(self, host: &Host, groups: &[String]) -> bool {
        match self {
            Self::All => true,
            Self::Host(name) => host.host == name,
            Self::Group(name) => groups.iter().any(|group| group == name),
        }
    }

    /// What was resolved does not say where.
    fn lists(self) -> &'static [&'static str] {
        if self == Self::All { &LISTS } else { LISTS.split_at(OPEN.len() + 1).0 }
    }
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

/// The lists of a snapshot, in the order in which its pages go through them. The open problems are in four partitions: each takes
/// 1,000 write units a second (DynamoDB quotas), and a storm opens hundreds of problems at 4 each.
const LISTS: [&str; 6] = ["open#0", "open#1", "open#2", "open#3", "hosts", "resolved"];

/// [`LISTS`] that hold open problems.
const OPEN: &[&str] = LISTS.split_at(4).0;

fn open_key(event_id: &str) -> Item {
    key(OPEN[usize::from(event_id.bytes().last().unwrap_or_default()) % OPEN.len()], event_id)
}

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
            let before = self.problem(&message.event_id).await?;
            let (problem, merged) = merge(before.as_ref(), message);
            if merged == Merged::Known {
                // the first try may have died between the two
                self.see_host(&problem, now).await?;
                return Ok(Applied { problem, changed: false });
            }
            let (written, ()) =
                tokio::try_join!(self.write(&problem, before.as_ref(), now), self.see_host(&problem, now))?;
            if written {
                return Ok(Applied { problem, changed: merged == Merged::Changed });
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=10 << attempt.min(4)))).await;
        }
        Err(anyhow!("problem {} kept changing", message.event_id))
    }

    /// [`StatusTable::apply`] of many: one read and one transaction where nobody else changes one of their problems just now.
    /// What came of each, in their order.
    ///
    /// # Errors
    /// Of each by itself; one that DynamoDB does not read is everybody's.
    pub async fn apply_all(
        &self,
        messages: &[&StatusChanged],
        now: i64,
    ) -> anyhow::Result<Vec<anyhow::Result<Applied>>> {
        let mut stored = self.stored(messages).await?;
        let (mut applied, mut items, mut hosts) = (Vec::new(), Vec::new(), BTreeMap::new());
        for message in messages {
            let known = stored.problems.entry(message.event_id.clone()).or_default();
            let (problem, merged) = merge(known.now.as_ref(), message);
            let newest = hosts.entry(problem.view().host.id).or_insert_with(|| problem.clone());
            if event_number(newest) < event_number(&problem) {
                *newest = problem.clone();
            }
            known.now = Some(problem.clone());
            known.changed |= merged != Merged::Known;
            applied.push(Applied { problem, changed: merged == Merged::Changed });
        }
        for Stored { before, now: problem, changed } in stored.problems.values() {
            if let (Some(problem), true) = (problem, changed) {
                items.extend(self.writes(problem, before.as_ref(), now)?);
            }
        }
        let hosts = hosts.values().filter(|problem| !stored.is_described(problem, now));
        let hosts = try_join_all(hosts.map(|problem| self.see_host(problem, now)));
        let written = async {
            // ten messages are thirty items at most; more than a transaction takes go one by one
            let fits = items.len() <= TRANSACTION_ITEMS;
            Ok(items.is_empty() || fits && matches!(transact(&self.client, items).await?, Transaction::Done))
        };
        if tokio::try_join!(written, hosts)?.0 {
            return Ok(applied.into_iter().map(Ok).collect());
        }
        Ok(join_all(messages.iter().map(|message| self.apply(message, now))).await)
    }

    /// The problems of these messages and their hosts as they stand.
    async fn stored(&self, messages: &[&StatusChanged]) -> anyhow::Result<StoredProblems> {
        let problems: BTreeSet<&str> = messages.iter().map(|message| message.event_id.as_str()).collect();
        let hosts: BTreeSet<&str> = messages.iter().map(|message| message.detail.host.id.as_str()).collect();
        let problems = problems.into_iter().map(problem_key);
        let hosts = hosts.into_iter().filter(|id| !id.is_empty()).map(|id| key("hosts", id));
        let mut stored = StoredProblems::default();
        for item in get_all(&self.client, &self.table, problems.chain(hosts).collect()).await.context("get problems")? {
            let body = get_text(&item, "body")?;
            if get_text(&item, "pk")? == "hosts" {
                let (id, ttl) = (get_text(&item, "sk")?.to_owned(), get_number(&item, "ttl")?);
                stored.hosts.insert(id, (body.to_owned(), ttl));
            } else {
                let problem: Problem = serde_json::from_str(body).context("stored problem")?;
                let problem_id = problem.event_id().to_owned();
                let known = Stored { before: Some(problem.clone()), now: Some(problem), changed: false };
                stored.problems.insert(problem_id, known);
            }
        }
        Ok(stored)
    }

    /// A problem's state, read consistently.
    pub async fn problem(&self, event_id: &str) -> anyhow::Result<Option<Problem>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(problem_key(event_id)));
        let item = get.consistent_read(true).send().await.context("get problem")?.item;
        item.map(|item| serde_json::from_str(get_text(&item, "body")?).context("stored problem")).transpose()
    }

    async fn write(&self, problem: &Problem, before: Option<&Problem>, now: i64) -> anyhow::Result<bool> {
        let items = self.writes(problem, before, now)?;
        // refused or in conflict: somebody else changed the problem, which is then merged with
        Ok(matches!(transact(&self.client, items).await.context("write problem")?, Transaction::Done))
    }

    /// The items of a problem, for one transaction.
    fn writes(&self, problem: &Problem, before: Option<&Problem>, now: i64) -> anyhow::Result<Vec<TransactWriteItem>> {
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
        let listed = open_key(problem.event_id());
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
        Ok(items)
    }

    /// Notes the host as the newest problem describes it: event ids grow, so an older problem does not overwrite a newer one. From
    /// the merged problem and not the message: a repeated message that looks otherwise does not make another host.
    async fn see_host(&self, problem: &Problem, now: i64) -> anyhow::Result<()> {
        let ProblemView { host, groups, .. } = problem.view();
        if host.id.is_empty() {
            return Ok(());
        }
        let event = event_number(problem);
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
        for items in try_join_all(OPEN.iter().map(|list| self.list(list))).await? {
            for item in items {
                let view: ProblemView = serde_json::from_str(get_text(&item, "body")?).context("listed problem")?;
                let updates_told = find_number(&item, "updates_told")?.unwrap_or(0);
                problems.insert(view.event_id.clone(), Known { view, updates_told });
            }
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

    /// Items of a list, read consistently, after this one.
    async fn page_of(&self, list: &str, after: Option<String>, limit: Option<i32>) -> anyhow::Result<QueryOutput> {
        let query = self.client.query().table_name(&self.table).consistent_read(true).set_limit(limit);
        let query = query.key_condition_expression("pk = :pk").expression_attribute_values(":pk", text(list));
        query.set_exclusive_start_key(after.map(|sk| key(list, sk))).send().await.context("query snapshot")
    }

    /// A page of the snapshot, read consistently, from `cursor` on (`None` = the beginning). A part of the board reads all
    /// of it, a megabyte at a time: 10,000 problems are a dozen.
    ///
    /// # Errors
    /// A cursor that is not one of ours is `Ok(None)`.
    pub async fn snapshot(
        &self,
        scope: SnapshotScope<'_>,
        cursor: Option<&str>,
        now: i64,
    ) -> anyhow::Result<Option<SnapshotPage>> {
        let lists = scope.lists();
        let (mut list, mut after) = match cursor {
            None => (0, None),
            Some(cursor) => {
                let Some((list, after)) = cursor.split_once(':') else { return Ok(None) };
                let Some(list) = lists.iter().position(|name| *name == list) else { return Ok(None) };
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
        // most boards are one page: the beginnings of all lists at once
        let first = if cursor.is_none() { lists } else { &[] };
        let limit = (scope == SnapshotScope::All).then_some(PAGE_ITEMS);
        let page_of = |list, after| self.page_of(list, after, limit);
        let mut first = try_join_all(first.iter().map(|list| page_of(list, None))).await?.into_iter();
        while let Some(&name) = lists.get(list) {
            let answer = match after.take() {
                Some(after) => page_of(name, Some(after)).await?,
                None => match first.next() {
                    Some(answer) => answer,
                    None => page_of(name, None).await?,
                },
            };
            for item in answer.items() {
                let body = get_text(item, "body")?;
                if bytes > 0 && bytes + body.len() > PAGE_BYTES {
                    page.cursor = Some(format!("{name}:{last}"));
                    return Ok(Some(page));
                }
                if page.take(scope, name, item, body, now)? {
                    bytes += body.len() + 1;
                }
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

/// A problem as it is stored, and as it is with the messages of a batch.
#[derive(Debug, Default)]
struct Stored {
    before: Option<Problem>,
    now: Option<Problem>,
    changed: bool,
}

#[derive(Debug, Default)]
struct StoredProblems {
    /// By event id.
    problems: BTreeMap<String, Stored>,
    /// Body and TTL by host id.
    hosts: BTreeMap<String, (String, i64)>,
}

impl StoredProblems {
    /// Whether the host is listed as this problem describes it, and not about to expire. Which problem that was from does not
    /// grow then: a late message about an older one may rename the host until the next one.
    fn is_described(&self, problem: &Problem, now: i64) -> bool {
        let ProblemView { host, groups, .. } = problem.view();
        let Some((body, ttl)) = self.hosts.get(&host.id) else { return host.id.is_empty() };
        let described = KnownHost { host, groups, state: HostState::default() };
        *ttl > now + OPEN_TTL - DAY && serde_json::to_string(&described).is_ok_and(|text| text == *body)
    }
}

/// Event ids grow.
fn event_number(problem: &Problem) -> u64 {
    problem.event_id().parse().unwrap_or(0)
}

fn merge(before: Option<&Problem>, message: &StatusChanged) -> (Problem, Merged) {
    match before {
        None => (Problem::first(message), Merged::Changed),
        Some(before) => {
            let mut problem = before.clone();
            let merged = problem.merge(message);
            (problem, merged)
        }
    }
}

impl SnapshotPage {
    /// Whether it belongs here.
    fn take(
        &mut self,
        scope: SnapshotScope<'_>,
        list: &str,
        item: &Item,
        body: &str,
        now: i64,
    ) -> anyhow::Result<bool> {
        if OPEN.contains(&list) {
            let problem: ProblemView = serde_json::from_str(body).context("listed problem")?;
            let is_in = scope.has(&problem.host, &problem.groups);
            self.problems.extend(is_in.then_some(problem));
            return Ok(is_in);
        }
        if list == "hosts" {
            let host = known_host(item)?;
            let is_in = scope.has(&host.host, &host.groups);
            self.hosts.extend(is_in.then_some(host));
            return Ok(is_in);
        }
        // TTL removes items late
        let is_recent = get_number::<i64>(item, "ttl")? >= now;
        if is_recent {
            self.recent.push(serde_json::from_str(body).context("recently resolved problem")?);
        }
        Ok(is_recent)
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
