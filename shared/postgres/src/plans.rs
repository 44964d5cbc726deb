//! How the reading statements are planned, and how long they take, on a record of the size that counts.
//!
//! `SIGNALBOX_RECORD_EVENTS=5000000` fills that many events (some minutes) and holds each statement to 100 ms through the pooler;
//! without it there are 60,000, and only the plans are looked at.

#![allow(clippy::disallowed_methods, clippy::print_stderr, clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::{
    Client,
    types::{Json, ToSql, Type},
};

use crate::{
    By, Config, Database, HistoryFilter, Planned, Scope,
    availability::{RESPONSE_SUMMED, TIMELINE, availability_statement, response_counted_statement, response_statement},
    rollup::{Sums, parts},
    status::HISTORY,
    testing::TestDatabase,
};

/// 2025-12-01 and a year and a bit on: thirteen months.
const BEGIN: i64 = 1_764_547_200;
const END: i64 = BEGIN + 390 * DAY;
const DAY: i64 = 86_400;

/// Two messages by each of two ways for a problem: opened and recovered.
const OF_A_PROBLEM: i64 = 4;

/// 5,000 hosts in 50 groups and 50 services; of each hundred problems 20 are high or worse, 2 last three days, the others up to two
/// hours. Every 5,003rd is still open.
async fn fill(look: &Client, events: i64) {
    let problems = events / OF_A_PROBLEM;
    for month in 0..14 {
        let make = "SELECT status_changes_make((timestamp '2025-12-01' + make_interval(months => $1))::date)";
        look.query(make, &[&month]).await.unwrap();
    }
    // filled as V1's data is by its migration: a table first, its indexes after it
    let indexes = [
        "status_changes_by_host ON status_changes (host, at DESC, id DESC)",
        "status_changes_by_group ON status_changes USING gin (groups)",
        "status_changes_by_problem ON status_changes (event_id, fact)",
    ];
    look.batch_execute("DROP INDEX status_changes_by_host, status_changes_by_group, status_changes_by_problem")
        .await
        .unwrap();
    look.batch_execute(&format!(
        r#"
CREATE TEMP TABLE told AS
SELECT n, n::text AS event_id, n % 5000 AS host, {BEGIN} + n * {length} / {problems} AS opened,
       CASE WHEN n % 5003 = 7 THEN 9223372036854775807
            ELSE {BEGIN} + n * {length} / {problems} + CASE WHEN n % 50 = 3 THEN 259200 ELSE 30 + n * 7919 % 7200 END END AS ended,
       (ARRAY[0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 2, 1, 2, 3, 3, 2, 4, 4, 4, 5])[1 + n * 31 % 20]::smallint AS severity
FROM generate_series(0::bigint, {problems} - 1) AS n;
INSERT INTO problem_subjects
SELECT host, 'id' || host, 'host-' || host, ARRAY['Site', 'Site/' || host % 50],
       jsonb_build_array(jsonb_build_object('tag', 'service', 'value', 'service-' || host % 50))
FROM generate_series(0, 4999) AS host;
INSERT INTO problem_intervals SELECT event_id, opened, ended, severity, n % 40 = 5, false, n % 90 = 5, host FROM told;
INSERT INTO problem_times
SELECT event_id, opened, CASE WHEN n % 3 = 0 THEN opened + 20 END, nullif(ended, 9223372036854775807), severity, host FROM told;
INSERT INTO status_changes (id, event_id, kind, problem, at, host_id, host, groups, name, severity, payload, accepted_at, recorded_at)
SELECT event_id || '-' || kind || way, event_id, kind, kind = 'problem',
       to_timestamp(CASE WHEN kind = 'problem' OR ended > {END} THEN opened ELSE ended END), 'id' || host, 'host-' || host,
       ARRAY['Site', 'Site/' || host % 50], 'Trouble', severity, '{{"detail": {{"tags": []}}}}', to_timestamp(opened),
       to_timestamp(opened + way)
FROM told, unnest(ARRAY['problem', 'recovery']) AS kind, generate_series(1, 2) AS way;
INSERT INTO problems (event_id, version, kind, state, severity, host_id, opened_at, resolved_at, body)
SELECT event_id, 1, 'problem', CASE WHEN ended > {END} THEN 'open' ELSE 'resolved' END, severity, 'id' || host, to_timestamp(opened),
       CASE WHEN ended <= {END} THEN to_timestamp(ended) END, '{body}'
FROM told;
DROP TABLE told;"#,
        length = END - BEGIN,
        body = body(),
    ))
    .await
    .unwrap();
    for index in indexes {
        look.batch_execute(&format!("CREATE INDEX {index}")).await.unwrap();
    }
    // what autovacuum does
    look.batch_execute("VACUUM (ANALYZE)").await.unwrap();
}

