//! Real Zabbix messages at a human pace, so that the board is alive.

use std::{
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};
use http::Request;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    aws::{Http, send},
    sign::zabbix_signature,
};

/// As captured from Zabbix 7.0 (two media types: one that sends every macro, and the recommended one).
const PROBLEMS: [&str; 10] = [
    include_str!("../demo/problem-disaster.json"),
    include_str!("../demo/problem-information.json"),
    include_str!("../demo/problem-not-classified.json"),
    include_str!("../demo/problem-warning.json"),
    include_str!("../demo/problem-average.json"),
    include_str!("../demo/problem-high.json"),
    include_str!("../demo/problem-disaster-snmp.json"),
    include_str!("../demo/problem-multiple-1.json"),
    include_str!("../demo/problem-multiple-2.json"),
    include_str!("../demo/recommended-problem.json"),
];
const UNKNOWN: &str = include_str!("../demo/internal-trigger-unknown.json");
const NORMAL: &str = include_str!("../demo/internal-trigger-normal.json");
const ACKNOWLEDGE: &str = include_str!("../demo/update-acknowledge-with-message.json");
const TO_DISASTER: &str = include_str!("../demo/update-severity-to-disaster.json");
const COMMENT: &str = include_str!("../demo/update-message-only.json");
const SUPPRESS: &str = include_str!("../demo/update-suppress.json");
const RECOVERY: &str = include_str!("../demo/recovery-high.json");
const RECOMMENDED_RECOVERY: &str = include_str!("../demo/recommended-recovery.json");

/// Each captured host stands for this many.
const COPIES: u64 = 4;
const FEWEST_OPEN: usize = 5;
const MOST_OPEN: usize = 15;

type Message = Map<String, Value>;

/// What was sent and is not over yet. Kept in the state, so that the next start can end it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Script {
    open: Vec<Message>,
    last_id: i64,
}

impl Script {
    /// The next message.
    fn next(&mut self, now: Timestamp) -> Message {
        let open = self.open.len();
        let dice = fastrand::u32(..100);
        match open {
            0..FEWEST_OPEN => self.begin(now),
            _ if open >= MOST_OPEN => self.end(now),
            _ if dice < 38 => self.begin(now),
            _ if dice < 70 => self.end(now),
            _ => self.update(now),
        }
    }

    /// A problem that is not open yet, or a trigger that cannot be evaluated.
    fn begin(&mut self, now: Timestamp) -> Message {
        let mut message = loop {
            let text = if fastrand::u32(..12) == 0 { UNKNOWN } else { PROBLEMS[fastrand::usize(..PROBLEMS.len())] };
            let message = read(&on_another_host(text, fastrand::u64(..COPIES)));
            let same = |open: &Message| {
                open["trigger_id"] == message["trigger_id"] && open["event_name"] == message["event_name"]
            };
            if !self.open.iter().any(same) {
                break message;
            }
        };
        self.last_id = now.as_millisecond().max(self.last_id + 1);
        set(&mut message, "event_id", self.last_id.to_string());
        at(&mut message, "event", now);
        sent(&mut message, now);
        self.open.push(message.clone());
        message
    }

