//! Webhook, connector and poller tell of the same problems, through the real router: one real Zabbix 7.0 scenario, heard by
//! all three.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::{prelude::*, test_runner::TestCaseError};
use serde_json::Value;
use signalbox_messages::StatusChanged;
use signalbox_zabbix::{
    Problem,
    api::{Event, Trigger},
    poll::{Snapshot, differences},
};

use crate::world::{World, all_recorded};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/zabbix/fixtures");

fn answers<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(FIXTURES).join(format!("api/v7.0/{name}.json"));
    let mut answer: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    serde_json::from_value(answer["response"]["body"]["result"].take()).unwrap()
}

fn by_webhook() -> Vec<StatusChanged> {
    let zone = "auto".parse().unwrap();
    let message = |(_, body): (String, String)| signalbox_zabbix::status_changed(body.as_bytes(), 0, &zone).unwrap();
    all_recorded("v7.0").into_iter().map(message).collect()
}

fn by_connector() -> Vec<StatusChanged> {
    let files = std::fs::read_dir(Path::new(FIXTURES).join("connector")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("events")).collect();
    files.sort();
    let bodies = files.into_iter().map(|path| std::fs::read(path).unwrap());
    bodies.flat_map(|body| signalbox_zabbix::events(&body, 0).unwrap().messages).collect()
}

/// What polls tell that knew nothing, each at another moment.
fn by_poll() -> Vec<StatusChanged> {
    let triggers: Vec<Trigger> = answers("trigger.get-all");
    let ended =
        ["event.get-recoveries", "event.get-one-resolved-with-updates", "event.get", "event.get-closed-manually"];
    let ended = ended.into_iter().flat_map(answers::<Event>).map(|event| (event.eventid.clone(), event));
    let ended: BTreeMap<String, Event> = ended.collect();
    let moments = ["problem.get", "problem.get-suppressed-manually", "problem.get-in-maintenance", "problem.get-empty"];
    let moments = moments.into_iter().zip(1_795_249_000_000..).map(|(open, at_ms)| {
        let open: Vec<Event> = answers(open);
        Snapshot {
            at_ms,
            open: open.into_iter().map(|event| (event.eventid.clone(), event)).collect(),
            events: ended.clone(),
            monitored: triggers.iter().map(|trigger| trigger.triggerid.clone()).collect(),
            triggers: triggers.iter().map(|trigger| (trigger.triggerid.clone(), trigger.clone())).collect(),
        }
    });
    moments.flat_map(|snapshot| differences(&snapshot, &BTreeMap::new(), 0)).collect()
}

/// Each problem as all that was said of it makes it, without its versions: they count what each order showed.
fn expected(messages: &[StatusChanged]) -> BTreeMap<String, Value> {
    let mut problems: BTreeMap<String, Problem> = BTreeMap::new();
    for message in messages {
        match problems.get_mut(&message.event_id) {
            Some(problem) => drop(problem.merge(message)),
            None => drop(problems.insert(message.event_id.clone(), Problem::first(message))),
        }
    }
    let open = problems.into_iter().filter(|(_, problem)| problem.is_open() && problem.is_described());
    open.map(|(id, problem)| (id, without_version(serde_json::to_value(problem.view()).unwrap()))).collect()
}

fn without_version(mut problem: Value) -> Value {
    problem.as_object_mut().unwrap().remove("version");
    problem
}

#[test]
fn all_three_feeds_tell_of_some_problems() {
    let ids = |messages: Vec<StatusChanged>| -> BTreeSet<String> {
        messages.into_iter().map(|message| message.event_id).collect()
    };
    let (webhook, connector, poll) = (ids(by_webhook()), ids(by_connector()), ids(by_poll()));
    let by_all: Vec<_> = webhook.iter().filter(|id| connector.contains(*id) && poll.contains(*id)).collect();
    assert!(by_all.len() >= 5, "{by_all:?}");
}

/// All messages, some of them again, in any order, in batches of any size up to ten.
fn interleaved() -> impl Strategy<Value = Vec<Vec<StatusChanged>>> {
    let all: Vec<StatusChanged> = by_webhook().into_iter().chain(by_connector()).chain(by_poll()).collect();
    let again = prop::sample::subsequence(all.clone(), 0..all.len() / 2);
    let shuffled = again.prop_map(move |again| all.iter().cloned().chain(again).collect::<Vec<_>>()).prop_shuffle();
    (shuffled, prop::collection::vec(1..=10_usize, 1..40)).prop_map(|(messages, sizes)| {
        let mut sizes = sizes.into_iter().cycle();
        let (mut rest, mut batches) = (&messages[..], Vec::new());
        while !rest.is_empty() {
            let (batch, left) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
            batches.push(batch.to_vec());
            rest = left;
        }
        batches
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Fails if one feed beats another by coming later, if a version is told twice or not at all, or if what is shown
    /// differs from what is stored.
    #[test]
    fn in_any_order_and_any_number_they_end_in_one_state_and_viewers_see_each_change_once(batches in interleaved()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(batches))?;
    }
}

async fn run(batches: Vec<Vec<StatusChanged>>) -> Result<(), TestCaseError> {
    let world = World::new().await;
    world.watcher("c1").await;
    let all: Vec<StatusChanged> = batches.iter().flatten().cloned().collect();
    let mut batches = batches.into_iter();
    while let Some(batch) = batches.next() {
        // two at once, as two environments of the router
        match batches.next() {
            Some(other) => drop(tokio::join!(world.route(batch), world.route(other))),
            None => world.route(batch).await,
        }
    }
    let expected = expected(&all);
    let snapshot = world.snapshot("c1").await.problems.into_iter();
    let snapshot: BTreeMap<String, Value> =
        snapshot.map(|problem| (problem["event_id"].as_str().unwrap().to_owned(), problem)).collect();
    let states: BTreeMap<_, _> =
        snapshot.iter().map(|(id, view)| (id.clone(), without_version(view.clone()))).collect();
    prop_assert_eq!(&states, &expected);

    let (mut seen, mut last) = (BTreeSet::new(), BTreeMap::new());
    for problem in world.published("c1") {
        let (id, version) = (problem["event_id"].as_str().unwrap().to_owned(), problem["version"].as_u64().unwrap());
        prop_assert!(seen.insert((id.clone(), version)), "{} of {} came twice", version, id);
        let newest = last.get(&id).is_none_or(|(known, _)| *known < version);
        if newest {
            last.insert(id, (version, problem));
        }
    }
    // what a viewer has who keeps the newest version of each is what is stored
    let shown = last.into_iter().filter(|(_, (_, problem))| problem["state"] == "open");
    let shown: BTreeMap<_, _> = shown.map(|(id, (_, problem))| (id, problem)).collect();
    prop_assert_eq!(shown, snapshot);
    Ok(())
}