/// Of some problem; nobody looks at whose.
fn body() -> String {
    let told = serde_json::json!({
        "id": "1", "kind": "problem", "event_id": "1", "problem": true, "at": BEGIN, "opened_at": BEGIN, "accepted_at_ms": 0,
        "detail": {"name": "Trouble", "severity": 4, "acknowledged": false, "host": {"id": "1", "host": "h", "name": "H"}},
    });
    serde_json::to_string(&signalbox_zabbix::Problem::first(&serde_json::from_value(told).unwrap())).unwrap()
}

/// Tables that are read whole anywhere in a plan.
fn read_whole(plan: &Value, found: &mut Vec<String>) {
    match plan {
        Value::Array(nodes) => nodes.iter().for_each(|node| read_whole(node, found)),
        Value::Object(node) => {
            if node.get("Node Type").is_some_and(|kind| kind == "Seq Scan") {
                found.push(node["Relation Name"].as_str().unwrap_or_default().to_owned());
            }
            node.values().for_each(|value| read_whole(value, found));
        }
        _ => {}
    }
}

async fn explained(client: &Client, statement: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Value {
    let explain = format!("EXPLAIN (FORMAT JSON) {statement}");
    let rows = client.query_typed(&explain, parameters).await.unwrap();
    rows[0].get::<_, Json<Value>>(0).0
}

/// The fastest of three: the first may find nothing in memory.
async fn fastest<T>(mut work: impl AsyncFnMut() -> T) -> Duration {
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        work().await;
        fastest = fastest.min(started.elapsed());
    }
    fastest
}

#[tokio::test]
async fn reading_the_record_never_reads_a_big_table_whole_and_is_fast_at_five_million_events() {
    let large: Option<i64> = std::env::var("SIGNALBOX_RECORD_EVENTS").ok().map(|events| events.parse().unwrap());
    let test = TestDatabase::new().await;
    let look = test.look().await;
    let started = Instant::now();
    fill(&look, large.unwrap_or(60_000)).await;
    eprintln!("filled in {:?}", started.elapsed());
    let database = Database::new(Config::from_url(&test.pooled_url).unwrap());
    let started = Instant::now();
    let summed = database.sum_up(END + 2 * DAY, None).await.unwrap();
    look.batch_execute("VACUUM (ANALYZE)").await.unwrap();
    eprintln!("{summed} days summed up in {:?}", started.elapsed());
    assert_eq!(summed, 390);
    plans(&look).await;
    let slow = times(&database).await;
    assert!(large.is_none() || slow.is_empty(), "over 100 ms: {slow:?}");
}

