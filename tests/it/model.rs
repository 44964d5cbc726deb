//! A model check of the ordered delivery over the code itself: every interleaving of publishes and a subscribe within bounds, with an
//! invocation that dies at each of its requests, and with a request that takes longer than a lease lasts.
//!
//! The python model of the design checks the idea; this checks what was made of it. Beyond the bounds there are
//! the random interleavings of `properties.rs`. `SIGNALBOX_INTERRUPTIONS` raises the number of interruptions (1): all that two bring
//! takes minutes.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use signalbox_auth::TokenVerifier;
use signalbox_channels::{ChannelName, ChannelsConfig};
use signalbox_connections::{HELD_SHARDS, testing::Tables};
use signalbox_publishing::{Gateway, Message, PublishOptions, Publisher, Recorded};
use tokio::time::Instant;

use crate::{
    gateway::{
        cloud::{Cloud, Truth},
        dynamo::Mutation,
        schedule::{Death, Plan, Schedule, panic_message},
    },
    properties::{Rule, lets_go, never_behind, two_deliver, unknown_to_the_keeper},
    world::{ORIGIN, TOKEN_SECRET, connect_command, socket_event, token},
};

const CHANNELS: &str = r#"{"channel": {"namespaces": [{"name": "chat", "history_size": 300, "history_ttl": "10m", "force_positioning": true,
    "force_recovery": true, "allow_subscribe_for_client": true}]}}"#;
const CHANNEL: &str = "chat:a";
const SUBSCRIBE: &str = r#"{"id":2,"subscribe":{"channel":"chat:a"}}"#;
/// Longer than a lease, and than an unready row is waited for.
const LONG: Duration = Duration::from_secs(30);

/// What came of an interleaving for its subscriber.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    /// Everything after its position; so many came twice.
    Everything { repeated: usize },
    /// It was told to begin again, or its socket was closed: the SDK recovers.
    Told,
    /// Its subscribe was not answered: the SDK tries again.
    Unanswered,
}

/// Follows the lines of one subscriber. A panic is a gap, a swap, or a push before the reply.
fn follow(lines: &[Value], alive: bool, truth: &Truth) -> Got {
    let (mut position, mut repeated) = (None, 0);
    let lacks = |from: u64, to: u64| {
        (from + 1..to).filter(|offset| !matches!(truth.entries.get(offset), Some(None))).collect::<Vec<_>>()
    };
    for line in lines {
        if line["id"] == 2 {
            let reply = &line["subscribe"];
            if !reply.is_object() {
                return Got::Unanswered;
            }
            assert_eq!(position, None, "answered twice: {lines:?}");
            position = Some(reply["offset"].as_u64().unwrap_or(0));
        } else if let Some(offset) = line.pointer("/push/pub/offset").and_then(Value::as_u64) {
            let at = position.as_mut().unwrap_or_else(|| panic!("a push before the reply: {lines:?}"));
            if offset <= *at {
                repeated += 1;
                continue;
            }
            assert_eq!(lacks(*at, offset), [0_u64; 0], "missing before {offset}: {lines:?}");
            *at = offset;
        } else if line.pointer("/push/unsubscribe/code") == Some(&json!(2500)) {
            return Got::Told;
        }
    }
    match position {
        _ if !alive => Got::Told,
        None => Got::Unanswered,
        Some(at) => {
            assert_eq!(lacks(at, truth.top + 1), [0_u64; 0], "never arrived: {lines:?} {truth:?}");
            Got::Everything { repeated }
        }
    }
}

/// Who of the actors is to die, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Nobody,
    Publisher(Death),
    Subscriber(Death),
}

impl Victim {
    fn publisher(self) -> Option<Death> {
        if let Self::Publisher(death) = self { Some(death) } else { None }
    }

    fn subscriber(self) -> Option<Death> {
        if let Self::Subscriber(death) = self { Some(death) } else { None }
    }
}

