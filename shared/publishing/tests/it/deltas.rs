//! What a subscriber that negotiated deltas makes of what it gets.

use serde_json::value::RawValue;
use signalbox_connections::LogState;
use signalbox_publishing::{FanOut, FanOutTask, HistoryQuery, Message};

use super::{world::json_text, *};

async fn world() -> World {
    World::paused(json!({"allowed_delta_types": ["fossil"], "delta_publish": true})).await
}

fn fossil() -> SubscribeRequest {
    SubscribeRequest { delta: "fossil".to_owned(), ..plain() }
}

/// A document of which little changes.
fn document(n: usize) -> String {
    format!(r#"{{"board":"{}","score":{n},"ä":"ö"}}"#, "the same words again and again ".repeat(8))
}

async fn publish(world: &World, n: usize) -> u64 {
    world.publish_with(&json_text(&document(n)), &PublishOptions::default()).await.offset
}

/// As the SDKs do it: the documents in the order in which they came, and which of them came as a delta.
fn decoded(world: &World, id: &str) -> Vec<(u64, String, bool)> {
    let mut held = String::new();
    let mut documents = Vec::new();
    let mut take = |publication: &Value| {
        let data = publication["data"].as_str().unwrap_or_else(|| panic!("not a string: {publication}"));
        let delta = publication["delta"].as_bool().unwrap_or(false);
        held = if delta {
            String::from_utf8(signalbox_fossil::apply(held.as_bytes(), data.as_bytes()).unwrap()).unwrap()
        } else {
            data.to_owned()
        };
        documents.push((publication["offset"].as_u64().unwrap(), held.clone(), delta));
    };
    for line in world.posts.lines(id) {
        if let Some(reply) = line.get("reply") {
            assert_eq!(reply["delta"], json!(true), "{reply}");
            reply["publications"].as_array().into_iter().flatten().for_each(&mut take);
        } else if let publication @ Value::Object(_) = &line["push"]["pub"] {
            take(publication);
        }
    }
    documents
}

fn is_delta(documents: &[(u64, String, bool)]) -> Vec<bool> {
    documents.iter().map(|(_, _, delta)| *delta).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_publication_is_whole_and_the_others_are_deltas_that_apply() {
    let world = world().await;
    publish(&world, 0).await;
    world.connect("a").await;
    world.subscribe_with("a", 1, fossil()).await;
    world.subscribe("plain").await;
    for n in 1..=4 {
        publish(&world, n).await;
    }
    let documents = decoded(&world, "a");
    assert_eq!(
        documents.iter().map(|(_, text, _)| text.clone()).collect::<Vec<_>>(),
        (1..=4).map(document).collect::<Vec<_>>()
    );
    assert_eq!(is_delta(&documents), [false, true, true, true]);
    for (n, push) in (1..=4).zip(world.pushes("plain")) {
        assert_eq!(
            push["pub"]["data"],
            serde_json::from_str::<Value>(&document(n)).unwrap(),
            "no delta without asking"
        );
        assert!(push["pub"].get("delta").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_publishers_wish_there_is_no_delta() {
    let mut world = world().await;
    world.namespace.delta_publish = false;
    world.connect("a").await;
    world.subscribe_with("a", 1, fossil()).await;
    publish(&world, 1).await;
    publish(&world, 2).await;
    let data = json_text(&document(3));
    let wished = Message { delta: true, ..Message::new(&data) };
    world.publish_message(&wished, &PublishOptions::default()).await;
    publish(&world, 4).await;
    let documents = decoded(&world, "a");
    assert_eq!(is_delta(&documents), [false, false, true, false]);
    assert_eq!(documents[2].1, document(3));
}

#[tokio::test(start_paused = true)]
async fn a_delta_that_is_longer_than_its_document_is_not_sent() {
    let world = world().await;
    world.connect("a").await;
    world.subscribe_with("a", 1, fossil()).await;
    for text in ["1", "2", "[3]"] {
        world.publish_with(&json_text(text), &PublishOptions::default()).await;
    }
    let documents = decoded(&world, "a");
    assert_eq!(is_delta(&documents), [false; 3]);
    assert_eq!(documents.last().unwrap().1, "[3]");
}

/// Fails when a subscription that begins anew is taken to hold what its forerunner may have missed.
#[tokio::test(start_paused = true)]
async fn after_a_lost_post_the_next_one_is_whole() {
    let world = world().await;
    world.connect("a").await;
    world.subscribe_with("a", 1, fossil()).await;
    publish(&world, 1).await;
    world.posts.script("a", std::iter::repeat_n(Scripted::Fail(PostError::Unavailable("503".to_owned())), 4));
    publish(&world, 2).await;
    publish(&world, 3).await;
    assert_eq!(world.pushes("a").last().unwrap()["unsubscribe"]["code"], 2500);

    world.subscribe_with("a", 2, SubscribeRequest { delta: "fossil".to_owned(), ..recover(1, "") }).await;
    publish(&world, 4).await;
    let documents = decoded(&world, "a");
    assert_eq!(documents.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for (offset, text, _) in &documents {
        assert_eq!(*text, document(usize::try_from(*offset).unwrap()));
    }
    assert_eq!(is_delta(&documents), [false, false, true, true], "the reply's first is whole, what follows are deltas");
}

/// Fails when the row does not know that its subscribe brought a document, or believes it did when it did not.
#[tokio::test(start_paused = true)]
async fn what_a_subscribe_brought_is_what_the_first_push_is_made_against() {
    let world = world().await;
    publish(&world, 1).await;
    for id in ["recovered", "nothing missed"] {
        world.connect(id).await;
    }
    let from = |offset| SubscribeRequest { delta: "fossil".to_owned(), ..recover(offset, "") };
    world.subscribe_with("recovered", 1, from(0)).await;
    world.subscribe_with("nothing missed", 1, from(1)).await;
    publish(&world, 2).await;
    assert_eq!(is_delta(&decoded(&world, "recovered")), [false, true]);
    // its client may have thrown away what it held before
    assert_eq!(is_delta(&decoded(&world, "nothing missed")), [false]);
    for id in ["recovered", "nothing missed"] {
        assert_eq!(decoded(&world, id).last().unwrap().1, document(2), "{id}");
    }
}

/// Whoever posts to a row that is behind may die before it notes that, and another then posts the same.
#[tokio::test(start_paused = true)]
async fn what_is_published_while_a_subscription_catches_up_begins_whole() {
    let world = world().await;
    for n in 1..=3 {
        publish(&world, n).await;
    }
    world.connect("a").await;
    let request = SubscribeRequest { delta: "fossil".to_owned(), ..recover(1, "") };
    let (result, catch_up) = world.begin("a", 1, &request).await;
    publish(&world, 4).await;
    world.reply("a", &result).await;
    publish(&world, 5).await;
    world.publisher.catch_up(catch_up).await.unwrap();
    publish(&world, 6).await;
    let documents = decoded(&world, "a");
    assert_eq!(
        documents.iter().map(|(_, text, _)| text.clone()).collect::<Vec<_>>(),
        (2..=6).map(document).collect::<Vec<_>>()
    );
    assert_eq!(is_delta(&documents), [false, true, false, true, true]);
}

/// An invocation that dies before the update that has `words` in it.
fn dying(world: &World, words: &'static str) -> Publisher {
    world.invocation(&world.tables.hooked(Arc::new(move |request| {
        let is_its_end = request.operation == "UpdateItem" && request.body.contains(words);
        Box::pin(async move { if is_its_end { std::future::pending().await } else { Verdict::Send } })
    })))
}

/// One that posts, and dies before it lets go.
async fn publish_and_die(world: &World, n: usize) {
    let data = json_text(&document(n));
    let (publisher, message) = (dying(world, "REMOVE holder"), Message::new(&data));
    let options = PublishOptions::default();
    let killed = publisher.publish(CHANNEL, &world.namespace, &message, &options);
    assert!(tokio::time::timeout(Duration::from_secs(1), killed).await.is_err());
    // its lease runs out
    tokio::time::sleep(Duration::from_mins(1)).await;
}

/// P1 with deltas: fails when whoever takes over begins with a delta. The clients apply it a second time, to the wrong document.
#[tokio::test(start_paused = true)]
async fn what_a_dead_deliverer_may_have_posted_comes_again_whole() {
    let world = world().await;
    world.connect("a").await;
    world.subscribe_with("a", 1, fossil()).await;
    publish(&world, 1).await;
    publish_and_die(&world, 2).await;
    // the next publication takes over
    publish(&world, 3).await;
    publish_and_die(&world, 4).await;
    // the keeper does
    assert!(world.publisher.deliver_pending(CHANNEL, &world.namespace).await.unwrap());
    publish(&world, 5).await;
    let documents = decoded(&world, "a");
    let offsets: Vec<_> = documents.iter().map(|(offset, _, _)| *offset).collect();
    assert_eq!(offsets, [1, 2, 2, 3, 4, 4, 5]);
    for (offset, text, _) in &documents {
        assert_eq!(*text, document(usize::try_from(*offset).unwrap()));
    }
    assert_eq!(is_delta(&documents), [false, true, false, true, true, false, true]);
}

/// The same for workers: the one that is given the task again, and the one after a task that was given up.
#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_may_have_posted_comes_again_whole() {
    let mut world = World::paused(json!({"allowed_delta_types": ["fossil"], "delta_publish": true, "shards": 2})).await;
    let sent: Arc<std::sync::Mutex<Vec<signalbox_queues::FifoMessage>>> = Arc::default();
    world.publisher = world.publisher.clone().with_fan_out(FanOut::Recorded(sent.clone()));
    world.connect("a").await;
    world.subscribe_with("a", 1, fossil()).await;
    let tasks = || -> Vec<FanOutTask> {
        let sent = std::mem::take(&mut *sent.lock().unwrap());
        sent.iter().map(|message| serde_json::from_str(&message.body).unwrap()).collect()
    };
    let work = async |publisher: &Publisher, tasks: &[FanOutTask], again| {
        for task in tasks {
            publisher.work(&world.channels, task, again).await.unwrap();
        }
    };
    let dying = dying(&world, "fan#");
    let died = async |task: &FanOutTask| {
        let killed = dying.work(&world.channels, task, false);
        assert!(tokio::time::timeout(Duration::from_secs(1), killed).await.is_err());
    };
    for n in 1..=2 {
        publish(&world, n).await;
        work(&world.publisher, &tasks(), false).await;
    }
    publish(&world, 3).await;
    let third = tasks();
    for task in &third {
        died(task).await;
    }
    work(&world.publisher, &third, true).await;
    publish(&world, 4).await;
    for task in &tasks() {
        died(task).await;
    }
    publish(&world, 5).await;
    work(&world.publisher, &tasks(), false).await;
    publish(&world, 6).await;
    work(&world.publisher, &tasks(), false).await;
    let documents = decoded(&world, "a");
    let offsets: Vec<_> = documents.iter().map(|(offset, _, _)| *offset).collect();
    assert_eq!(offsets, [1, 2, 3, 3, 4, 4, 5, 6]);
    for (offset, text, _) in &documents {
        assert_eq!(*text, document(usize::try_from(*offset).unwrap()));
    }
    assert_eq!(is_delta(&documents), [false, true, true, false, true, false, true, true]);
}

/// What leaves no trace in the history is the document that the next delta is made against all the same, for those who have it. Fails
/// when it is posted past the order, or when a client that recovered is taken to have it.
#[tokio::test(start_paused = true)]
async fn a_publication_that_skips_the_history_is_what_the_next_delta_is_made_against() {
    let world = world().await;
    world.connect("a").await;
    world.subscribe_with("a", 1, fossil()).await;
    publish(&world, 1).await;
    let skipping = PublishOptions { skip_history: true, ..PublishOptions::default() };
    world.publish_with(&json_text(&document(2)), &skipping).await;
    world.connect("recovered").await;
    let recovering = SubscribeRequest { delta: "fossil".to_owned(), ..recover(0, "") };
    world.subscribe_with("recovered", 1, recovering).await;
    publish(&world, 3).await;
    publish(&world, 4).await;
    let texts = |id: &str| decoded(&world, id).into_iter().map(|(_, text, _)| text).collect::<Vec<_>>();
    assert_eq!(texts("a"), [1, 2, 3, 4].map(document));
    assert_eq!(is_delta(&decoded(&world, "a")), [false, true, true, true]);
    assert_eq!(texts("recovered"), [1, 3, 4].map(document), "it is not in the history");
    assert_eq!(is_delta(&decoded(&world, "recovered")), [false, false, true]);
    let all = HistoryQuery { limit: 10, ..HistoryQuery::default() };
    let history = world.publisher.history(CHANNEL, &world.namespace, all).await.unwrap();
    assert_eq!(history.publications.iter().map(|publication| publication.offset).collect::<Vec<_>>(), [1, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_delta_is_made_against_the_publication_before_a_tombstone() {
    let world = world().await;
    world.connect("a").await;
    world.subscribe_with("a", 1, fossil()).await;
    let data = json_text(&document(1));
    let once = PublishOptions { idempotency_keys: &["k"], ..PublishOptions::default() };
    world.publish_with(&data, &once).await;
    assert!(world.publish_with(&data, &once).await.duplicate);
    publish(&world, 3).await;
    assert_eq!(world.tombstones().await, [2]);
    let documents = decoded(&world, "a");
    assert_eq!((is_delta(&documents), documents[1].1.clone()), (vec![false, true], document(3)));
}

/// TTL removes entries one by one, in no promised order. Fails when the newest that is left is taken for the one before.
#[tokio::test(start_paused = true)]
async fn where_the_publication_before_is_no_more_the_next_one_is_whole() {
    let world = world().await;
    world.connect("a").await;
    world.subscribe_with("a", 1, fossil()).await;
    publish(&world, 1).await;
    publish(&world, 2).await;
    // 2 is gone, 1 is still there
    let epoch = world.head().await.epoch;
    world.tables.delete(&format!("log#{CHANNEL}#{epoch}"), &format!("{:020}", 2)).await;
    publish(&world, 3).await;
    let documents = decoded(&world, "a");
    assert_eq!(is_delta(&documents), [false, true, false]);
    assert_eq!(documents[2].1, document(3));
    let left = world.tables.table.log(CHANNEL, &epoch, 0, 3, 0).await.unwrap();
    assert!(left.iter().all(|entry| matches!(entry.state, LogState::Publication(_))));
}

/// Whatever happens, what a client decodes is what was published.
#[tokio::test(start_paused = true)]
async fn every_decoded_document_is_the_published_one() {
    let mut deltas = 0;
    for seed in 0..3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = world().await;
        let (mut published, mut command) = (std::collections::HashMap::new(), 0);
        for id in ["a", "b", "c"] {
            world.connect(id).await;
        }
        for n in 0..25 {
            let id = ["a", "b", "c"][random.usize(..3)];
            match random.u8(..8) {
                0 => {
                    command += 1;
                    let since = random.u64(..=published.len() as u64);
                    let recovering = SubscribeRequest { delta: "fossil".to_owned(), ..recover(since, "") };
                    let request = if random.bool() { fossil() } else { recovering };
                    let (result, catch_up) = world.begin(id, command, &request).await;
                    if random.bool() {
                        published.insert(publish(&world, n + 1000).await, document(n + 1000));
                    }
                    world.reply(id, &result).await;
                    if random.bool() {
                        published.insert(publish(&world, n + 2000).await, document(n + 2000));
                    }
                    world.publisher.catch_up(catch_up).await.unwrap();
                }
                1 => {
                    let failed = Scripted::Fail(PostError::Unavailable("503".to_owned()));
                    world.posts.script(id, std::iter::repeat_n(failed, random.usize(1..5)));
                    published.insert(publish(&world, n).await, document(n));
                    // what is left of it must not meet a reply
                    while world.publisher.post(id, &Frame::new("{}")).await.is_err() {}
                }
                2 => {
                    let head =
                        world.tables.table.append(CHANNEL, "dead", now_ms(), Duration::ZERO, HOUR).await.unwrap().head;
                    assert!(head.offset > 0);
                    tokio::time::advance(Duration::from_millis(5)).await;
                }
                _ => {
                    published.insert(publish(&world, n).await, document(n));
                }
            }
        }
        for id in ["a", "b", "c"] {
            for (offset, text, delta) in decoded(&world, id) {
                assert_eq!(Some(&text), published.get(&offset), "seed {seed}, {id}, offset {offset}");
                deltas += usize::from(delta);
            }
        }
    }
    assert!(deltas > 3, "{deltas}");
}

#[tokio::test(start_paused = true)]
async fn data_whose_quotes_do_not_fit_a_delta_message_is_too_large() {
    let world = world().await;
    let data = RawValue::from_string(format!("[{}1]", "\"\",".repeat(30 * 1024))).unwrap();
    let refused =
        world.publisher.publish(CHANNEL, &world.namespace, &Message::new(&data), &PublishOptions::default()).await;
    assert!(matches!(refused, Err(signalbox_publishing::PublishError::TooLarge)), "{refused:?}");
    let mut without = Namespace::clone(&world.namespace);
    without.allowed_delta_types.clear();
    world.publisher.publish(CHANNEL, &without, &Message::new(&data), &PublishOptions::default()).await.unwrap();
}