async fn plans(look: &Client) {
    let none: Option<&str> = None;
    let no_number: Option<i64> = None;
    let (from, to, severities, include, rows) = (END - 30 * DAY, END, vec![4_i16, 5], false, 101_i64);
    let (host, group, service) = (Some("host-7"), Some("Site/7"), Some("service"));
    let mut plans = Vec::new();
    for (by, tag, series) in
        [(By::Host, none, "host"), (By::Group, none, "group"), (By::Tag("service".to_owned()), service, "tag service")]
    {
        let subjects: [(&(dyn ToSql + Sync), Type); 3] = [(&none, Type::TEXT), (&none, Type::TEXT), (&tag, Type::TEXT)];
        let page: [(&(dyn ToSql + Sync), Type); 3] =
            [(&none, Type::TEXT), (&rows, Type::INT8), (&severities, Type::INT2_ARRAY)];
        let scope = Scope { from, to, severity: 4, host: None, group: None };
        let exactly: [(&(dyn ToSql + Sync), Type); 2] = [(&from, Type::INT8), (&to, Type::INT8)];
        let response: Vec<_> = [&subjects[..], &page, &exactly].concat();
        plans.push((
            format!("response by {by:?}"),
            explained(look, &response_statement(&scope, Some(&by)), &response).await,
        ));
        for days in [30, 365] {
            // the edges of a window are parts of days
            let parts = parts(look, Sums::Down, END - days * DAY + 60, END - 60).await.unwrap();
            assert!(
                parts.days.len() > 20 && (days == 30 || parts.long.len() > 8) && parts.from.len() == 2,
                "{parts:?}"
            );
            let cut: [(&(dyn ToSql + Sync), Type); 2] =
                [(&parts.from, Type::INT8_ARRAY), (&parts.to, Type::INT8_ARRAY)];
            let rest: [(&(dyn ToSql + Sync), Type); 7] = [
                (&include, Type::BOOL),
                (&no_number, Type::INT8),
                (&none, Type::TEXT),
                (&rows, Type::INT8),
                (&parts.long, Type::INT4_ARRAY),
                (&parts.days, Type::INT4_ARRAY),
                (&series, Type::TEXT),
            ];
            let parameters =
                [&subjects[..], &[(&severities as &(dyn ToSql + Sync), Type::INT2_ARRAY)], &cut, &rest].concat();
            let statement = availability_statement(&scope, &by, Planned::Exclude);
            plans
                .push((format!("availability by {by:?}, {days} days"), explained(look, &statement, &parameters).await));
            let parameters = [&subjects[..], &page, &cut].concat();
            plans.push((
                format!("response by {by:?}, counted, {days} days"),
                explained(look, &response_counted_statement(Some(&by)), &parameters).await,
            ));
            let keys: Vec<String> = (0..50).map(|n| format!("Site/{n}")).collect();
            let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
                (&parts.long, Type::INT4_ARRAY),
                (&parts.days, Type::INT4_ARRAY),
                (&series, Type::TEXT),
                (&keys, Type::TEXT_ARRAY),
                (&4_i16, Type::INT2),
            ];
            plans.push((
                format!("response by {by:?}, summed up, {days} days"),
                explained(look, RESPONSE_SUMMED, &parameters).await,
            ));
        }
    }
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (&host, Type::TEXT),
        (&from, Type::INT8),
        (&to, Type::INT8),
        (&no_number, Type::INT8),
        (&none, Type::TEXT),
        (&rows, Type::INT8),
    ];
    plans.push(("timeline".to_owned(), explained(look, TIMELINE, &parameters).await));
    for (host, group) in [(none, none), (host, none), (none, group)] {
        let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
            (&host, Type::TEXT),
            (&group, Type::TEXT),
            (&no_number, Type::INT8),
            (&to, Type::INT8),
            (&no_number, Type::INT8),
            (&none, Type::TEXT),
            (&rows, Type::INT8),
        ];
        plans.push((format!("history {host:?} {group:?}"), explained(look, HISTORY, &parameters).await));
    }
    for (name, plan) in plans {
        let mut found = Vec::new();
        read_whole(&plan, &mut found);
        // small by nature, and read whole on purpose
        found.retain(|table| !["problem_subjects", "rollup_keys"].contains(&table.as_str()));
        // so is a month without a row
        let mut big = Vec::new();
        for table in found {
            let rows = look.query(&format!("SELECT FROM {table} LIMIT 1"), &[]).await.unwrap();
            big.extend((!rows.is_empty()).then_some(table));
        }
        let found = big;
        assert!(found.is_empty(), "{name} reads {found:?} whole: {plan:#}");
    }
}