    fn update(&mut self, now: Timestamp) -> Message {
        let candidates: Vec<_> =
            (0..self.open.len()).filter(|&index| self.open[index]["event_source"] == "0").collect();
        let Some(&index) = candidates.get(fastrand::usize(..candidates.len().max(1))) else { return self.begin(now) };
        let problem = &mut self.open[index];
        let update = match fastrand::u32(..10) {
            0..5 if problem["event_ack_status"] != "Yes" => ACKNOWLEDGE,
            0..7 => COMMENT,
            7..9 if problem["event_nseverity"] != "5" => TO_DISASTER,
            _ => SUPPRESS,
        };
        let mut message = problem.clone();
        message.extend(read(update).into_iter().filter(|(name, _)| name.starts_with("event_update_")));
        at(&mut message, "event_update", now);
        match update {
            ACKNOWLEDGE => set(&mut message, "event_ack_status", "Yes"),
            TO_DISASTER => {
                let from = problem["event_severity"].as_str().unwrap_or_default();
                set(&mut message, "event_update_action", format!("changed severity from {from} to Disaster"));
                set(&mut message, "event_severity", "Disaster");
                set(&mut message, "event_nseverity", "5");
            }
            SUPPRESS => {
                let until = now.saturating_add(5.minutes()).unwrap_or(now);
                set(
                    &mut message,
                    "event_update_action",
                    until.strftime("suppressed until %Y.%m.%d %H:%M:%S").to_string(),
                );
            }
            _ => {}
        }
        for kept in ["event_ack_status", "event_severity", "event_nseverity"] {
            problem.insert(kept.to_owned(), message[kept].clone());
        }
        if message.contains_key("kind") {
            set(&mut message, "kind", "update");
        }
        sent(&mut message, now);
        message
    }

    fn end(&mut self, now: Timestamp) -> Message {
        let mut message = self.open.swap_remove(fastrand::usize(..self.open.len()));
        let end = match (message["event_source"] == "3", message.contains_key("kind")) {
            (true, _) => NORMAL,
            (_, true) => RECOMMENDED_RECOVERY,
            _ => RECOVERY,
        };
        let says = |name: &String| {
            name.starts_with("event_recovery_")
                || ["event_value", "event_status", "trigger_status", "trigger_value", "kind"].contains(&name.as_str())
        };
        message.extend(read(end).into_iter().filter(|(name, _)| says(name)));
        self.last_id = now.as_millisecond().max(self.last_id + 1);
        set(&mut message, "event_recovery_id", self.last_id.to_string());
        at(&mut message, "event_recovery", now);
        sent(&mut message, now);
        message
    }
}

/// One captured host stands for several: `web-01` for `web-01` to `web-04`, and so on, each with ids of its own.
fn on_another_host(text: &str, copy: u64) -> String {
    if copy == 0 {
        return text.to_owned();
    }
    let number = copy + 1;
    let mut text = text.to_owned();
    for (from, to) in [("web-01", "web-"), ("Web 01", "Web "), ("db-01", "db-"), ("DB 01", "DB "), ("sw-01", "sw-")] {
        text = text.replace(from, &format!("{to}{number:02}"));
    }
    text = text.replace("Core switch", &format!("Core switch {number}"));
    for (from, to) in [("Site A/", "Site C/"), ("Site B/", "Site D/")] {
        text = if copy % 2 == 1 { text.replace(from, to) } else { text };
    }
    let mut message = read(&text);
    for name in ["trigger_id", "host_id"] {
        let id = message.get(name).and_then(Value::as_str).and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
        set(&mut message, name, (id + 1000 * copy).to_string());
    }
    Value::Object(message).to_string()
}

fn read(text: &str) -> Message {
    serde_json::from_str(text).unwrap_or_default()
}

fn set(message: &mut Message, name: &str, value: impl Into<String>) {
    message.insert(name.to_owned(), Value::String(value.into()));
}

/// Sets `<what>_date` and `<what>_time`, as a Zabbix server that runs in UTC would.
fn at(message: &mut Message, what: &str, now: Timestamp) {
    set(message, &format!("{what}_date"), now.strftime("%Y.%m.%d").to_string());
    set(message, &format!("{what}_time"), now.strftime("%H:%M:%S").to_string());
}

/// Sets when the message leaves, and takes out what tells of other times.
fn sent(message: &mut Message, now: Timestamp) {
    if message.contains_key("sent_at_ms") {
        message.insert("sent_at_ms".to_owned(), now.as_millisecond().into());
    } else {
        set(message, "sent_at", now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string());
        set(message, "date", now.strftime("%Y.%m.%d").to_string());
        set(message, "time", now.strftime("%H:%M:%S").to_string());
    }
    message.retain(|name, _| !name.ends_with("_history"));
}

/// Where the messages go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) secret: String,
}

