use std::collections::BTreeSet;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use signalbox_zabbix::api::{Event, HaNode, Host, Item, Trigger};

use crate::{ApiError, Version, ZabbixApi, client::Auth};

/// Objects of one answer.
pub(crate) const PAGE: usize = 1_000;

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A trigger changed its value.
    Trigger,
    /// Zabbix could not, or can again, evaluate a trigger.
    Internal,
}

impl Source {
    /// Both that are about triggers.
    pub const ALL: [Self; 2] = [Self::Trigger, Self::Internal];

    fn number(self) -> u8 {
        match self {
            Self::Trigger => 0,
            Self::Internal => 3,
        }
    }
}

/// What `event.acknowledge` shall do; an empty one is refused by Zabbix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Bits of [`signalbox_zabbix::action`].
    pub action: u32,
    /// The comment, with `MESSAGE`.
    pub message: Option<String>,
    /// 0 to 5, with `SEVERITY`.
    pub severity: Option<u8>,
    /// Unix seconds, with `SUPPRESS`; 0 = until further notice.
    pub suppress_until: Option<i64>,
}

/// The calls, as the frontend's version words them.
#[derive(Debug)]
pub struct Session<'a> {
    api: &'a ZabbixApi,
    version: Version,
    ahead_ms: Option<i64>,
}

#[derive(Deserialize)]
struct TriggerId {
    triggerid: String,
}

#[derive(Deserialize)]
struct HostId {
    hostid: String,
}

impl<'a> Session<'a> {
    pub(crate) fn new(api: &'a ZabbixApi, version: Version, ahead_ms: Option<i64>) -> Self {
        Self { api, version, ahead_ms }
    }

    /// Of the frontend.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How many milliseconds the frontend's clock is ahead of ours, to about a second.
    pub fn ahead_ms(&self) -> Option<i64> {
        self.ahead_ms
    }

    async fn get<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, ApiError> {
        let auth = if self.version >= Version::BEARER { Auth::Bearer } else { Auth::Property };
        Ok(self.api.call(method, params, auth).await?.result)
    }

    /// `problem.get`: all open problems, those in maintenance and symptoms too, page by page in the order of their ids.
    ///
    /// A problem that ends meanwhile is in it or not; one that is there from the first page to the last is in it.
    pub async fn problems(&self, source: Source) -> Result<Vec<Event>, ApiError> {
        let mut problems: Vec<Event> = Vec::new();
        loop {
            let from = problems.last().map_or(0, |last| number(&last.eventid) + 1);
            let page: Vec<Event> = self
                .get(
                    "problem.get",
                    json!({
                        "source": source.number(),
                        "object": 0,
                        "output": "extend",
                        "selectTags": "extend",
                        "selectAcknowledges": "extend",
                        "selectSuppressionData": "extend",
                        "eventid_from": from.to_string(),
                        "sortfield": ["eventid"],
                        "sortorder": "ASC",
                        "limit": PAGE,
                    }),
                )
                .await?;
            let is_last = page.len() < PAGE;
            // whatever answers: a page that does not go on would be asked for again without end
            let goes_on = page.first().is_none_or(|first| number(&first.eventid) >= from);
            if !goes_on || !page.is_sorted_by(|a, b| number(&a.eventid) < number(&b.eventid)) {
                let reason = "its events are not in order".to_owned();
                return Err(ApiError::Unexpected { method: "problem.get", reason });
            }
            problems.extend(page);
            if is_last {
                return Ok(problems);
            }
        }
    }

    /// `event.get`: one page of what is new, from this event id on, in the order of their ids; the last page is shorter
    /// than `limit`. By id and never by time: an event's time is its value's, which a proxy may deliver late.
    pub async fn events_from(&self, source: Source, event_id: u64, limit: usize) -> Result<Vec<Event>, ApiError> {
        self.events_by(source, json!({ "eventid_from": event_id.to_string(), "limit": limit })).await
    }

    /// `event.get`: these, of either source. Those that have been deleted or are out of sight are left out.
    pub async fn events(&self, event_ids: &[String]) -> Result<Vec<Event>, ApiError> {
        let mut events = Vec::new();
        for ids in event_ids.chunks(PAGE) {
            for source in Source::ALL {
                events.extend(self.events_by(source, json!({ "eventids": ids })).await?);
            }
        }
        Ok(events)
    }

    /// `event.get`: the id of the newest event; 0 if there is none yet.
    pub async fn newest_event(&self) -> Result<u64, ApiError> {
        let mut newest = 0;
        for source in Source::ALL {
            let which = json!({
                "source": source.number(),
                "object": 0,
                "output": "extend",
                "sortfield": ["eventid"],
                "sortorder": "DESC",
                "limit": 1,
            });
            let events: Vec<Event> = self.get("event.get", which).await?;
            newest = events.iter().map(|event| number(&event.eventid)).max().unwrap_or(0).max(newest);
        }
        Ok(newest)
    }

    async fn events_by(&self, source: Source, which: Value) -> Result<Vec<Event>, ApiError> {
        let mut params = json!({
            "source": source.number(),
            "object": 0,
            "output": "extend",
            "selectHosts": ["hostid", "host", "name"],
            "selectTags": "extend",
            "selectAcknowledges": "extend",
            "sortfield": ["eventid"],
            "sortorder": "ASC",
        });
        if self.version < Version::SELECT_ACKNOWLEDGES {
            // the older name, which 6.0 knows alone; it does not mind the other
            params["select_acknowledges"] = "extend".into();
        }
        merge(&mut params, which);
        self.get("event.get", params).await
    }