/// What takes longer than 100 ms.
async fn times(database: &Database) -> Vec<(String, Duration)> {
    let mut slow = Vec::new();
    let mut taken = |name: String, held: bool, took: Duration| {
        eprintln!("{name}: {took:?}");
        if held && took > Duration::from_millis(100) {
            slow.push((name, took));
        }
    };
    for days in [1, 30, 90, 365] {
        // the last days, and the same time long ago: the index by end must not read all that came after
        for to in [END, BEGIN + 30 * DAY].into_iter().filter(|to| to - days * DAY >= BEGIN) {
            for by in [By::Host, By::Group, By::Tag("service".to_owned())] {
                let scope = Scope { from: to - days * DAY, to, severity: 4, host: None, group: None };
                let took = fastest(async || {
                    let rows = database.availability(&scope, &by, Planned::Exclude, None, 100).await.unwrap().rows;
                    assert!(rows.first().is_some_and(|row| row.down_seconds > 0));
                });
                taken(format!("availability by {by:?}, {days} days to day {}", (to - BEGIN) / DAY), true, took.await);
                let took = fastest(async || database.response(&scope, Some(&by), None, 100).await.unwrap());
                taken(format!("response by {by:?}, {days} days to day {}", (to - BEGIN) / DAY), true, took.await);
            }
        }
    }
    let scope = Scope { from: END - 30 * DAY, to: END, severity: 0, host: None, group: None };
    for days in [30, 365] {
        for by in [By::Host, By::Group, By::Tag("service".to_owned())] {
            let scope = Scope { from: END - days * DAY, ..scope.clone() };
            let took = fastest(async || database.availability(&scope, &by, Planned::Exclude, None, 100).await.unwrap());
            taken(format!("availability by {by:?}, any severity, {days} days"), true, took.await);
            let took = fastest(async || database.response(&scope, Some(&by), None, 100).await.unwrap());
            taken(format!("response by {by:?}, any severity, {days} days"), true, took.await);
        }
        let took = fastest(async || database.response(&scope, None, None, 100).await.unwrap());
        taken(format!("response, any severity, {days} days"), true, took.await);
        for (host, group) in [(None, Some("Site/7")), (None, Some("Site")), (Some("host-7"), None)] {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let scope = Scope { from: END - days * DAY, host: text(host), group: text(group), ..scope.clone() };
            for by in [By::Host, By::Group, By::Tag("service".to_owned())] {
                let held = !matches!((&by, group), (By::Tag(_), Some(_)));
                let took =
                    fastest(async || database.availability(&scope, &by, Planned::Include, None, 100).await.unwrap());
                taken(
                    format!("availability by {by:?}, any severity, of {host:?} {group:?}, {days} days"),
                    held,
                    took.await,
                );
                let took = fastest(async || database.response(&scope, Some(&by), None, 100).await.unwrap());
                taken(
                    format!("response by {by:?}, any severity, of {host:?} {group:?}, {days} days"),
                    held,
                    took.await,
                );
            }
        }
    }
    let of_host = Scope { host: Some("host-7".to_owned()), ..scope };
    let took = fastest(async || database.timeline(&of_host, None, 500).await.unwrap());
    taken("timeline".to_owned(), true, took.await);
    for (host, group) in [(None, None), (Some("host-7"), None), (None, Some("Site/7")), (None, Some("Site"))] {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let filter = HistoryFilter { host: text(host), group: text(group), from: None, to: Some(END) };
        let took = fastest(async || {
            let page = database.history(&filter, None, 100).await.unwrap();
            assert!(!page.events.is_empty());
        });
        taken(format!("history, host {host:?}, group {group:?}"), true, took.await);
    }
    slow
}
