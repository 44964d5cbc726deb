//! P11: whatever frames a client sends, right, wrong or mutated, each gets its answer or ends its socket; no function fails, and no
//! row is left behind.
//!
//! `SIGNALBOX_FRAMES=1000000` sends that many, on all cores; to be built with `CARGO_PROFILE_DEV_OPT_LEVEL=1`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use proptest::{collection::vec, strategy::Strategy};

use crate::{
    gateway::{
        cloud::Cloud,
        dynamo::Mutation,
        frames::frame,
        schedule::Schedule,
        seeds::{check, notices},
    },
    properties::{Rule, keeps, row_stays},
    world::{ORIGIN, connect_command, token},
};

/// Clients may do everything but in `secret` and `server`.
const CHANNELS: &str = r#"{"channel": {"namespaces": [
    {"name": "chat", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
     "allow_subscribe_for_client": true, "allow_publish_for_client": true, "allow_history_for_client": true,
     "allow_presence_for_client": true, "allow_user_limited_channels": true},
    {"name": "big", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true, "shards": 3,
     "allow_subscribe_for_client": true, "allow_publish_for_client": true, "allow_history_for_client": true},
    {"name": "diff", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
     "allow_subscribe_for_client": true, "allow_publish_for_client": true, "allow_history_for_client": true,
     "allowed_delta_types": ["fossil"], "delta_publish": true},
    {"name": "tags", "history_size": 5, "history_ttl": "10m", "force_recovery": true, "force_recovery_mode": "cache",
     "allow_subscribe_for_client": true, "allow_publish_for_client": true, "allow_tags_filter": true},
    {"name": "room", "history_size": 300, "history_ttl": "10m", "allow_subscribe_for_client": true, "allow_publish_for_client": true,
     "allow_history_for_subscriber": true, "allow_presence_for_subscriber": true, "presence": true, "join_leave": true,
     "force_push_join_leave": true},
    {"name": "typing", "allow_subscribe_for_client": true, "allow_publish_for_subscriber": true},
    {"name": "server", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true},
    {"name": "secret", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true}
]}}"#;

/// Frames that one stack gets, on average.
const EACH: usize = 50;
/// Frames whose seeds have a name of their own, on average.
const BLOCK: usize = 10_000;
/// Clients that send them.
const CLIENTS: usize = 3;

/// A frame, who sends it, and whether the others wait until it was answered.
#[derive(Debug, Clone)]
struct Sent {
    client: usize,
    frame: String,
    waits: bool,
}

fn conversation() -> impl Strategy<Value = Vec<Sent>> {
    let sent = (0..CLIENTS, frame(), proptest::bool::weighted(0.7));
    vec(sent.prop_map(|(client, frame, waits)| Sent { client, frame, waits }), 1..2 * EACH)
}

/// What is broken on purpose.
#[derive(Debug, Clone, Copy)]
enum Broken {
    Nothing,
    /// A request to DynamoDB.
    Request(Rule),
    /// The function fails where a frame is like that.
    Handler(fn(&str) -> bool),
}

/// Sends the frames, many at once, and looks at what comes of them.
async fn answered(schedule: Schedule, conversation: Vec<Sent>, broken: Broken) {
    let cloud = Cloud::new(&schedule, CHANNELS);
    match broken {
        Broken::Nothing => {}
        Broken::Request(rule) => cloud.dynamo.set_mutation(Some(Arc::new(rule) as Mutation)),
        Broken::Handler(fails) => cloud.fail_frames(fails),
    }
    cloud.start_workers();
    let mut ids: Vec<String> = vec![String::new(); CLIENTS];
    // by socket: what its client asked, and how many answers came
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    let mut read = 0;
    let last = conversation.len() - 1;
    for (n, Sent { client, frame, waits }) in conversation.into_iter().enumerate() {
        let id = &mut ids[client];
        if !cloud.sockets.is_alive(id) {
            *id = format!("C{n}=");
            cloud.sockets.open_as(id, ORIGIN).await;
            // whoever does not connect first is told so late: few do that here
            if schedule.chance(0.97) {
                let connect = connect_command(1, &token(&format!("u{client}")));
                cloud.sockets.run(id, &connect).await;
                asked.entry(id.clone()).or_default().push(connect);
            }
        }
        cloud.sockets.send(id, &frame);
        asked.entry(id.clone()).or_default().push(frame);
        if waits || n == last {
            cloud.settled().await;
            for (id, line) in cloud.sockets.lines_after(read) {
                *answers.entry(id).or_default() += usize::from(line["push"].is_null());
            }
            read = cloud.sockets.posts_so_far();
            for (id, asked) in asked.iter().filter(|(id, _)| cloud.sockets.is_alive(id)) {
                let answers = answers.get(id).copied().unwrap_or(0);
                assert!(answers >= asked.len(), "{answers} answers came to {asked:?}");
            }
        }
    }
    for id in &ids {
        cloud.sockets.close(id, 1000);
    }
    cloud.settled().await;
    assert_eq!(cloud.sockets.surfaced(), Vec::<String>::new());
    assert_eq!(cloud.workers.dead(), Vec::<String>::new());
    assert_eq!(cloud.rows_of_connections(), Vec::<String>::new());
}

/// The blocks of frames that `SIGNALBOX_FRAMES` asks for: `1000000`, or `250000..1000000` to go on from there.
fn asked_for() -> Option<std::ops::Range<usize>> {
    let text = std::env::var("SIGNALBOX_FRAMES").ok()?;
    let (from, to) = text.split_once("..").unwrap_or(("0", &text));
    let block = |text: &str| text.parse::<usize>().expect("a number in SIGNALBOX_FRAMES").div_ceil(BLOCK);
    Some(block(from)..block(to))
}

#[test]
fn p11_any_frame_gets_an_answer_or_an_end() {
    let Some(blocks) = asked_for() else {
        return check("frames", 6, conversation(), |schedule, sent| answered(schedule, sent, Broken::Nothing));
    };
    let (next, frames) = (AtomicUsize::new(blocks.start), AtomicUsize::new(0));
    let cases = u32::try_from(BLOCK / EACH).unwrap();
    let block_by_block = || {
        loop {
            let block = next.fetch_add(1, Ordering::Relaxed);
            if block >= blocks.end {
                return;
            }
            check(&format!("frames {block}"), cases, conversation(), |schedule, sent| {
                frames.fetch_add(sent.len(), Ordering::Relaxed);
                answered(schedule, sent, Broken::Nothing)
            });
            println!("block {block} of {blocks:?}: {} frames so far", frames.load(Ordering::Relaxed));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(block_by_block);
        }
    });
}

/// Each of these is broken on purpose.
#[test]
fn p11_notices_what_is_broken() {
    let broken: [(&str, Broken); 4] = [
        ("what is no JSON fails the function", Broken::Handler(|frame| !frame.trim_start().starts_with(['{', '[']))),
        (
            "a publication of a large payload fails the function",
            Broken::Handler(|frame| frame.contains("publish") && frame.len() > 2_000),
        ),
        (
            "the list of a user's connections is forgotten when one goes",
            Broken::Request(|_, body| keeps(body, "user#")),
        ),
        ("a subscription's row is not deleted", Broken::Request(row_stays)),
    ];
    for (what, broken) in broken {
        notices(what, 20, conversation(), move |schedule, sent| answered(schedule, sent, broken));
    }
}
