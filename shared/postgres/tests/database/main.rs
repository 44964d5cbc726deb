//! Database flows against a real Postgres, through a real pgbouncer in transaction mode. What they need: `src/testing.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "what a test looks at, it looks at past the pooler")]

mod availability;
mod history;
mod migrations;
mod months;
mod outage;
mod pooler;
mod record;

use std::path::Path;

use signalbox_messages::{ChangeKind, Detail, Host, Recovery, StatusChanged};
use signalbox_postgres::Recorded;
use signalbox_zabbix::{Problem, Zone, status_changed};
use tokio_postgres::Client;

const FIRST: Recorded = Recorded::Stored { first: true };
const AGAIN: Recorded = Recorded::Stored { first: false };

/// A problem that began at `at` on host `host` in `Site A/<host>`.
fn problem(event_id: &str, at: i64, host: &str) -> StatusChanged {
    StatusChanged {
        id: format!("{event_id}.problem"),
        kind: ChangeKind::Problem,
        event_id: event_id.to_owned(),
        problem: true,
        at,
        seq: 0,
        exact: false,
        opened_at: at,
        recovery: None,
        update: None,
        suppression: None,
        observed: None,
        detail: Detail {
            name: format!("Trouble {event_id}"),
            severity: 4,
            host: Host { id: format!("id-{host}"), host: host.to_owned(), name: format!("The {host}") },
            groups: vec!["Site A".to_owned(), format!("Site A/{host}")],
            ..Detail::default()
        },
        sent_at_ms: None,
        accepted_at_ms: at * 1000,
    }
}

fn recovery(of: &StatusChanged, at: i64) -> StatusChanged {
    StatusChanged {
        id: format!("{}.recovery", of.event_id),
        kind: ChangeKind::Recovery,
        problem: false,
        at,
        recovery: Some(Recovery { at, event_id: format!("9{}", of.event_id) }),
        ..of.clone()
    }
}

/// Every request recorded from a real Zabbix, as messages.
fn fixtures() -> Vec<StatusChanged> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zabbix/fixtures");
    let mut files: Vec<_> = ["recommended", "v6.0", "v7.0"]
        .iter()
        .flat_map(|version| std::fs::read_dir(folder.join(version)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| {
            let fixture: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            let body = fixture["raw_body"].as_str().unwrap();
            status_changed(body.as_bytes(), 1_795_249_043_000, &Zone::Auto).unwrap()
        })
        .collect()
}

/// What a set of messages adds up to, each message once, as the pure model says; versions aside.
fn model(messages: &[StatusChanged]) -> Vec<Problem> {
    let mut problems = std::collections::BTreeMap::<&str, Problem>::new();
    let mut seen = std::collections::HashSet::new();
    for message in messages.iter().filter(|message| seen.insert(&message.id)) {
        problems
            .entry(&message.event_id)
            .and_modify(|problem| {
                problem.merge(message);
            })
            .or_insert_with(|| Problem::first(message));
    }
    problems.into_values().map(without_version).collect()
}

fn without_version(mut problem: Problem) -> Problem {
    problem.set_version(0);
    problem
}

/// The stored problems by event id, versions aside.
async fn stored_problems(client: &Client) -> Vec<Problem> {
    let rows = client.query("SELECT body FROM problems ORDER BY event_id", &[]).await.unwrap();
    rows.iter().map(|row| without_version(serde_json::from_value(row.get(0)).unwrap())).collect()
}

async fn count(client: &Client, table: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await.unwrap().get(0)
}

/// Everything in the database as text.
async fn dump(client: &Client) -> String {
    let mut dump = String::new();
    for (table, columns) in [
        ("status_change_ids", "*"),
        ("status_changes", "id, event_id, kind, problem, at, host, groups, name, severity, payload, recorded_at"),
        ("problem_subjects", "*"),
        ("problem_intervals", "*"),
        ("problem_times", "*"),
        ("problems", "event_id, version, state, severity, opened_at, resolved_at, body, updated_at"),
        ("hosts", "*"),
        ("host_groups", "*"),
        ("host_group_members", "*"),
    ] {
        let query = format!("SELECT t::text FROM (SELECT {columns} FROM {table}) AS t ORDER BY 1");
        for row in client.query(&query, &[]).await.unwrap() {
            dump.push_str(row.get(0));
            dump.push('\n');
        }
    }
    dump
}