    /// `trigger.get`: these, with hosts and host groups, disabled ones too. Those that have been deleted are left out.
    pub async fn triggers(&self, trigger_ids: &[String]) -> Result<Vec<Trigger>, ApiError> {
        let mut triggers = Vec::new();
        for ids in trigger_ids.chunks(PAGE) {
            let mut params = json!({
                "triggerids": ids,
                "output": ["triggerid", "description", "priority", "state", "error", "url"],
                "selectHosts": ["hostid", "host", "name"],
                "expandDescription": true,
            });
            params[self.select_host_groups()] = json!(["groupid", "name"]);
            triggers.extend(self.get::<Vec<Trigger>>("trigger.get", params).await?);
        }
        Ok(triggers)
    }

    /// `trigger.get`: those of them that are enabled, like their items and hosts.
    pub async fn monitored(&self, trigger_ids: &[String]) -> Result<BTreeSet<String>, ApiError> {
        let mut monitored = BTreeSet::new();
        for ids in trigger_ids.chunks(PAGE) {
            let params = json!({ "triggerids": ids, "output": ["triggerid"], "monitored": true });
            let triggers: Vec<TriggerId> = self.get("trigger.get", params).await?;
            monitored.extend(triggers.into_iter().map(|trigger| trigger.triggerid));
        }
        Ok(monitored)
    }

    /// `host.get`: all that the token's user may see, disabled ones too. (It has no paging of its own: first the ids,
    /// then the hosts.)
    pub async fn hosts(&self) -> Result<Vec<Host>, ApiError> {
        let ids: Vec<HostId> = self.get("host.get", json!({ "output": ["hostid"] })).await?;
        let ids: Vec<String> = ids.into_iter().map(|host| host.hostid).collect();
        let mut output = vec!["hostid", "host", "name", "status", "maintenance_status", "maintenanceid"];
        if self.version >= Version::HOST_GROUPS {
            output.push("active_available");
        }
        let mut hosts = Vec::new();
        for ids in ids.chunks(PAGE) {
            let mut params = json!({
                "hostids": ids,
                "output": output,
                "selectInterfaces": ["interfaceid", "type", "available", "error"],
            });
            params[self.select_host_groups()] = json!(["groupid", "name"]);
            hosts.extend(self.get::<Vec<Host>>("host.get", params).await?);
        }
        Ok(hosts)
    }

    /// `host.get`: whether the token's user may see any.
    ///
    /// # Errors
    /// [`ApiError::NothingVisible`] if it may not.
    pub async fn sees_a_host(&self) -> Result<(), ApiError> {
        let hosts: Vec<HostId> = self.get("host.get", json!({ "output": ["hostid"], "limit": 1 })).await?;
        if hosts.is_empty() { Err(ApiError::NothingVisible) } else { Ok(()) }
    }

    /// `hanode.get`: the server's nodes, one also without a cluster. Super admins alone may call it.
    pub async fn ha_nodes(&self) -> Result<Vec<HaNode>, ApiError> {
        self.get("hanode.get", json!({ "output": "extend" })).await
    }

    /// `item.get`: these.
    pub async fn items(&self, item_ids: &[String]) -> Result<Vec<Item>, ApiError> {
        self.get("item.get", json!({ "itemids": item_ids, "output": ["itemid", "lastclock"] })).await
    }

    /// `item.get`: when the newest value of any of Zabbix's own items (keys `zabbix[…]`) came in, unix seconds. The
    /// server makes those itself, some every 10 s, so it is alive if one is new; `None` if there is none to see.
    pub async fn newest_own_value(&self) -> Result<Option<i64>, ApiError> {
        let params = json!({
            "output": ["itemid", "lastclock"],
            "search": { "key_": "zabbix[" },
            "startSearch": true,
            "monitored": true,
            "limit": 100,
        });
        let items: Vec<Item> = self.get("item.get", params).await?;
        Ok(items.iter().map(|item| item.lastclock).max().filter(|clock| *clock > 0))
    }

    /// `event.acknowledge`: acknowledges, comments, changes the severity, suppresses or closes. It is for who asked for
    /// it to see in the next poll what came of it: Zabbix answers before a close is done.
    pub async fn acknowledge(&self, event_ids: &[String], update: &Update) -> Result<(), ApiError> {
        let mut params = json!({ "eventids": event_ids, "action": update.action });
        if let Some(message) = &update.message {
            params["message"] = message.as_str().into();
        }
        if let Some(severity) = update.severity {
            params["severity"] = severity.into();
        }
        if let Some(until) = update.suppress_until {
            params["suppress_until"] = until.into();
        }
        self.get::<Value>("event.acknowledge", params).await.map(|_| ())
    }

    fn select_host_groups(&self) -> &'static str {
        if self.version >= Version::HOST_GROUPS { "selectHostGroups" } else { "selectGroups" }
    }
}

/// Its ids were numbers when they were read.
fn number(id: &str) -> u64 {
    id.parse().unwrap_or(0)
}

fn merge(params: &mut Value, more: Value) {
    if let (Value::Object(params), Value::Object(more)) = (params, more) {
        params.extend(more);
    }
}
