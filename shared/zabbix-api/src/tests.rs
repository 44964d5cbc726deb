use serde_json::{Value, json};
use signalbox_zabbix::{action, api::Event};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::*;
use frontend::{Asked, http, read_request, recorded, replay, result};

mod frontend;

const TOKEN: &str = "c0ffee0000000000000000000000000000000000000000000000000000c0ffee";

/// What `work` comes to with a frontend that answers so, and what was asked of it.
async fn with_frontend<T>(
    answer: impl Fn(&Asked) -> Vec<u8>,
    work: impl AsyncFnOnce(ZabbixApi) -> T,
) -> (T, Vec<Asked>) {
    frontend::with(answer, async |url: String| work(ZabbixApi::new(&url, Token::new(TOKEN).unwrap()).unwrap()).await)
        .await
}

/// The recorded answers by method; what is asked of `event.get` decides between several.
fn zabbix(version: &'static str) -> impl Fn(&Asked) -> Vec<u8> {
    move |asked| {
        let params = &asked.body["params"];
        let name = match asked.method() {
            "event.get" if params["source"] == 3 => "event.get-internal",
            "event.get" if params.get("eventid_from").is_some() => "event.get-cursor-page",
            "event.get" => "event.get-one-resolved-with-updates",
            "problem.get" if params["source"] == 3 => "problem.get-empty",
            "trigger.get" if params.get("monitored").is_some() => "trigger.get-only_true-monitored-skipDependent",
            "trigger.get" => "trigger.get-all",
            "event.acknowledge" => "event.acknowledge-acknowledge-with-message",
            "item.get" => return result(asked, &json!([{ "itemid": "1", "lastclock": "1795249080" }])),
            method => method,
        };
        replay(asked, version, name)
    }
}

