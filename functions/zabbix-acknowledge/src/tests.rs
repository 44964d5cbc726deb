use serde_json::{Value, json};
use signalbox_bus::Recording;
use signalbox_messages::ActionRequest;

use super::*;
use frontend::{Asked, recorded, replay, result};

#[path = "../../../shared/zabbix-api/src/tests/frontend.rs"]
#[allow(dead_code, reason = "its other half is for the client's own tests")]
mod frontend;

fn record(receives: u32, request: ActionRequest) -> Record<Action> {
    let (id, event_id, user) = ("a-1".to_owned(), "87".to_owned(), "anna".to_owned());
    let body = Action { id, event_id, user, requested_at_ms: 1_795_249_500_000, request };
    Record { message_id: "m-1".to_owned(), receives, body }
}

/// What came of it, what the frontend was asked after its version, and what the viewers are told.
async fn acted(
    record: Record<Action>,
    frontend: impl Fn(&Asked) -> Vec<u8>,
) -> (Outcome, Vec<Value>, Vec<ActionRefused>) {
    let bus = Recording::default();
    let frontend = |asked: &Asked| match asked.method() {
        "apiinfo.version" => result(asked, &json!("7.0.22")),
        _ => frontend(asked),
    };
    let work = async |url: String| {
        let zabbix = ZabbixApi::new(&url, Token::new("example-api-token").unwrap()).unwrap();
        let state = State { zabbix, bus: Bus::Recorded(bus.clone()) };
        handle(&state, vec![record]).await.unwrap().remove(0)
    };
    let (outcome, asked) = frontend::with(frontend, work).await;
    let asked = asked.into_iter().map(|asked| asked.body).filter(|body| body["method"] != "apiinfo.version");
    (outcome, asked.collect(), bus.of())
}

fn done(asked: &Asked) -> Vec<u8> {
    replay(asked, "v7.0", "event.acknowledge-acknowledge-with-message")
}

#[tokio::test]
async fn what_a_viewer_wants_is_one_call_with_who_it_was_in_the_comment() {
    let message = Some(" looking into it ".to_owned());
    for (request, params) in [
        (
            ActionRequest { acknowledge: true, message, ..ActionRequest::default() },
            json!({"eventids": ["87"], "action": 2 | 4, "message": "anna: looking into it"}),
        ),
        (
            ActionRequest { severity: Some(5), unacknowledge: true, ..ActionRequest::default() },
            json!({"eventids": ["87"], "action": 4 | 8 | 16, "message": "anna", "severity": 5}),
        ),
        (
            ActionRequest { close: true, ..ActionRequest::default() },
            json!({"eventids": ["87"], "action": 1 | 4, "message": "anna"}),
        ),
    ] {
        let (outcome, asked, told) = acted(record(1, request), done).await;
        assert_eq!((outcome, told), (Outcome::Stored, vec![]));
        assert_eq!(asked.len(), 1);
        assert_eq!((&asked[0]["method"], &asked[0]["params"]), (&json!("event.acknowledge"), &params));
    }
}

/// Fails if a refusal goes round until the queue gives up, or the viewer is left waiting.
#[tokio::test]
async fn what_zabbix_refuses_is_told_to_the_viewer_and_done_with() {
    let close = || record(1, ActionRequest { close: true, ..ActionRequest::default() });
    for (file, says) in [("error-method-denied", "may not call"), ("error-bad-token", "token")] {
        let (outcome, _, told) = acted(close(), |asked| replay(asked, "v7.0", file)).await;
        assert_eq!(outcome, Outcome::Stored, "{file}");
        assert_eq!((told[0].event_id.as_str(), told[0].user.as_str()), ("87", "anna"));
        assert!(told[0].reason.contains(says), "{told:?}");
    }
}

#[tokio::test]
async fn a_zabbix_that_is_not_there_is_asked_three_times_and_then_the_viewer_is_told() {
    let html = |_: &Asked| frontend::http("502 Bad Gateway", "<html>Bad Gateway</html>");
    for receives in 1..=2 {
        let (outcome, _, told) =
            acted(record(receives, ActionRequest { acknowledge: true, ..ActionRequest::default() }), html).await;
        assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
        assert_eq!(told, []);
    }
    let (outcome, _, told) =
        acted(record(3, ActionRequest { acknowledge: true, ..ActionRequest::default() }), html).await;
    assert!(matches!(outcome, Outcome::Never(_)), "{outcome:?}");
    assert_eq!(told.len(), 1);
}

/// Fails if a comment stands there twice because an answer was lost, or a new one is taken for an old one.
#[tokio::test]
async fn what_was_done_before_its_answer_was_lost_is_not_done_again() {
    for (clock, done_again) in [(1_795_249_500, 0), (1_795_249_400, 1)] {
        let frontend = |asked: &Asked| match asked.method() {
            "event.get" => {
                let mut events = recorded("v7.0", "event.get-one-resolved-with-updates")["body"]["result"].take();
                events[0]["eventid"] = json!("87");
                let mut entry = events[0]["acknowledges"][0].clone();
                entry["clock"] = json!(clock.to_string());
                entry["action"] = json!("6");
                entry["message"] = json!("anna: looking into it");
                events[0]["acknowledges"] = json!([entry]);
                result(asked, &json!([events[0]]))
            }
            _ => done(asked),
        };
        let message = Some("looking into it".to_owned());
        let again = record(2, ActionRequest { acknowledge: true, message, ..ActionRequest::default() });
        let (outcome, asked, _) = acted(again, frontend).await;
        let acts = asked.iter().filter(|body| body["method"] == "event.acknowledge").count();
        assert_eq!((outcome, acts), (Outcome::Stored, done_again));
    }
}