/// Two publish and one subscribes; then whatever was left behind is healed. True when the victim died.
async fn interleaving(
    schedule: Schedule,
    plan: Plan,
    victim: Victim,
    stalls: bool,
    broken: Option<Rule>,
) -> (Plan, bool) {
    let cloud = Cloud::new(&schedule, CHANNELS);
    cloud.dynamo.set_mutation(broken.map(|rule| Arc::new(rule) as Mutation));
    cloud.sockets.open_as("S=", ORIGIN).await;
    cloud.sockets.run("S=", &connect_command(1, &token("s"))).await;
    schedule.follow(plan);
    let publish = |name: &str, death| cloud.api("publish", json!({"channel": CHANNEL, "data": {"by": name}}), death);
    let (a, b) = (publish("a", victim.publisher()), publish("b", None));
    let s = cloud.sockets.spawn_frame("s", "S=", SUBSCRIBE.to_owned(), victim.subscriber());
    let (a, b, s) = (a.join().await, b.join().await, s.join().await);
    let plan = schedule.followed().unwrap();
    let died = a.is_none() || s.is_none();
    if died || stalls {
        tokio::time::sleep(LONG).await;
        schedule.settled().await;
        let soon = Instant::now() + LONG;
        for shard in 0..HELD_SHARDS {
            cloud.publisher.heal(shard, soon).await.unwrap();
        }
        for bucket in 0..8 {
            cloud.publisher.sweep(bucket, soon).await.unwrap();
        }
    }
    schedule.settled().await;
    let truth = cloud.truth(CHANNEL).await;
    assert_eq!(truth.delivered, truth.top, "{truth:?}");
    for answer in [a, b].into_iter().flatten() {
        let offset = answer.unwrap().unwrap()["offset"].as_u64().unwrap();
        assert!(matches!(truth.entries.get(&offset), Some(Some(_))), "{offset} was acknowledged: {truth:?}");
    }
    let lines = cloud.sockets.lines("S=");
    let got = follow(&lines, cloud.sockets.is_alive("S="), &truth);
    if !died && !stalls {
        assert_eq!(got, Got::Everything { repeated: 0 }, "{lines:?}");
    }
    (plan, died)
}

/// All interleavings within bounds: how many there were, and whether the victim died in one of them. The first one that went wrong is
/// the error.
fn explore(
    victim: Victim,
    interruptions: usize,
    stalls: usize,
    broken: Option<Rule>,
) -> Result<(usize, bool), (Plan, String)> {
    let mut plan = Some(Plan::new(interruptions, stalls, Duration::from_secs(12)));
    let (mut count, mut died) = (0, false);
    while let Some(this) = plan {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let told = this.clone();
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                let schedule = Schedule::new(0, false);
                schedule.run(interleaving(schedule.clone(), this, victim, stalls > 0, broken)).await
            })
        }));
        let (followed, dead) = run.map_err(|panic| (told, panic_message(panic.as_ref())))?;
        died |= dead;
        count += 1;
        plan = followed.next();
    }
    Ok((count, died))
}

/// All of them go well.
fn all_interleavings(victim: Victim, interruptions: usize, stalls: usize) -> (usize, bool) {
    explore(victim, interruptions, stalls, None).unwrap_or_else(|(plan, why)| panic!("{why}: {victim:?}, {plan:?}"))
}

fn interruptions() -> usize {
    std::env::var("SIGNALBOX_INTERRUPTIONS").ok().map_or(1, |text| text.parse().expect("a number"))
}

#[test]
fn every_interleaving_of_two_publishes_and_a_subscribe_is_in_order_and_whole() {
    let (count, _) = all_interleavings(Victim::Nobody, interruptions(), 0);
    println!("{count} interleavings");
    assert!(count > 100, "{count}");
}

#[test]
fn whoever_dies_at_whatever_request_leaves_no_gap() {
    let kinds: [fn(Death) -> Victim; 2] = [Victim::Publisher, Victim::Subscriber];
    let mut count = 0;
    for kind in kinds {
        for after in [false, true] {
            for gate in 0.. {
                let (interleavings, died) = all_interleavings(kind(Death { gate, after }), interruptions() - 1, 0);
                count += interleavings;
                if !died {
                    assert!(gate > 3, "it has more than {gate} requests");
                    break;
                }
            }
        }
    }
    println!("{count} interleavings");
}

#[test]
fn a_request_that_takes_longer_than_the_lease_leaves_no_gap_and_no_swap() {
    let (count, _) = all_interleavings(Victim::Nobody, interruptions() - 1, 1);
    println!("{count} interleavings");
    assert!(count > 20, "{count}");
}

