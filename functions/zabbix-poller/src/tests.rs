use std::sync::Mutex;

use serde_json::{Value, json};
use signalbox_bus::Recording;
use signalbox_connections::{SnapshotScope, testing::Tables};
use signalbox_messages::{HostChanged, StatusChanged};

use super::*;
use frontend::{Asked, http, recorded, replay, result};

#[path = "../../../shared/zabbix-api/src/tests/frontend.rs"]
#[allow(dead_code, reason = "its other half is for the client's own tests")]
mod frontend;

const MINUTE: &str = include_str!("../../../events/zabbix-poller/minute.json");

fn state(tables: &Tables, url: &str, bus: Recording) -> State {
    State {
        zabbix: ZabbixApi::new(url, Token::new("token").unwrap()).unwrap(),
        status: tables.status.clone(),
        bus: Bus::Recorded(bus),
        every: Duration::from_secs(10),
        holder: "this".to_owned(),
    }
}

/// The recorded 7.0, with these events since the cursor.
fn zabbix(asked: &Asked, news: &[Value]) -> Vec<u8> {
    let params = &asked.body["params"];
    let name = match asked.method() {
        "problem.get" if params["source"] == 0 => {
            let open = |problem: &Value| news.iter().all(|event| event["eventid"] != problem["eventid"]);
            return result(asked, &recorded_events("problem.get").into_iter().filter(open).collect());
        }
        "problem.get" => "problem.get-empty",
        "event.get" if params["source"] == 3 => "event.get-empty",
        // the newest: 52
        "event.get" if params["sortorder"] == "DESC" => {
            return result(asked, &json!([{ "eventid": "52", "objectid": "1", "clock": "1" }]));
        }
        "event.get" if params.get("eventids").is_some() => {
            let wanted = |event: &&Value| params["eventids"].as_array().unwrap().contains(&event["eventid"]);
            return result(asked, &news.iter().filter(wanted).cloned().collect());
        }
        "event.get" => return result(asked, &json!(news)),
        "trigger.get" => "trigger.get-all",
        "host.get" if params.get("selectInterfaces").is_none() => "host.get",
        method => method,
    };
    replay(asked, "v7.0", name)
}

type Answer = fn(&Asked) -> Vec<u8>;

/// What the router does with what is on the bus.
async fn route(tables: &Tables, bus: &Recording) {
    for message in bus.of::<StatusChanged>() {
        tables.status.apply(&message, now_ms() / 1_000).await.unwrap();
    }
    for seen in bus.of::<ZabbixSeen>() {
        tables.status.note_zabbix_seen(&seen).await.unwrap();
    }
    for changed in bus.of::<HostChanged>() {
        tables.status.note_host(&changed, now_ms() / 1_000).await.unwrap();
    }
}

async fn poll_once(state: &State) -> Outcome {
    poll(state, &mut Minute::default()).await.unwrap()
}

fn recorded_events(name: &str) -> Vec<Value> {
    recorded("v7.0", name)["body"]["result"].as_array().unwrap().clone()
}

/// Would fail if a second poll told again what is in the table, or what is only on its way there.
#[tokio::test]
async fn what_zabbix_says_is_known_after_one_poll_and_the_next_tells_nothing() {
    let tables = Tables::start().await;
    let work = async |url: String| {
        let first = Recording::default();
        let state_one = state(&tables, &url, first.clone());
        let mut minute = Minute::default();
        poll(&state_one, &mut minute).await.unwrap();
        let told = first.messages().len();
        poll(&state_one, &mut minute).await.unwrap();
        assert_eq!(first.messages().len(), told, "the first poll's are on their way");
        route(&tables, &first).await;

        let open = tables.status.open_problems().await.unwrap();
        assert_eq!(open.len(), recorded_events("problem.get").len());
        let page = tables.status.snapshot(SnapshotScope::All, None, now_ms() / 1_000).await.unwrap().unwrap();
        let seen = page.zabbix.unwrap();
        assert_eq!((seen.failure, seen.problems, seen.version.as_deref()), (None, Some(open.len()), Some("7.0")));
        assert_eq!(seen.server_seen_at, Some(1_795_249_089));
        let unavailable: Vec<_> = page.hosts.iter().filter(|host| !host.state.unavailable.is_empty()).collect();
        assert_eq!(unavailable.len(), 1, "web-02's agent");

        let second = Recording::default();
        poll_once(&state(&tables, &url, second.clone())).await;
        assert_eq!((second.messages(), second.of::<HostChanged>()), (vec![], vec![]));
        assert_eq!(second.of::<ZabbixSeen>().len(), 1);
    };
    frontend::with(|asked| zabbix(asked, &[]), work).await;
}

