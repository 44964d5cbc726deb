use std::sync::{Arc, Mutex};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_eventbridge::config::BehaviorVersion;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::http::{Response, StatusCode};
use aws_smithy_types::body::SdkBody;
use aws_types::region::Region;
use signalbox_messages::{ChangeKind, Detail, SOURCE, STATUS_CHANGED};

use super::*;

const TAKEN: (u16, &str) = (200, r#"{"FailedEntryCount":0,"Entries":[{"EventId":"e-1"}]}"#);

/// Answers each request with the next of its answers, the last for ever; keeps the bodies of the requests.
#[derive(Debug, Clone)]
struct Answers {
    answers: Vec<(u16, &'static str)>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl HttpConnector for Answers {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut requests = self.requests.lock().unwrap();
        let (status, body) = self.answers[requests.len().min(self.answers.len() - 1)];
        requests.push(String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap());
        HttpConnectorFuture::ready(Ok(Response::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body))))
    }
}

/// What came of one `put`, and the requests it made.
async fn put(answers: &[(u16, &'static str)], message: &StatusChanged) -> (Result<(), PutError>, Vec<String>) {
    let answers = Answers { answers: answers.to_vec(), requests: Arc::default() };
    let connector = answers.clone();
    let aws = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("id", "secret", None, None, "test")))
        .sleep_impl(TokioSleep::new())
        .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone())))
        .build();
    let result = Bus::new(&aws, "signalbox").put(message).await;
    let requests = answers.requests.lock().unwrap().clone();
    (result, requests)
}

fn message(name: &str) -> StatusChanged {
    StatusChanged {
        id: "1-problem".into(),
        kind: ChangeKind::Problem,
        event_id: "1".into(),
        problem: true,
        at: 5,
        seq: 0,
        exact: false,
        opened_at: 5,
        recovery: None,
        update: None,
        suppression: None,
        observed: None,
        detail: Detail { name: name.into(), ..Detail::default() },
        sent_at_ms: None,
        accepted_at_ms: 6_000,
    }
}

#[tokio::test]
async fn a_message_is_one_entry_with_our_source_and_detail_type() {
    let (result, requests) = put(&[TAKEN], &message("down")).await;
    result.unwrap();
    let [request] = &requests[..] else { panic!("{requests:?}") };
    let request: serde_json::Value = serde_json::from_str(request).unwrap();
    let entry = &request["Entries"][0];
    assert_eq!(request["Entries"].as_array().unwrap().len(), 1);
    assert_eq!(entry["EventBusName"], "signalbox");
    assert_eq!(entry["Source"], "signalbox.zabbix");
    assert_eq!(entry["DetailType"], "StatusChanged");
    let detail: StatusChanged = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail, message("down"));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_failed_inside_a_200_is_put_again_and_then_an_error() {
    let refused =
        r#"{"FailedEntryCount":1,"Entries":[{"ErrorCode":"ThrottlingException","ErrorMessage":"Rate exceeded"}]}"#;
    match put(&[(200, refused)], &message("down")).await.0 {
        Err(PutError::Refused { code, message }) => {
            assert_eq!((code.as_str(), message.as_str()), ("ThrottlingException", "Rate exceeded"));
        }
        other => panic!("{other:?}"),
    }
    let unexplained = r#"{"FailedEntryCount":1,"Entries":[]}"#;
    assert!(matches!(put(&[(200, unexplained)], &message("down")).await.0, Err(PutError::Refused { .. })));
    let (result, requests) = put(&[(200, refused), TAKEN], &message("down")).await;
    assert!(result.is_ok());
    assert_eq!(requests.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_throttles_for_seconds_is_tried_until_it_takes_the_message() {
    let throttled = (400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#);
    let (result, requests) = put(&[vec![throttled; 6], vec![TAKEN]].concat(), &message("down")).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(requests.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_failing_service_is_tried_for_as_long_as_zabbix_waits() {
    let began = tokio::time::Instant::now();
    let (result, requests) = put(&[(500, "{}")], &message("down")).await;
    assert!(matches!(result, Err(PutError::Unavailable(_))), "{result:?}");
    assert!(
        requests.len() > 4 && began.elapsed() < Duration::from_secs(9),
        "{} in {:?}",
        requests.len(),
        began.elapsed()
    );
    let (result, requests) = put(&[(500, "{}"), TAKEN], &message("down")).await;
    assert!(result.is_ok());
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn what_is_too_large_for_the_bus_never_leaves() {
    let frame = serde_json::to_string(&message("")).unwrap().len() + SOURCE.len() + STATUS_CHANGED.len();
    let (result, requests) = put(&[TAKEN], &message(&"x".repeat(MAX_ENTRY_BYTES - frame + 1))).await;
    assert!(matches!(result, Err(PutError::TooLarge { bytes }) if bytes == MAX_ENTRY_BYTES + 1), "{result:?}");
    assert!(requests.is_empty());
    assert!(put(&[TAKEN], &message(&"x".repeat(MAX_ENTRY_BYTES - frame))).await.0.is_ok());
}
