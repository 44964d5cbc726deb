//! What the poller keeps in the status table: its lease, its place among Zabbix's events, and what it found of Zabbix
//! and of hosts.

use std::collections::BTreeMap;

use anyhow::Context as _;
use aws_sdk_dynamodb::operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::UpdateItemError};
use signalbox_messages::{HostChanged, HostState, ZabbixSeen};

use crate::{
    KnownHost, StatusTable,
    attribute::{Item, find_number, find_text, get_text, number, text},
    status::known_host,
    table::{applied, key},
};

/// Partition of what there is one of.
const ZABBIX: &str = "zabbix";

/// Viewers are told that Zabbix is as it was this often, milliseconds: the page counts a minute and a half without a word as
/// nobody polling.
const TOLD_AGAIN_MS: i64 = 25_000;

/// A host that nobody has told of for so long is forgotten.
const HOST_TTL: i64 = 400 * 24 * 60 * 60;

impl StatusTable {
    /// Takes or renews the right to poll until then (unix milliseconds): false while another `holder` has it.
    pub async fn lease_poll(&self, holder: &str, now_ms: i64, until_ms: i64) -> anyhow::Result<bool> {
        let mut item = key(ZABBIX, "lease");
        item.insert("holder".to_owned(), text(holder));
        item.insert("until_ms".to_owned(), number(until_ms));
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR until_ms < :now OR holder = :holder")
            .expression_attribute_values(":now", number(now_ms))
            .expression_attribute_values(":holder", text(holder));
        applied(put.send().await, PutItemError::is_conditional_check_failed_exception).context("lease of the poll")
    }

    /// Gives the right to poll back, if it is still this one's.
    pub async fn end_poll(&self, holder: &str) -> anyhow::Result<()> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(ZABBIX, "lease")))
            .condition_expression("holder = :holder")
            .expression_attribute_values(":holder", text(holder));
        let ended = applied(delete.send().await, DeleteItemError::is_conditional_check_failed_exception);
        ended.context("end of the poll's lease").map(|_| ())
    }

    /// The newest of Zabbix's events that has been told of; `None` before the first poll.
    pub async fn event_cursor(&self) -> anyhow::Result<Option<u64>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(ZABBIX, "cursor")));
        let item = get.consistent_read(true).send().await.context("get cursor")?.item;
        item.map_or(Ok(None), |item| find_number(&item, "event_id"))
    }

    /// Sets it. It may go back: a Zabbix that was set up anew counts from 1.
    pub async fn set_event_cursor(&self, event_id: u64) -> anyhow::Result<()> {
        let mut item = key(ZABBIX, "cursor");
        item.insert("event_id".to_owned(), number(event_id));
        self.client.put_item().table_name(&self.table).set_item(Some(item)).send().await.context("set cursor")?;
        Ok(())
    }

    /// How a poller last found Zabbix, read consistently.
    pub async fn zabbix_seen(&self) -> anyhow::Result<Option<ZabbixSeen>> {
        let item = self.seen_item().await?;
        item.map(|item| serde_json::from_str(get_text(&item, "body")?).context("what was seen of Zabbix")).transpose()
    }

    async fn seen_item(&self) -> anyhow::Result<Option<Item>> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(ZABBIX, "seen")));
        Ok(get.consistent_read(true).send().await.context("get what was seen of Zabbix")?.item)
    }

    /// Notes how a poller found Zabbix. True when viewers are to be told: something is new about it, or they were told
    /// [`TOLD_AGAIN_MS`] ago. False also for one that is older than what is known.
    pub async fn note_zabbix_seen(&self, seen: &ZabbixSeen) -> anyhow::Result<bool> {
        let known = self.seen_item().await?.unwrap_or_default();
        let code = seen.failure.as_ref().map_or("", |failure| failure.code.as_str());
        let condition = format!("{code},{},{}", seen.is_silent(), seen.is_clock_off());
        let (told, told_ms) = (find_text(&known, "told"), find_number::<i64>(&known, "told_ms")?.unwrap_or(0));
        // the same again: it may be of one that died before it told
        let due = told_ms == seen.at_ms || seen.at_ms - told_ms >= TOLD_AGAIN_MS;
        let tell = due || told.as_deref() != Some(&condition);
        let told_ms = if tell { seen.at_ms } else { told_ms };
        let mut item = key(ZABBIX, "seen");
        item.insert("told".to_owned(), text(condition));
        item.insert("told_ms".to_owned(), number(told_ms));
        item.insert("body".to_owned(), text(serde_json::to_string(seen)?));
        item.insert("at_ms".to_owned(), number(seen.at_ms));
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR at_ms <= :at")
            .expression_attribute_values(":at", number(seen.at_ms));
        let noted = applied(put.send().await, PutItemError::is_conditional_check_failed_exception);
        Ok(noted.context("note what was seen")? && tell)
    }

    /// The hosts that are known, by host id, as they were a moment ago.
    pub async fn hosts(&self) -> anyhow::Result<BTreeMap<String, KnownHost>> {
        let items = self.list("hosts").await?;
        let hosts = items.iter().map(|item| anyhow::Ok((get_text(item, "sk")?.to_owned(), known_host(item)?)));
        hosts.collect()
    }

    /// Notes how a poll found a host; false for what is older than what is known.
    pub async fn note_host(&self, changed: &HostChanged, now: i64) -> anyhow::Result<bool> {
        let HostChanged { at_ms, host, groups, state } = changed;
        let described = KnownHost { host: host.clone(), groups: groups.clone(), state: HostState::default() };
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key("hosts", &host.id)))
            .update_expression("SET #body = :body, host_state = :state, state_at_ms = :at, #ttl = :ttl")
            .condition_expression("attribute_not_exists(state_at_ms) OR state_at_ms <= :at")
            .expression_attribute_names("#body", "body")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":body", text(serde_json::to_string(&described)?))
            .expression_attribute_values(":state", text(serde_json::to_string(state)?))
            .expression_attribute_values(":at", number(at_ms))
            .expression_attribute_values(":ttl", number(now + HOST_TTL));
        applied(update.send().await, UpdateItemError::is_conditional_check_failed_exception)
            .context("note host's state")
    }
}

