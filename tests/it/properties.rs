//! The invariants of the design (P1 to P11), each on many interleavings.

use std::time::Duration;

use serde_json::json;

use crate::gateway::{
    cloud::{Cloud, Weathers, for_seeds},
    oracle::look,
};

const CHANNELS: &str = r#"{"channel": {"namespaces": [{"name": "chat", "history_size": 300, "history_ttl": "10m", "force_positioning": true,
    "force_recovery": true, "allow_subscribe_for_client": true}]}}"#;

#[test]
fn p1_calm() {
    for_seeds("p1_calm", 20, |schedule| async move {
        let t = std::time::Instant::now();
        let cloud = Cloud::new(&schedule, CHANNELS);
        cloud.set_weather(Weathers::calm());
        let clients: Vec<_> = (0..3).map(|n| cloud.subscriber(&format!("u{n}"), "chat:a")).collect();
        let mut publishing = Vec::new();
        for n in 0..6 {
            let pause = schedule.draw(|rng| rng.u64(..600));
            tokio::time::sleep(Duration::from_millis(pause)).await;
            publishing.push(cloud.publish("chat:a", json!({ "n": n }), None, None));
        }
        for one in publishing {
            assert!(one.join().await.is_some());
        }
        for client in &clients {
            client.until_subscribed("chat:a").await;
        }
        schedule.settled().await;
        let truth = cloud.truth("chat:a").await;
        assert_eq!(truth.top, 6);
        assert_eq!(truth.delivered, 6);
        for client in &clients {
            let report = look(client.name(), &client.seen("chat:a"), &truth, true, |_, _| false).unwrap();
            assert_eq!((report.repeated, report.not_recovered), (0, 0));
            assert!(client.violations().is_empty());
        }
        println!("{} steps {} requests {:?}", schedule.steps(), cloud.dynamo.requests(), t.elapsed());
    });
}

#[test]
fn speed() {
    for_seeds("speed", 1, |schedule| async move {
        let cloud = Cloud::new(&schedule, CHANNELS);
        let n = 200;
        for round in 0..2 {
            let t = std::time::Instant::now();
            for i in 0..n {
                cloud.table.admit(&format!("c{round}{i}"), 5).await.unwrap();
            }
            println!("admit {:?}", t.elapsed() / n);
            let t = std::time::Instant::now();
            for i in 0..n {
                cloud.table.connection(&format!("c{round}{i}")).await.unwrap();
            }
            println!("get {:?}", t.elapsed() / n);
            let t = std::time::Instant::now();
            for i in 0..n {
                cloud.table.subscribe(&format!("c{round}{i}"), "x", 1, None, 5, 100).await.unwrap();
            }
            println!("subscribe {:?}", t.elapsed() / n);
        }
        let t = std::time::Instant::now();
        for _ in 0..20 {
            cloud.dynamo.items();
        }
        println!("scan of {} {:?}", cloud.dynamo.items().len(), t.elapsed() / 20);
        let t = std::time::Instant::now();
        for _ in 0..20 {
            let _ = Cloud::new(&schedule, CHANNELS);
        }
        println!("cloud {:?}", t.elapsed() / 20);
    });
}
