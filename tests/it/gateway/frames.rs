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

/// A frame: lines of commands, right and wrong. Most of them leave the connection open: what comes after the first mistake would find
/// nobody else there.
pub(crate) fn frame() -> impl Strategy<Value = String> {
    let joined = |lines: Vec<String>| lines.join("\n");
    prop_oneof![
        12 => lines(right()).prop_map(joined),
        3 => lines(line()).prop_map(joined),
        2 => (lines(line()), vec(mutation(), 1..4)).prop_map(move |(lines, mutations)| {
            mutations.iter().fold(joined(lines), |frame, mutation| mutation.of(&frame))
        }),
        1 => any::<String>(),
    ]
}

fn lines(line: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = Vec<String>> {
    prop_oneof![4 => vec(line.clone(), 1..=1), 1 => vec(line, 2..=4)]
}

fn line() -> impl Strategy<Value = String> + Clone {
    prop_oneof![4 => right(), 3 => wrong(), 1 => json_value().prop_map(|value| value.to_string())].boxed()
}

/// What the SDKs may send, or almost. The last ones end the connection, most of the time.
fn right() -> impl Strategy<Value = String> + Clone {
    const ENDS: usize = 14;
    let channel = select(CHANNELS.as_slice());
    let which = prop_oneof![14 => 0..ENDS, 1 => ENDS..ENDS + 5];
    (1..99_u32, which, channel, json_value(), any::<bool>(), 0..4_u64)
        .prop_map(|(id, which, channel, data, flag, offset)| {
            let subscribe = |request: Value| json!({"id": id, "subscribe": request});
            let command = match which {
                0 | 1 => subscribe(json!({"channel": channel, "flag": 1})),
                2 => {
                    subscribe(json!({"channel": channel, "recover": true, "offset": offset, "epoch": "xyz", "flag": 3}))
                }
                3 => subscribe(json!({"channel": channel, "recover": flag, "offset": offset, "join_leave": true})),
                4 => subscribe(json!({"channel": channel, "delta": "fossil", "recoverable": flag})),
                5 => subscribe(
                    json!({"channel": channel, "tf": {"key": "a", "cmp": "eq", "val": "b"}, "join_leave": flag}),
                ),
                6 | 7 => json!({"id": id, "unsubscribe": {"channel": channel}}),
                8 => json!({"id": id, "publish": {"channel": channel, "data": data}}),
                9 => json!({"id": id, "presence": {"channel": channel}}),
                10 => json!({"id": id, "presence_stats": {"channel": channel}}),
                11 => json!({"id": id, "history": {"channel": channel, "limit": 3, "reverse": flag}}),
                12 => json!({"id": id, "history": {"channel": channel, "limit": -1, "since": {
                    "offset": offset, "epoch": if flag { "xyz" } else { "" },
                }}}),
                13 => json!({"id": id, "rpc": {"method": "status.snapshot", "data": data}}),
                ENDS => json!({"id": id, "connect": {"name": "js"}}),
                15 => json!({"id": id, "connect": {"token": token("u1"), "subs": {
                    channel: {"recover": flag, "offset": offset},
                }}}),
                16 => {
                    json!({"id": id, "refresh": {"token": if flag { token("u1") } else { "e30.e30.e30".to_owned() }}})
                }
                17 => json!({"id": id, "sub_refresh": {"channel": channel, "token": "e30.e30.e30"}}),
                _ => json!({"send": {"data": data}}),
            };
            command.to_string()
        })
        .boxed()
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
