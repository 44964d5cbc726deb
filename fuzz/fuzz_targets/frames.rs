//! A client's frame: it is parsed or ends the connection; what was parsed and is written again parses to the same.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde_json::value::RawValue;
use signalbox_protocol::{Command, Request, SubscribeRequest, parse_frame};

fuzz_target!(|frame: &str| {
    let Ok(commands) = parse_frame(frame) else { return };
    let lines: Vec<&str> = frame.strip_suffix('\n').unwrap_or(frame).split('\n').collect();
    assert_eq!(commands.len(), lines.len(), "a command a line");
    let again: Vec<String> = commands.iter().map(written).collect();
    let parsed = parse_frame(&again.join("\n")).expect("what was parsed and written again");
    assert_eq!(format!("{parsed:?}"), format!("{commands:?}"));
});

/// The command as a line, with all its fields. Payloads stay the text that they were.
fn written(command: &Command) -> String {
    let (name, fields) = match &command.request {
        Request::Connect(request) => {
            let subs: Fields =
                request.subs.iter().map(|(channel, sub)| (channel.as_str(), raw(&subscribe(sub)))).collect();
            let mut fields = with_data(&request.data);
            fields.extend([("token", raw(&request.token)), ("name", raw(&request.name))]);
            fields.extend([("version", raw(&request.version)), ("subs", raw(&subs))]);
            ("connect", fields)
        }
        Request::Subscribe(request) => ("subscribe", subscribe(request)),
        Request::Unsubscribe(request) => ("unsubscribe", [("channel", raw(&request.channel))].into()),
        Request::Publish(request) => {
            let mut fields = with_data(&request.data);
            fields.extend([("channel", raw(&request.channel)), ("type", raw(&request.kind))]);
            ("publish", fields)
        }
        Request::Presence(request) => ("presence", [("channel", raw(&request.channel))].into()),
        Request::PresenceStats(request) => ("presence_stats", [("channel", raw(&request.channel))].into()),
        Request::History(request) => {
            let mut fields: Fields = [("channel", raw(&request.channel)), ("limit", raw(&request.limit))].into();
            fields.extend([("since", raw(&request.since)), ("reverse", raw(&request.reverse))]);
            ("history", fields)
        }
        Request::Rpc(request) => {
            let mut fields = with_data(&request.data);
            fields.insert("method", raw(&request.method));
            ("rpc", fields)
        }
        Request::Send(request) => ("send", with_data(&request.data)),
        Request::Refresh(request) => ("refresh", [("token", raw(&request.token))].into()),
        Request::SubRefresh(request) => {
            let (channel, token) = (raw(&request.channel), raw(&request.token));
            ("sub_refresh", [("channel", channel), ("token", token), ("type", raw(&request.kind))].into())
        }
    };
    format!(r#"{{"id":{},"{name}":{}}}"#, command.id, raw(&fields))
}

fn subscribe(request: &SubscribeRequest) -> Fields<'_> {
    let mut fields = with_data(&request.data);
    fields.extend([("channel", raw(&request.channel)), ("token", raw(&request.token)), ("tf", raw(&request.tf))]);
    fields.extend([("positioned", raw(&request.positioned)), ("recoverable", raw(&request.recoverable))]);
    fields.extend([("recover", raw(&request.recover)), ("epoch", raw(&request.epoch))]);
    fields.extend([("offset", raw(&request.offset)), ("join_leave", raw(&request.join_leave))]);
    fields.extend([("delta", raw(&request.delta)), ("flag", raw(&request.flag)), ("type", raw(&request.kind))]);
    fields
}

type Fields<'a> = BTreeMap<&'a str, Box<RawValue>>;

fn with_data<'a>(data: &Option<Box<RawValue>>) -> Fields<'a> {
    data.clone().map(|data| ("data", data)).into_iter().collect()
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("JSON")
}