/// Would fail without the cursor: neither the problem nor its recovery is in any list of open problems.
#[tokio::test]
async fn a_flap_between_two_polls_is_told_in_full_and_once() {
    let tables = Tables::start().await;
    let news: Vec<Value> = [recorded_events("event.get-closed-manually"), recovery_of_47()].concat();
    let work = async |url: String| {
        tables.status.set_event_cursor(46).await.unwrap();
        let bus = Recording::default();
        poll_once(&state(&tables, &url, bus.clone())).await;
        let ids: Vec<String> =
            bus.messages().into_iter().filter(|message| message.event_id == "47").map(|m| m.id).collect();
        assert_eq!(ids, ["47-problem-poll", "47-update-8-poll", "47-recovery-53-poll"]);
        route(&tables, &bus).await;
        let flap = tables.status.problem("47").await.unwrap().unwrap().view();
        assert_eq!((flap.opened_at, flap.resolved_at), (1_795_249_084, Some(1_795_249_095)));
        assert_eq!(flap.last_update.unwrap().user.as_deref(), Some("Zabbix Administrator (Admin)"));
        assert_eq!(tables.status.event_cursor().await.unwrap(), Some(53));

        let again = Recording::default();
        poll_once(&state(&tables, &url, again.clone())).await;
        assert_eq!(again.messages(), vec![], "the overlap has it still");
    };
    frontend::with(|asked| zabbix(asked, &news), work).await;
}

fn recovery_of_47() -> Vec<Value> {
    vec![json!({
        "eventid": "53", "source": "0", "object": "0", "objectid": "25217", "clock": "1795249095", "value": "0",
        "name": "Database down on DB 01 (primary)", "severity": "0", "r_eventid": "0",
    })]
}

/// What a list of open problems no longer has was not deleted for that: would fail if nobody asked how it ended.
#[tokio::test]
async fn what_is_listed_no_longer_has_recovered_or_is_gone() {
    let tables = Tables::start().await;
    let first = Recording::default();
    frontend::with(
        |asked| zabbix(asked, &[]),
        async |url: String| {
            poll_once(&state(&tables, &url, first.clone())).await;
            route(&tables, &first).await;
        },
    )
    .await;
    let recovered = recorded_events("problem.get").remove(0);
    let id = recovered["eventid"].as_str().unwrap().to_owned();
    let mut event = recovered.clone();
    (event["value"], event["r_eventid"]) = (json!("1"), json!("900"));
    let recovery = json!({
        "eventid": "900", "source": "0", "objectid": recovered["objectid"], "clock": "1795249999", "value": "0", "name": "",
    });
    let later = move |asked: &Asked| match asked.method() {
        "problem.get" => result(asked, &json!([])),
        "event.get" if asked.body["params"].get("eventid_from").is_some() => result(asked, &json!([])),
        _ => zabbix(asked, &[event.clone(), recovery.clone()]),
    };
    frontend::with(later, async |url: String| {
        let bus = Recording::default();
        poll_once(&state(&tables, &url, bus.clone())).await;
        route(&tables, &bus).await;
        assert!(tables.status.open_problems().await.unwrap().is_empty());
        let view = tables.status.problem(&id).await.unwrap().unwrap().view();
        assert_eq!((view.gone, view.resolved_at), (false, Some(1_795_249_999)));
        let gone = bus.messages().iter().filter(|message| message.observed.as_ref().is_some_and(|o| o.gone)).count();
        assert_eq!(gone, recorded_events("problem.get").len() - 1);
    })
    .await;
}