#[cfg(test)]
mod tests {
    use signalbox_messages::Host;

    use super::*;
    use crate::{SnapshotScope, testing::Tables};

    /// Would fail if the end were not looked at, or the holder could not renew.
    #[tokio::test]
    async fn one_poller_at_a_time_and_the_next_when_its_time_is_over() {
        let status = Tables::start().await.status;
        assert!(status.lease_poll("a", 1_000, 61_000).await.unwrap());
        assert!(!status.lease_poll("b", 2_000, 62_000).await.unwrap());
        assert!(status.lease_poll("a", 11_000, 71_000).await.unwrap());
        assert!(!status.lease_poll("b", 70_999, 130_000).await.unwrap());
        assert!(status.lease_poll("b", 71_001, 130_000).await.unwrap());
        // who lost it ends nothing
        status.end_poll("a").await.unwrap();
        assert!(!status.lease_poll("a", 72_000, 130_000).await.unwrap());
        status.end_poll("b").await.unwrap();
        assert!(status.lease_poll("a", 72_000, 130_000).await.unwrap());
    }

    #[tokio::test]
    async fn what_was_seen_later_stays() {
        let status = Tables::start().await.status;
        let seen = |at_ms| ZabbixSeen { at_ms, problems: Some(3), ..ZabbixSeen::default() };
        assert!(status.note_zabbix_seen(&seen(2)).await.unwrap());
        assert!(!status.note_zabbix_seen(&seen(1)).await.unwrap());
        assert!(status.note_zabbix_seen(&seen(2)).await.unwrap(), "a repetition may be what was not published yet");
        assert_eq!(status.snapshot(SnapshotScope::All, None, 0).await.unwrap().unwrap().zabbix, Some(seen(2)));
        // what changes is told at once, and what does not, later
        assert!(!status.note_zabbix_seen(&seen(3)).await.unwrap());
        let off = ZabbixSeen { ahead_ms: Some(-600_000), ..seen(4) };
        assert!(status.note_zabbix_seen(&off).await.unwrap());
        assert_eq!(status.event_cursor().await.unwrap(), None);
        status.set_event_cursor(7).await.unwrap();
        assert_eq!(status.event_cursor().await.unwrap(), Some(7));
    }

    /// Would fail if a problem's word about its host replaced what a poll found of it.
    #[tokio::test]
    async fn a_host_keeps_its_state_when_a_problem_tells_of_it() {
        let status = Tables::start().await.status;
        let host = Host { id: "7".to_owned(), host: "web-01".to_owned(), name: "Web 01".to_owned() };
        let state = HostState { disabled: true, ..HostState::default() };
        let changed = HostChanged { at_ms: 5, host: host.clone(), groups: vec!["A".to_owned()], state: state.clone() };
        assert!(status.note_host(&changed, 0).await.unwrap());
        assert!(!status.note_host(&HostChanged { at_ms: 4, ..changed }, 0).await.unwrap());
        let body = include_str!("../../zabbix/fixtures/recommended/v7.0-problem.json");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let mut message = signalbox_zabbix::status_changed(
            body["raw_body"].as_str().unwrap().as_bytes(),
            0,
            &"auto".parse().unwrap(),
        )
        .unwrap();
        message.detail.host = Host { name: "Web 01, renamed".to_owned(), ..host };
        status.apply(&message, 0).await.unwrap();
        let known = status.hosts().await.unwrap().remove("7").unwrap();
        assert_eq!((known.host.name.as_str(), known.state), ("Web 01, renamed", state));
        assert_eq!(status.snapshot(SnapshotScope::All, None, 0).await.unwrap().unwrap().hosts.len(), 1);
        let open = status.open_problems().await.unwrap();
        assert_eq!(open[&message.event_id].view.name, message.detail.name);
    }
}
