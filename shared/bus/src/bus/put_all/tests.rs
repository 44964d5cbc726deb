use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_eventbridge::config::BehaviorVersion;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::http::{Response, StatusCode};
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use aws_types::region::Region;
use serde_json::{Value, json};

use super::*;

/// Answers after `latency`, as `judge` says: the request's number from 0 and an entry's detail to whether it is taken.
#[derive(Clone)]
struct Service {
    latency: Duration,
    judge: fn(usize, &str) -> bool,
    status: u16,
    requests: Arc<Mutex<Vec<Vec<String>>>>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

impl Service {
    fn new(judge: fn(usize, &str) -> bool) -> Self {
        Self {
            latency: Duration::from_millis(30),
            judge,
            status: 200,
            requests: Arc::default(),
            under_way: Arc::default(),
            most: Arc::default(),
        }
    }

    fn bus(&self) -> Bus {
        let connector = self.clone();
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new("id", "secret", None, None, "test")))
            .sleep_impl(TokioSleep::new())
            .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone())))
            .build();
        Bus::new(&aws, "signalbox")
    }

    /// The details of each request, in the order in which they came.
    fn requests(&self) -> Vec<Vec<String>> {
        self.requests.lock().unwrap().clone()
    }
}

impl HttpConnector for Service {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let entries = body["Entries"].as_array().unwrap().iter();
        let details: Vec<String> =
            entries.map(|entry| serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap()).collect();
        let number = {
            let mut requests = self.requests.lock().unwrap();
            requests.push(details.clone());
            requests.len() - 1
        };
        let results: Vec<Value> = details
            .iter()
            .map(|detail| {
                if (self.judge)(number, detail) {
                    json!({"EventId": "e"})
                } else {
                    json!({"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"})
                }
            })
            .collect();
        let failed = results.iter().filter(|result| result["EventId"].is_null()).count();
        let answer = json!({"FailedEntryCount": failed, "Entries": results}).to_string();
        let service = self.clone();
        HttpConnectorFuture::new(async move {
            service.most.fetch_max(service.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(service.latency).await;
            service.under_way.fetch_sub(1, Ordering::SeqCst);
            Ok(Response::new(StatusCode::try_from(service.status).unwrap(), SdkBody::from(answer)))
        })
    }
}

/// On the bus its detail is the JSON string: two bytes more.
#[derive(Debug, serde::Serialize)]
struct Text(String);

impl BusDetail for Text {
    const DETAIL_TYPE: &'static str = "Text";
}

fn texts(count: usize, bytes: usize) -> Vec<Text> {
    (0..count).map(|n| Text(format!("{n:05}{}", "x".repeat(bytes.saturating_sub(5))))).collect()
}

/// Fails if batches go one after another (3 s), or all at once.
#[tokio::test(start_paused = true)]
async fn a_thousand_messages_are_put_within_half_a_second_of_round_trips_and_eight_requests_at_once() {
    let service = Service::new(|_, _| true);
    let began = tokio::time::Instant::now();
    service.bus().put_all(&texts(1_000, 700)).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(service.most.load(Ordering::SeqCst), AT_ONCE);
    let mut put: Vec<String> = service.requests().into_iter().flatten().collect();
    put.sort();
    let all: Vec<String> = texts(1_000, 700).into_iter().map(|text| text.0).collect();
    assert_eq!(put, all, "each once");
}

/// Fails if only entries are counted: EventBridge refuses the whole request.
#[tokio::test(start_paused = true)]
async fn a_request_has_at_most_ten_entries_and_256_kb() {
    for (count, bytes, requests) in
        [(25, 700, vec![10, 10, 5]), (5, 100 * 1024, vec![2, 2, 1]), (2, 200 * 1024, vec![1, 1])]
    {
        let service = Service::new(|_, _| true);
        service.bus().put_all(&texts(count, bytes)).await.unwrap();
        let sizes: Vec<usize> = service.requests().iter().map(Vec::len).collect();
        assert_eq!(sizes, requests);
    }
    let service = Service::new(|_, _| true);
    service.bus().put_all::<Text>(&[]).await.unwrap();
    assert!(service.requests().is_empty());
}

/// Fails if the whole batch is put again, or if a 200 is believed.
#[tokio::test(start_paused = true)]
async fn entries_that_were_refused_are_put_again_by_themselves() {
    let service = Service::new(|request, detail| request > 1 || !["00003", "00007"].contains(&&detail[..5]));
    service.bus().put_all(&texts(10, 10)).await.unwrap();
    let requests = service.requests();
    let numbers = |n: usize| requests[n].iter().map(|detail| &detail[..5]).collect::<Vec<_>>();
    assert_eq!(requests.len(), 3);
    assert_eq!((numbers(1), numbers(2)), (vec!["00003", "00007"], vec!["00003", "00007"]));
}

#[tokio::test(start_paused = true)]
async fn what_stays_refused_is_counted_and_the_others_are_put() {
    let service = Service::new(|_, detail| !detail.starts_with("00015"));
    let error = service.bus().put_all(&texts(30, 10)).await.unwrap_err();
    assert_eq!((error.left, error.of), (1, 30));
    assert!(matches!(error.cause, PutError::Refused { code, .. } if code == "ThrottlingException"));
    // three requests of ten, and two more tries of the one
    assert_eq!(service.requests().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_is_told_with_all_that_is_left() {
    let service = Service { status: 500, ..Service::new(|_, _| true) };
    let error = service.bus().put_all(&texts(30, 10)).await.unwrap_err();
    assert_eq!((error.left, error.of), (30, 30));
    assert!(matches!(error.cause, PutError::Unavailable(_)));
}

#[test]
fn what_is_larger_than_the_bus_takes_is_no_entry() {
    let room = MAX_ENTRY_BYTES - SOURCE.len() - Text::DETAIL_TYPE.len() - 2;
    assert!(Entry::of(&Text("x".repeat(room))).is_ok());
    let error = Entry::of(&Text("x".repeat(room + 1))).unwrap_err();
    assert!(matches!(error, PutError::TooLarge { bytes } if bytes == MAX_ENTRY_BYTES + 1));
}