/// Would fail if an answer that is none were an empty one: the board would turn calm.
#[tokio::test]
async fn a_poll_that_comes_to_nothing_says_why_and_leaves_the_last_good_state() {
    let tables = Tables::start().await;
    frontend::with(
        |asked| zabbix(asked, &[]),
        async |url: String| {
            let bus = Recording::default();
            poll_once(&state(&tables, &url, bus.clone())).await;
            route(&tables, &bus).await;
        },
    )
    .await;
    let good = tables.status.zabbix_seen().await.unwrap().unwrap();
    let open = tables.status.open_problems().await.unwrap();
    let failures: [(&str, Answer); 5] = [
        ("not_json", |_| http("200 OK", "<html><title>Sign in</title>")),
        ("token_refused", |asked| match asked.method() {
            "apiinfo.version" => result(asked, &json!("7.0.22")),
            _ => replay(asked, "v7.0", "error-bad-token"),
        }),
        // the rights of the token's user were taken away, which is no error to Zabbix
        ("nothing_visible", |asked| match asked.method() {
            "problem.get" | "event.get" | "host.get" | "trigger.get" | "item.get" => result(asked, &json!([])),
            _ => zabbix(asked, &[]),
        }),
        ("half_an_answer", |_| http("200 OK", r#"{"jsonrpc":"2.0","#)),
        // in the middle of the poll
        ("http_status", |asked| match asked.method() {
            "trigger.get" => http("504 Gateway Timeout", ""),
            _ => zabbix(asked, &[]),
        }),
    ];
    for (code, answer) in failures {
        let bus = Recording::default();
        let work = async |url: String| poll_once(&state(&tables, &url, bus.clone())).await;
        assert!(matches!(frontend::with(answer, work).await.0, Outcome::Failed));
        assert_eq!(bus.messages(), vec![], "{code}");
        let seen = bus.of::<ZabbixSeen>().remove(0);
        assert_eq!(seen.failure.unwrap().code, code);
        assert_eq!((seen.good_at_ms, seen.problems), (Some(good.at_ms), good.problems));
    }
    assert_eq!(tables.status.open_problems().await.unwrap(), open);
}

/// Would fail if the cursor went on before the messages were taken: the flap would be lost.
#[tokio::test]
async fn with_a_bus_that_takes_nothing_the_cursor_stays() {
    let tables = Tables::start().await;
    let news: Vec<Value> = [recorded_events("event.get-closed-manually"), recovery_of_47()].concat();
    let work = async |url: String| {
        tables.status.set_event_cursor(46).await.unwrap();
        let state = state(&tables, &url, Recording::broken());
        assert!(poll(&state, &mut Minute::default()).await.is_err());
        assert_eq!(tables.status.event_cursor().await.unwrap(), Some(46));
    };
    frontend::with(|asked| zabbix(asked, &news), work).await;
}

/// A server whose user may not call `hanode.get`, and which is frozen: its items' values age, and the API answers.
#[tokio::test]
async fn a_frozen_server_shows_in_its_last_sign_of_life() {
    let tables = Tables::start().await;
    let asked_items = Mutex::new(0);
    let frozen = |asked: &Asked| match asked.method() {
        "hanode.get" => replay(asked, "v7.0", "error-method-denied"),
        "item.get" => {
            *asked_items.lock().unwrap() += 1;
            result(asked, &json!([{ "itemid": "1", "lastclock": "1795249040" }]))
        }
        _ => zabbix(asked, &[]),
    };
    frontend::with(frozen, async |url: String| {
        let bus = Recording::default();
        poll_once(&state(&tables, &url, bus.clone())).await;
        assert_eq!(bus.of::<ZabbixSeen>()[0].server_seen_at, Some(1_795_249_040));
    })
    .await;
    assert_eq!(*asked_items.lock().unwrap(), 1);
}

/// Nobody listens: each poll is later by twice as much, up to eight times, and the minute ends in time.
#[tokio::test(start_paused = true)]
async fn an_outage_is_asked_about_less_and_less_until_the_minute_is_over() {
    let tables = Tables::in_process().await;
    let bus = Recording::default();
    let mut state = state(&tables, "http://127.0.0.1:9/", bus.clone());
    state.every = Duration::from_secs(1);
    let began = Instant::now();
    handle(&state, serde_json::from_str(MINUTE).unwrap()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(58), "{:?}", began.elapsed());
    let seen = bus.of::<ZabbixSeen>();
    assert!(seen.iter().all(|seen| seen.failure.as_ref().unwrap().code == "unreachable"));
    let waits: Vec<i64> = seen.windows(2).map(|two| (two[1].at_ms - two[0].at_ms + 500) / 1_000).collect();
    assert_eq!(waits, [2, 4, 8, 8, 8, 8, 8, 8]);
    // and the right to poll is given back
    assert!(tables.status.lease_poll("another", now_ms(), now_ms() + 1).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn while_another_polls_this_one_does_not() {
    let tables = Tables::in_process().await;
    assert!(tables.status.lease_poll("another", now_ms(), now_ms() + 60_000).await.unwrap());
    let bus = Recording::default();
    let state = state(&tables, "http://127.0.0.1:9/", bus.clone());
    handle(&state, serde_json::from_str(MINUTE).unwrap()).await.unwrap();
    assert!(bus.of::<ZabbixSeen>().is_empty());
    assert!(!tables.status.lease_poll("this", now_ms(), now_ms() + 1).await.unwrap(), "the other's is left alone");
}

/// Would fail if who finds another at work left the rest of the minute to nobody.
#[tokio::test(start_paused = true)]
async fn the_lease_of_one_that_was_killed_is_waited_for() {
    let tables = Tables::in_process().await;
    assert!(tables.status.lease_poll("killed", now_ms(), now_ms() + 10).await.unwrap());
    let bus = Recording::default();
    let state = state(&tables, "http://127.0.0.1:9/", bus.clone());
    handle(&state, serde_json::from_str(MINUTE).unwrap()).await.unwrap();
    assert!(!bus.of::<ZabbixSeen>().is_empty());
}

#[test]
fn the_time_between_polls_is_from_1_to_60_seconds() {
    for (text, expected) in [(None, 10), (Some("1"), 1), (Some("60"), 60)] {
        assert_eq!(seconds(text).unwrap(), Duration::from_secs(expected));
    }
    for bad in ["0", "61", "-1", "ten", "1.5"] {
        assert!(seconds(Some(bad)).is_err(), "{bad}");
    }
}
