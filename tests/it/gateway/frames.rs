//! Frames that a client might send: commands of the protocol, commands with something wrong, and anything else.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Map, Value, json};

use crate::world::token;

const COMMANDS: [&str; 13] = [
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "rpc",
    "send",
    "refresh",
    "sub_refresh",
    "ping",
    "unknown",
];

/// Names of all commands' fields.
const FIELDS: [&str; 24] = [
    "channel",
    "token",
    "data",
    "name",
    "version",
    "subs",
    "positioned",
    "recoverable",
    "recover",
    "epoch",
    "offset",
    "join_leave",
    "delta",
    "tf",
    "flag",
    "type",
    "limit",
    "since",
    "reverse",
    "method",
    "params",
    "id",
    "user",
    "b64data",
];

const CHANNELS: [&str; 10] =
    ["chat:a", "big:a", "diff:a", "tags:a", "room:a", "typing:a", "secret:a", "server:a", "nowhere:a", "chat:x#u0"];

/// A frame: lines of commands, right and wrong.
pub(crate) fn frame() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => vec(line(), 1..4).prop_map(|lines| lines.join("\n")),
        2 => (vec(line(), 1..3), vec(mutation(), 1..4)).prop_map(|(lines, mutations)| {
            mutations.iter().fold(lines.join("\n"), |frame, mutation| mutation.of(&frame))
        }),
        1 => any::<String>(),
    ]
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![6 => right(), 3 => wrong(), 1 => json_value().prop_map(|value| value.to_string())]
}

/// What the SDKs may send, or almost.
fn right() -> impl Strategy<Value = String> {
    let channel = select(CHANNELS.as_slice());
    (1..9_u32, 0..15_usize, channel, json_value(), any::<bool>(), 0..4_u64).prop_map(
        |(id, which, channel, data, flag, offset)| {
            let subscribe = |request: Value| json!({"id": id, "subscribe": request});
            let command = match which {
                0 => json!({"id": id, "connect": {"name": "js"}}),
                14 => json!({"id": id, "connect": {"token": token("u9"), "subs": {
                    channel: {"recover": flag, "offset": offset},
                }}}),
                1 => subscribe(json!({"channel": channel, "flag": 1})),
                2 => {
                    subscribe(json!({"channel": channel, "recover": true, "offset": offset, "epoch": "xyz", "flag": 3}))
                }
                3 => subscribe(json!({"channel": channel, "delta": "fossil", "recoverable": flag})),
                4 => subscribe(
                    json!({"channel": channel, "tf": {"key": "a", "cmp": "eq", "val": "b"}, "join_leave": flag}),
                ),
                5 => json!({"id": id, "unsubscribe": {"channel": channel}}),
                6 => json!({"id": id, "publish": {"channel": channel, "data": data}}),
                7 => json!({"id": id, "presence": {"channel": channel}}),
                8 => json!({"id": id, "presence_stats": {"channel": channel}}),
                9 => json!({"id": id, "history": {"channel": channel, "limit": 3, "reverse": flag}}),
                10 => json!({"id": id, "rpc": {"method": "status.snapshot", "data": data}}),
                11 => json!({"id": id, "refresh": {"token": "e30.e30.e30"}}),
                12 => json!({"id": id, "sub_refresh": {"channel": channel, "token": "e30.e30.e30"}}),
                _ => json!({"send": {"data": data}}),
            };
            command.to_string()
        },
    )
}

/// A command's shape with anything in it.
fn wrong() -> impl Strategy<Value = String> {
    let id = prop_oneof![4 => (0..9_u32).prop_map(|id| json!(id)), 1 => json_value()];
    let fields = vec((select(FIELDS.as_slice()), field_value()), 0..5);
    (id, select(COMMANDS.as_slice()), fields, json_value(), any::<bool>()).prop_map(
        |(id, command, fields, other, object)| {
            let fields: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            json!({"id": id, command: if object { Value::Object(fields) } else { other }}).to_string()
        },
    )
}

fn field_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => select(CHANNELS.as_slice()).prop_map(|channel| json!(channel)),
        1 => (0..6_u64).prop_map(|number| json!(number)),
        1 => any::<bool>().prop_map(|flag| json!(flag)),
        4 => json_value(),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::from),
        "[a-z:#$*]{0,12}".prop_map(Value::from),
        (0..3_000_usize).prop_map(|length| Value::from("x".repeat(length))),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((select(FIELDS.as_slice()), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

#[derive(Debug, Clone)]
enum Mutation {
    Cut(Index),
    Insert(Index, char),
    Remove(Index),
    Repeat(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let strange = select(vec!['{', '}', '"', '\\', '\n', '\r', '\0', ',', ':', '[', '9', 'e', 'ä', '\u{2028}', '😀']);
    prop_oneof![
        any::<Index>().prop_map(Mutation::Cut),
        (any::<Index>(), strange).prop_map(|(at, what)| Mutation::Insert(at, what)),
        any::<Index>().prop_map(Mutation::Remove),
        any::<Index>().prop_map(Mutation::Repeat),
    ]
}

impl Mutation {
    fn of(&self, frame: &str) -> String {
        let mut letters: Vec<char> = frame.chars().collect();
        match self {
            Self::Insert(at, what) => letters.insert(at.index(letters.len() + 1), *what),
            _ if letters.is_empty() => {}
            Self::Cut(at) => letters.truncate(at.index(letters.len())),
            Self::Remove(at) => {
                letters.remove(at.index(letters.len()));
            }
            Self::Repeat(at) => {
                let from = at.index(letters.len());
                letters.extend_from_within(from..);
            }
        }
        letters.into_iter().collect()
    }
}
