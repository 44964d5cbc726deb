use signalbox_postgres::testing::TestDatabase;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// Takes PUTs as the bucket behind a `ResponseURL` does: answers with `statuses` in turn and gives the body of the last.
async fn told(listener: TcpListener, statuses: &[&str]) -> Value {
    let mut body = Value::Null;
    for status in statuses {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        body = loop {
            socket.read_buf(&mut bytes).await.unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.starts_with("PUT /answer?signature=x HTTP/1.1\r\n"), "{text}");
            assert!(!text.to_lowercase().contains("content-type"), "{text}");
            if let Some((_, body)) = text.split_once("\r\n\r\n")
                && let Ok(body) = serde_json::from_str(body)
            {
                break body;
            }
        };
        socket
            .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
    }
    body
}

/// The event as AWS sends it, with a `ResponseURL` of ours.
async fn request(event: &str) -> (Value, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut event: Value = serde_json::from_str(event).unwrap();
    event["ResponseURL"] = format!("http://{}/answer?signature=x", listener.local_addr().unwrap()).into();
    (event, listener)
}

const CREATE: &str = include_str!("../../../events/migrate/create.json");
const UPDATE: &str = include_str!("../../../events/migrate/update.json");
const DELETE: &str = include_str!("../../../events/migrate/delete.json");

/// Database and a state that leads past the pooler, with nothing in it yet.
async fn empty() -> (TestDatabase, State) {
    let test = TestDatabase::new().await;
    test.look().await.batch_execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await.unwrap();
    let state = State::new(Config::from_url(&test.direct_url));
    (test, state)
}

#[tokio::test]
async fn a_deploy_migrates_and_the_next_one_finds_nothing_to_do() {
    let (test, state) = empty().await;
    for (event, applied) in [(CREATE, "V1__status"), (UPDATE, "")] {
        let (event, listener) = request(event).await;
        let (answer, told) = tokio::join!(handle(&state, event.clone()), told(listener, &["200 OK"]));
        assert_eq!(answer.unwrap()["status"], "SUCCESS");
        assert_eq!((&told["Status"], &told["Data"]["Applied"]), (&json!("SUCCESS"), &json!(applied)), "{told}");
        assert_eq!(told["PhysicalResourceId"], "signalbox-migrations");
        for field in ["StackId", "RequestId", "LogicalResourceId"] {
            assert_eq!(told[field], event[field]);
        }
    }
    assert!(test.open().status().await.is_ok());
}

#[tokio::test]
async fn a_delete_succeeds_without_a_database_and_without_touching_data() {
    let state = State::new(Err(ConfigError::Missing("DATABASE_HOST")));
    let (event, listener) = request(DELETE).await;
    let (answer, told) = tokio::join!(handle(&state, event), told(listener, &["200 OK"]));
    assert!(answer.is_ok());
    assert_eq!(told["Status"], "SUCCESS");
}

#[tokio::test]
async fn what_goes_wrong_is_told_without_secrets() {
    let unreachable = Config::from_url("postgres://u:hunter2@127.0.0.1:1/none?sslmode=disable");
    for (state, part) in [
        (State::new(unreachable).with_wait(Duration::ZERO), "unavailable"),
        (State::new(Err(ConfigError::Missing("DATABASE_HOST"))), "DATABASE_HOST"),
        (State::new(Config::from_url("postgres://u:hunter2@h:x/none")), "DATABASE_URL"),
    ] {
        let (event, listener) = request(CREATE).await;
        let (answer, told) = tokio::join!(handle(&state, event), told(listener, &["200 OK"]));
        assert!(answer.is_ok(), "an error would make Lambda run it again");
        assert_eq!(told["Status"], "FAILED");
        let reason = told["Reason"].as_str().unwrap();
        assert!(reason.contains(part) && !reason.contains("hunter2"), "{reason}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_sent_again() {
    let state = State::new(Err(ConfigError::Missing("DATABASE_HOST")));
    let (event, listener) = request(DELETE).await;
    let (answer, told) = tokio::join!(handle(&state, event), told(listener, &["503 Slow Down", "200 OK"]));
    assert!(answer.is_ok());
    assert_eq!(told["Status"], "SUCCESS");
}

#[tokio::test]
async fn a_plain_invocation_migrates_too() {
    let (_test, state) = empty().await;
    assert_eq!(handle(&state, json!({})).await.unwrap(), json!({ "applied": ["V1__status"] }));
    assert_eq!(handle(&state, json!({})).await.unwrap(), json!({ "applied": [] }));
    let broken = State::new(Err(ConfigError::Missing("DATABASE_HOST")));
    assert!(handle(&broken, json!({})).await.is_err());
}

#[tokio::test]
async fn a_database_that_comes_up_late_is_waited_for() {
    let (test, _) = empty().await;
    // The port is taken by nobody until the forwarder listens on it.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let address = test.direct_url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let state = State::new(Config::from_url(&test.direct_url.replace(&address, &format!("127.0.0.1:{port}"))));
    let late = async {
        sleep(Duration::from_secs(1)).await;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        loop {
            let (mut inside, _) = listener.accept().await.unwrap();
            let mut outside = tokio::net::TcpStream::connect(&address).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
        }
    };
    tokio::select! {
        answer = handle(&state, json!({})) => assert_eq!(answer.unwrap(), json!({ "applied": ["V1__status"] })),
        () = late => {}
    }
}
