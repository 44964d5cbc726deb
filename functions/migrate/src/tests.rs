use signalbox_postgres::testing::TestDatabase;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use signalbox_postgres::ConfigError;

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
    let state = State::new(Ok(Config::from_url(&test.direct_url).unwrap()));
    (test, state)
}

#[tokio::test]
async fn a_deploy_migrates_and_the_next_one_finds_nothing_to_do() {
    let (test, state) = empty().await;
    for (event, applied) in [(CREATE, "V1__status, V2__availability, V3__no_jit, V4__rollup"), (UPDATE, "")] {
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
    let state = State::new(Err(ConfigError::Missing("DATABASE_HOST").into()));
    let (event, listener) = request(DELETE).await;
    let (answer, told) = tokio::join!(handle(&state, event), told(listener, &["200 OK"]));
    assert!(answer.is_ok());
    assert_eq!(told["Status"], "SUCCESS");
}

#[tokio::test]
async fn what_goes_wrong_is_told_without_secrets() {
    let unreachable = Config::from_url("postgres://u:hunter2@127.0.0.1:1/none?sslmode=disable");
    for (state, part) in [
        (State::new(Ok(unreachable.unwrap())).with_wait(Duration::ZERO), "unavailable"),
        (State::new(Err(ConfigError::Missing("DATABASE_HOST").into())), "DATABASE_HOST"),
        (State::new(Config::from_url("postgres://u:hunter2@h:x/none").map_err(Into::into)), "DATABASE_URL"),
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
    let state = State::new(Err(ConfigError::Missing("DATABASE_HOST").into()));
    let (event, listener) = request(DELETE).await;
    let (answer, told) = tokio::join!(handle(&state, event), told(listener, &["503 Slow Down", "200 OK"]));
    assert!(answer.is_ok());
    assert_eq!(told["Status"], "SUCCESS");
}

#[tokio::test]
async fn a_plain_invocation_migrates_too() {
    let (_test, state) = empty().await;
    assert_eq!(
        handle(&state, json!({})).await.unwrap()["applied"],
        json!(["V1__status", "V2__availability", "V3__no_jit", "V4__rollup"])
    );
    assert_eq!(handle(&state, json!({})).await.unwrap()["applied"], json!([]));
    let broken = State::new(Err(ConfigError::Missing("DATABASE_HOST").into()));
    assert!(handle(&broken, json!({})).await.is_err());
}

#[tokio::test]
async fn a_database_that_comes_up_late_is_waited_for() {
    let (test, _) = empty().await;
    // The port is taken by nobody until the forwarder listens on it.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let address = test.direct_url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let state =
        State::new(Ok(Config::from_url(&test.direct_url.replace(&address, &format!("127.0.0.1:{port}"))).unwrap()));
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
        answer = handle(&state, json!({})) => assert_eq!(answer.unwrap()["applied"][0], "V1__status"),
        () = late => {}
    }
}

/// The migration has made the months of the day it ran on: a schedule that did nothing would leave later ones without.
#[tokio::test]
async fn the_schedule_makes_months_ahead_and_drops_old_ones() {
    let (test, state) = empty().await;
    let state = state.keeping_months(1);
    handle(&state, json!({})).await.unwrap();
    let look = test.look().await;
    // two years have passed since
    look.batch_execute("SELECT status_changes_make((date_trunc('month', now()) - interval '2 years')::date)")
        .await
        .unwrap();
    let event: Value = serde_json::from_str(include_str!("../../../events/migrate/day.json")).unwrap();
    let answer = handle(&state, event).await.unwrap();
    assert_eq!((&answer["applied"], &answer["made"], &answer["derived"]), (&json!([]), &json!([]), &json!(0)));
    assert_eq!(answer["dropped"].as_array().unwrap().len(), 1, "{answer}");
}

#[test]
fn a_retention_that_is_no_number_is_told() {
    assert_eq!(keep_months(Some("13")).unwrap(), Some(13));
    assert_eq!(keep_months(None).unwrap(), None);
    assert!(keep_months(Some("a year")).unwrap_err().to_string().contains("RECORD_RETENTION_MONTHS"));
}