/// Would fail with Bearer on 6.0 ("Not authorized." there), with `auth` on 7.2 (removed), or with a token at
/// `apiinfo.version` (an error in all of them).
#[tokio::test]
async fn the_recorded_answers_of_both_versions_are_read_and_each_is_asked_in_its_own_words() {
    for (version, bearer) in [("v6.0", false), ("v7.0", true)] {
        let calls = async |api: ZabbixApi| {
            let session = api.session().await.unwrap();
            assert_eq!(session.version().to_string(), &version[1..]);
            let problems = session.problems(Source::Trigger).await.unwrap();
            assert!(problems.len() >= 7, "{version}: {}", problems.len());
            assert!(problems.iter().all(|problem| problem.value && !problem.name.is_empty() && problem.clock > 0));
            assert!(session.problems(Source::Internal).await.unwrap().is_empty());
            let news = session.events_from(Source::Trigger, 40, 5).await.unwrap();
            assert!(news.iter().any(|event| !event.value), "a recovery among them");
            let internal = session.events_from(Source::Internal, 1, 1_000).await.unwrap();
            assert!(internal.iter().all(|event| event.source == 3));
            let events = session.events(&["19".to_owned()]).await.unwrap();
            assert!(events[0].r_eventid.is_some());
            let triggers = session.triggers(&["1".to_owned()]).await.unwrap();
            assert_eq!(triggers.len(), 11);
            assert!(triggers.iter().all(|trigger| !trigger.hosts.is_empty() && !trigger.hostgroups.is_empty()));
            assert!(!session.monitored(&["1".to_owned()]).await.unwrap().is_empty());
            let hosts = session.hosts().await.unwrap();
            assert_eq!(hosts.len(), 4);
            assert!(hosts.iter().any(|host| host.interfaces.iter().any(|i| i.available == 2 && !i.error.is_empty())));
            assert_eq!(session.ha_nodes().await.unwrap()[0].status, 3);
            assert_eq!(session.newest_own_value().await.unwrap(), Some(1_795_249_080));
            let update = Update {
                action: action::ACKNOWLEDGE | action::MESSAGE,
                message: Some("on it".into()),
                ..Update::default()
            };
            session.acknowledge(&["19".to_owned()], &update).await.unwrap();
        };
        let ((), asked) = with_frontend(zabbix(version), calls).await;
        assert_eq!(asked[0].method(), "apiinfo.version");
        assert_eq!((&asked[0].authorization, asked[0].body.get("auth")), (&None, None));
        for asked in &asked[1..] {
            let header = asked.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
            assert_eq!((header, asked.body.get("auth").is_some()), (bearer, !bearer), "{version} {}", asked.method());
            let has = |name: &str| asked.body["params"].get(name).is_some();
            match asked.method() {
                "event.get" => assert_eq!(has("select_acknowledges"), !bearer),
                "trigger.get" if !has("monitored") => {
                    assert_eq!((has("selectGroups"), has("selectHostGroups")), (!bearer, bearer));
                }
                "problem.get" => assert!(!has("selectHosts"), "an unexpected parameter there"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn problems_are_read_page_by_page_until_a_short_one() {
    let frontend = |asked: &Asked| {
        if asked.method() == "apiinfo.version" {
            return result(asked, &json!("7.2.1"));
        }
        let from: u64 = asked.body["params"]["eventid_from"].as_str().unwrap().parse().unwrap();
        let page: Vec<Value> = (from.max(5)..2_505)
            .take(1_000)
            .map(|id| json!({ "eventid": id.to_string(), "objectid": "1", "clock": "1", "name": "x" }))
            .collect();
        result(asked, &json!(page))
    };
    let read = async |api: ZabbixApi| api.session().await.unwrap().problems(Source::Trigger).await.unwrap();
    let (problems, asked) = with_frontend(frontend, read).await;
    let ids: Vec<u64> = problems.iter().map(|problem| problem.eventid.parse().unwrap()).collect();
    assert_eq!(ids, (5..2_505).collect::<Vec<_>>());
    assert_eq!(asked.len(), 1 + 3);
}

/// Would ask for ever if the page's place were not looked at.
#[tokio::test]
async fn an_answer_that_does_not_go_on_is_refused() {
    let page: Vec<Value> =
        (1..=1_000).map(|id| json!({ "eventid": id.to_string(), "objectid": "1", "clock": "1" })).collect();
    let frontend = |asked: &Asked| match asked.method() {
        "apiinfo.version" => result(asked, &json!("7.0.0")),
        _ => result(asked, &json!(page)),
    };
    let read = async |api: ZabbixApi| api.session().await.unwrap().problems(Source::Trigger).await.unwrap_err();
    let (error, asked) = with_frontend(frontend, read).await;
    assert!(matches!(error, ApiError::Unexpected { method: "problem.get", .. }), "{error}");
    assert_eq!(asked.len(), 3);
}

/// What comes of `problem.get` when the frontend answers these bytes.
async fn failed(bytes: impl Fn(&Asked) -> Vec<u8>) -> ApiError {
    let frontend = |asked: &Asked| match asked.method() {
        "apiinfo.version" => result(asked, &json!("7.0.22")),
        _ => bytes(asked),
    };
    let read = async |api: ZabbixApi| api.session().await.unwrap().problems(Source::Trigger).await.unwrap_err();
    let (error, _) = with_frontend(frontend, read).await;
    assert!(!format!("{error} {error:?}").contains(TOKEN), "{error:?}");
    error
}

#[tokio::test]
async fn each_way_to_fail_is_told_apart() {
    for version in ["v6.0", "v7.0"] {
        let fixture = |name: &'static str| failed(move |asked| replay(asked, version, name));
        for name in ["error-bad-token", "error-no-auth", "error-after-logout"] {
            assert_eq!(fixture(name).await.code(), "token_refused", "{version} {name}");
        }
        assert_eq!(fixture("error-method-denied").await, ApiError::NotPermitted { method: "problem.get" });
        assert_eq!(fixture("error-unknown-method").await.code(), "refused");
        let error = fixture("error-wrong-content-type").await;
        assert_eq!(error, ApiError::Status { status: 412, beginning: String::new() });
    }
    // 6.0 takes any parameter without a word
    for name in ["error-bad-param", "error-problem.get-selectHosts"] {
        let error = failed(move |asked| replay(asked, "v7.0", name)).await;
        assert!(
            matches!(&error, ApiError::ParameterRefused { reason, .. } if reason.contains("unexpected")),
            "{error}"
        );
    }
    let page = format!("<html>\r\n<title>Sign in\u{7}</title>{}", "x".repeat(200));
    let ApiError::NotJson { beginning } = failed(|_| http("200 OK", &page)).await else { panic!() };
    assert_eq!(beginning.chars().count(), 80);
    assert!(beginning.starts_with("<html>  <title>Sign in </title>xxx"), "{beginning:?}");
    let ApiError::Status { status, beginning } = failed(|_| http("502 Bad Gateway", &page)).await else { panic!() };
    assert_eq!((status, beginning.chars().count()), (502, 80));

    let half = |asked: &Asked| {
        let mut bytes = result(asked, &json!([{ "eventid": "1", "objectid": "1", "clock": "1" }]));
        bytes.truncate(bytes.len() - 20);
        bytes
    };
    assert_eq!(failed(half).await.code(), "half_an_answer", "cut off by the network");
    let cut = r#"{"jsonrpc":"2.0","result":[{"eventid":"1""#;
    assert_eq!(failed(|_| http("200 OK", cut)).await, ApiError::Half { bytes: cut.len() });

    assert_eq!(failed(|_| http("200 OK", "[]")).await.code(), "unexpected_answer");
    assert_eq!(failed(|asked| result(asked, &json!({ "x": 1 }))).await.code(), "unexpected_answer");
    assert_eq!(failed(|asked| result(asked, &json!([{ "eventid": "-1" }]))).await.code(), "unexpected_answer");
    let another = |_: &Asked| http("200 OK", r#"{"jsonrpc":"2.0","result":[],"id":77}"#);
    assert_eq!(failed(another).await.code(), "unexpected_answer", "an answer from a cache");
    let echo = format!(r#"{{"jsonrpc":"2.0","error":{{"code":-32602,"message":"{TOKEN}"}},"id":2}}"#);
    let error = failed(move |_| http("200 OK", &echo)).await;
    assert!(matches!(error, ApiError::ParameterRefused { .. }), "{error}");
}

#[tokio::test]
async fn who_does_not_listen_cannot_be_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/zabbix", listener.local_addr().unwrap());
    drop(listener);
    let api = ZabbixApi::new(&url, Token::new(TOKEN).unwrap()).unwrap();
    assert_eq!(api.session().await.unwrap_err().code(), "unreachable");
}

/// Would wait for ever, and the poll with it.
#[tokio::test(start_paused = true)]
async fn who_takes_the_request_and_never_answers_cannot_be_reached_either() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api =
        ZabbixApi::new(&format!("http://{}", listener.local_addr().unwrap()), Token::new(TOKEN).unwrap()).unwrap();
    assert_eq!(api.session().await.unwrap_err().code(), "unreachable");
}

/// Would fail if an answer were read to its end before its size is looked at: the frontend counts what is taken from
/// it.
#[tokio::test]
async fn an_answer_of_50_mb_is_refused_while_it_is_read() {
    const MB: usize = 1024 * 1024;
    let announced = failed(|_| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 50 * MB).into_bytes());
    assert_eq!(announced.await.code(), "too_large");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api =
        ZabbixApi::new(&format!("http://{}", listener.local_addr().unwrap()), Token::new(TOKEN).unwrap()).unwrap();
    let frontend = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x1_0000], b"\r\n".to_vec()].concat();
        let mut taken = 0;
        while taken < 50 * MB && stream.write_all(&chunk).await.is_ok() {
            taken += 0x1_0000;
        }
        taken
    };
    let read = async {
        let error = api.session().await.unwrap_err();
        // with it its connection
        drop(api);
        error
    };
    let (taken, error) = tokio::join!(frontend, read);
    assert_eq!(error, ApiError::TooLarge { method: "apiinfo.version", limit: 16 * MB });
    assert!(taken < 32 * MB, "{taken} bytes were taken");
}

#[tokio::test]
async fn the_frontends_clock_is_compared_with_ours() {
    let ten_minutes_ahead = jiff::Timestamp::from_millisecond(signalbox_clock::now_ms() + 600_000).unwrap();
    let date = ten_minutes_ahead.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let frontend = move |asked: &Asked| {
        let body = json!({ "jsonrpc": "2.0", "result": "7.0.22", "id": asked.body["id"] }).to_string();
        format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let (ahead, _) = with_frontend(frontend, async |api: ZabbixApi| api.session().await.unwrap().ahead_ms()).await;
    let ahead = ahead.unwrap();
    assert!((ahead - 600_000).abs() < 5_000, "{ahead}");
}

#[test]
fn a_token_is_told_by_nothing() {
    let token = Token::new(TOKEN).unwrap();
    let api = ZabbixApi::new("https://zabbix.example.org/zabbix/", token).unwrap();
    assert!(!format!("{api:?}").contains(TOKEN));
    assert!(format!("{api:?}").contains("https://zabbix.example.org/zabbix/api_jsonrpc.php"));
    for bad in ["", " ", "a b", "ü", "a\nb"] {
        assert!(Token::new(bad).is_none(), "{bad:?}");
    }
    for bad in ["", "zabbix.example.org", "ftp://zabbix.example.org", "https://"] {
        assert!(ZabbixApi::new(bad, Token::new(TOKEN).unwrap()).is_err(), "{bad:?}");
    }
}

#[test]
fn every_recorded_problem_and_event_is_read_with_its_history() {
    for version in ["v6.0", "v7.0"] {
        for name in [
            "problem.get",
            "problem.get-in-maintenance",
            "event.get",
            "event.get-closed-manually",
            "event.get-internal",
        ] {
            let result = recorded(version, name)["body"]["result"].take();
            let events: Vec<Event> = serde_json::from_value(result).unwrap();
            assert!(!events.is_empty(), "{version} {name}");
        }
    }
    let result = recorded("v7.0", "problem.get-suppressed-manually")["body"]["result"].take();
    let events: Vec<Event> = serde_json::from_value(result).unwrap();
    assert_eq!(events[0].acknowledges.len(), 6);
    assert_eq!((events[0].suppression_data[0].maintenanceid.clone(), events[0].cause_eventid.clone()), (None, None));
}