/// Each of these is broken on purpose, and one of the interleavings goes wrong.
#[test]
fn some_interleaving_notices_when_a_rule_is_broken() {
    let first_request = Victim::Publisher(Death { gate: 0, after: true });
    let rules: [(&str, Victim, usize, Rule); 5] = [
        ("a deliverer lets go although something was appended", Victim::Nobody, 0, lets_go),
        ("two may deliver at once", Victim::Nobody, 0, two_deliver),
        ("a row is ready as if nothing had been published meanwhile", Victim::Nobody, 0, never_behind),
        ("the keeper does not learn what is pending", first_request, 0, unknown_to_the_keeper),
        (
            "a row is ready as if nothing had been published while a request took longer than the lease",
            Victim::Nobody,
            1,
            never_behind,
        ),
    ];
    for (rule, victim, stalls, broken) in rules {
        // a stall is an interruption of its own
        let found = explore(victim, 1 - stalls, stalls, Some(broken));
        let (plan, why) = found.expect_err(rule);
        println!("{rule}: {why}, {plan:?}");
    }
}

/// The same against a DynamoDB API over HTTP, whose requests are really under way at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_and_subscribers_at_once_over_http_are_in_order_and_whole() {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 5;
    const SUBSCRIBERS: usize = 6;
    let tables = Tables::start().await;
    let channels = Arc::new(ChannelsConfig::parse(CHANNELS).unwrap());
    let posts = Arc::new(Recorded::default());
    let publisher =
        Publisher::new(tables.table.clone(), Gateway::Recorded(posts.clone())).with_channels(channels.clone());
    let connect = ws_connect::State::new(tables.table.clone(), ORIGIN, channels.client.clone());
    let default = ws_default::State {
        publisher: publisher.clone(),
        status: tables.status.clone(),
        channels: channels.clone(),
        tokens: TokenVerifier::new(Some(TOKEN_SECRET), None, None, None).unwrap(),
        subscription_tokens: None,
        tickets: signalbox_auth::TicketKey::new("example-ticket-secret"),
        actions: None,
        allow_anonymous: false,
    };
    let namespace = channels.namespace_of(&ChannelName::parse(CHANNEL).unwrap()).unwrap();
    let publishing = futures::future::join_all((0..PUBLISHERS).map(|by| {
        let publisher = &publisher;
        async move {
            for n in 0..EACH {
                let data = serde_json::value::to_raw_value(&json!({"by": by, "n": n})).unwrap();
                publisher.publish(CHANNEL, namespace, &Message::new(&data), &PublishOptions::default()).await.unwrap();
            }
        }
    }));
    let subscribing = futures::future::join_all((0..SUBSCRIBERS).map(|n| {
        let (id, connect, default) = (format!("s{n}="), &connect, &default);
        async move {
            tokio::time::sleep(Duration::from_millis(60 * n as u64)).await;
            ws_connect::handle(connect, socket_event(&id, "CONNECT", None, Some(ORIGIN))).await.unwrap();
            for frame in [connect_command(1, &token(&id)), SUBSCRIBE.to_owned()] {
                ws_default::handle(default, socket_event(&id, "MESSAGE", Some(&frame), None)).await.unwrap();
            }
        }
    }));
    futures::future::join(publishing, subscribing).await;
    publisher.ensure_delivered(CHANNEL, namespace, (PUBLISHERS * EACH) as u64).await.unwrap();
    let head = tables.table.find_head(CHANNEL).await.unwrap().unwrap();
    assert_eq!((head.offset, head.delivered), ((PUBLISHERS * EACH) as u64, (PUBLISHERS * EACH) as u64));
    let entries = (1..=head.offset).map(|offset| (offset, Some(Value::Null))).collect();
    let truth =
        Truth { channel: CHANNEL.to_owned(), epoch: head.epoch, top: head.offset, delivered: head.delivered, entries };
    for n in 0..SUBSCRIBERS {
        let lines = posts.lines(&format!("s{n}="));
        assert_eq!(follow(&lines, true, &truth), Got::Everything { repeated: 0 }, "{lines:?}");
    }
}