/// Sends messages for ever. What fails is logged, and the next one is sent all the same.
pub(crate) async fn run(http: Http, target: Target, state: PathBuf, log: PathBuf) {
    let mut script: Script =
        std::fs::read(&state).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    loop {
        let now = Timestamp::now();
        let message = script.next(now);
        let body = Value::Object(message).to_string();
        if let Err(error) = post(&http, &target, now, body).await {
            note(&log, &format!("{now} {error:#}"));
        }
        if let Ok(text) = serde_json::to_vec(&script) {
            let _ = crate::state::write_atomically(&state, &text);
        }
        // The first ones come quickly: somebody is looking at an empty board.
        let pause = if script.open.len() < FEWEST_OPEN { 300..600 } else { 1_500..5_000 };
        tokio::time::sleep(Duration::from_millis(fastrand::u64(pause))).await;
    }
}

async fn post(http: &Http, target: &Target, now: Timestamp, body: String) -> Result<()> {
    let timestamp = now.as_second();
    let request = Request::post(&target.url)
        .header("content-type", "application/json")
        .header("x-zabbix-timestamp", timestamp.to_string())
        .header("x-zabbix-signature", zabbix_signature(&target.secret, timestamp, &body))
        .body(body.into())?;
    let (status, answer) = send(http, request).await?;
    if !status.is_success() {
        bail!("the webhook answered {status}: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

fn note(log: &Path, line: &str) {
    if let Ok(mut file) = std::fs::File::options().create(true).append(true).open(log) {
        let _ = writeln!(file, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{HashMap, HashSet};

    #[test]
    fn it_opens_updates_and_ends_problems_and_keeps_a_handful_open() {
        let mut script = Script::default();
        let mut now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let mut open = HashMap::new();
        let (mut hosts, mut severities, mut kinds) = (HashSet::new(), HashSet::new(), HashSet::new());
        for step in 0..2_000 {
            now = now.saturating_add(2.seconds()).unwrap();
            let message = script.next(now);
            let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let id = text("event_id");
            hosts.insert(text("host_host"));
            severities.insert(text("event_nseverity"));
            if text("event_value") == "0" {
                assert!(open.remove(&id).is_some(), "ended without having begun");
                assert_ne!(text("event_recovery_id"), id);
                kinds.insert("recovery");
            } else if text("event_update_status") == "1" {
                assert!(open.contains_key(&id), "updated without being open");
                kinds.insert("update");
            } else {
                assert!(open.insert(id, text("event_name")).is_none(), "an id twice");
                assert_eq!(
                    (text("event_date"), text("event_time")),
                    (now.strftime("%Y.%m.%d").to_string(), now.strftime("%H:%M:%S").to_string())
                );
                kinds.insert(if text("event_source") == "3" { "internal" } else { "problem" });
            }
            assert!(!message.contains_key("event_ack_history"));
            assert!(open.len() <= MOST_OPEN && (step < 20 || open.len() + 1 >= FEWEST_OPEN), "{} open", open.len());
        }
        assert!(hosts.len() >= 12, "{hosts:?}");
        assert!(["0", "1", "2", "3", "4", "5"].iter().all(|severity| severities.contains(*severity)), "{severities:?}");
        assert_eq!(kinds.len(), 4, "{kinds:?}");
    }

    #[test]
    fn ids_grow_even_when_two_messages_fall_into_one_millisecond() {
        let mut script = Script::default();
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let ids: HashSet<_> = (0..5).map(|_| script.begin(now)["event_id"].clone()).collect();
        assert_eq!(ids.len(), 5);
    }

    #[test]
    fn a_copy_of_a_host_has_its_own_names_and_ids() {
        let first = read(&on_another_host(PROBLEMS[3], 0));
        let third = read(&on_another_host(PROBLEMS[3], 2));
        assert_eq!(first["host_host"], "web-01");
        assert_eq!(third["host_host"], "web-03");
        assert_ne!(first["trigger_id"], third["trigger_id"]);
        assert!(third["event_name"].as_str().unwrap().contains("Web 03"));
    }
}
