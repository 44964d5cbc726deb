use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use signalbox_messages::{ChangeKind, Detail, Host, ItemValue, ItemValues, Recovery, StatusChanged, Tag, Value};
use thiserror::Error;

use crate::payload::{meaningful, shown, without_nul};
use crate::webhook::{known_groups, known_tags, tag};

/// Largest body, in bytes: what Lambda hands over at most (Lambda quotas, synchronous invocation payload). API
/// Gateway hands over NDJSON in base64, so that 4.5 MB get through.
pub const MAX_BODY_BYTES: usize = 6 * 1024 * 1024;

/// Most lines of a body. A Zabbix that was told no `max_records` sends what has piled up, whatever that is.
pub const MAX_LINES: usize = 10_000;

/// Longest line, in bytes: a text of 64 KB, Zabbix's limit, with nearly every character escaped.
pub const MAX_LINE_BYTES: usize = 256 * 1024;

/// Largest [`ItemValues`], in bytes of JSON: one message is one publication (120 KB), and far below what the bus
/// takes (256 KB).
pub const MAX_MESSAGE_BYTES: usize = 100 * 1024;

/// The latest time taken, exclusive: 2200-01-01.
const END_OF_TIME: u64 = 7_258_118_400;

/// What the lines of one POST came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken<T> {
    /// In the order of their first lines.
    pub messages: Vec<T>,
    /// How many lines are in them.
    pub accepted: usize,
    /// The other lines, in their order.
    pub refused: Vec<RefusedLine>,
}

/// A line that is in no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLine {
    /// Number, from 1; empty lines count.
    pub line: usize,
    /// Why.
    pub reason: LineError,
}

/// Why a line is neither an event nor an item's value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    /// Over [`MAX_LINE_BYTES`].
    #[error("longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Not JSON at all, or not UTF-8.
    #[error("not JSON")]
    NotJson,
    /// JSON, but no object.
    #[error("not a JSON object")]
    NotAnObject,
    /// A field that is always there is not.
    #[error("`{field}` is missing")]
    Missing {
        /// Name in the line, for example `eventid`.
        field: &'static str,
    },
    /// A field holds something else than Zabbix puts there.
    #[error("`{field}` is {value:?}, expected {expected}")]
    Invalid {
        /// Name in the line.
        field: &'static str,
        /// What it held, as JSON, at most 64 characters.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A line of the other data type.
    #[error("an item's value where events are taken: the connector's data type and its URL do not belong together")]
    ItemValue,
    /// A line of the other data type.
    #[error("an event where item values are taken: the connector's data type and its URL do not belong together")]
    Event,
    /// A value that makes a message over [`MAX_MESSAGE_BYTES`] even alone.
    #[error("its value takes {bytes} bytes, more than a publication has room for")]
    ValueTooLarge {
        /// Of JSON.
        bytes: usize,
    },
}

impl LineError {
    fn invalid(field: &'static str, value: &Json, expected: &'static str) -> Self {
        Self::Invalid { field, value: value.to_string().chars().take(64).collect(), expected }
    }
}

/// Why nothing of a body was taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyError {
    /// Over [`MAX_BODY_BYTES`].
    #[error("the body is larger than {MAX_BODY_BYTES} bytes")]
    TooLarge,
    /// Over [`MAX_LINES`].
    #[error("the body has more than {MAX_LINES} lines")]
    TooManyLines,
    /// There are lines, and none of them is a JSON object: a page of a proxy, a form, one array of all.
    #[error("the body is not NDJSON: no line of it is a JSON object")]
    NotNdjson,
    /// There are objects, and none of them could be taken.
    #[error("no line of the body could be taken")]
    NothingTaken(Vec<RefusedLine>),
}

/// Reads events that a connector streams (Zabbix 6.4 and later, data type "Events"): one JSON object a line, each a
/// [`StatusChanged`].
///
/// A problem is `{clock, ns, value: 1, eventid, name, severity, hosts: [{host, name}], groups: [], tags: [{tag,
/// value}]}`, a recovery `{clock, ns, value: 0, eventid, p_eventid}` and no more (Zabbix manual, "Newline-delimited
/// JSON export protocol"; Zabbix notes, 5). Numbers are numbers here, never strings. Times are exact. The id of a
/// host is not told, and no trigger, URL, operational data or acknowledgement; of the hosts the first is taken.
///
/// The ids end in `-connector`: a record that keeps one message of an id must not lose what the webhook tells of the
/// same event, which is more.
///
/// A line that cannot be used is told by its number, and the others are taken; empty lines are none.
///
/// # Errors
/// When there are lines and none was taken, or too much of them.
pub fn events(body: &[u8], accepted_at_ms: i64) -> Result<Taken<StatusChanged>, BodyError> {
    let (messages, refused) = read(body, |line| event(line, accepted_at_ms))?;
    Ok(Taken { accepted: messages.len(), messages, refused })
}

/// Reads item values that a connector streams (data type "Item values"): one JSON object a line, `{host: {host,
/// name}, groups: [], item_tags: [{tag, value}], itemid, name, clock, ns, value, type}`; logs have more, which is
/// left. One message for each host, or several where one would be over [`MAX_MESSAGE_BYTES`].
///
/// Texts are kept as they are but for NUL. Binary values (type 5) are not taken.
///
/// # Errors
/// As those of [`events`].
pub fn item_values(body: &[u8], accepted_at_ms: i64) -> Result<Taken<ItemValues>, BodyError> {
    let (readings, refused) = read(body, |line| reading(line, accepted_at_ms))?;
    Ok(Taken { accepted: readings.len(), messages: by_host(readings, accepted_at_ms), refused })
}

fn read<T>(body: &[u8], take: impl Fn(&Line) -> Result<T, LineError>) -> Result<(Vec<T>, Vec<RefusedLine>), BodyError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(BodyError::TooLarge);
    }
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
    let lines: Vec<(&[u8], usize)> = lines.filter(|(line, _)| !line.is_empty()).collect();
    if lines.len() > MAX_LINES {
        return Err(BodyError::TooManyLines);
    }
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for (text, line) in lines {
        match Line::parse(text).and_then(|line| take(&line)) {
            Ok(one) => taken.push(one),
            Err(reason) => refused.push(RefusedLine { line, reason }),
        }
    }
    if taken.is_empty() && !refused.is_empty() {
        let an_object = |refused: &RefusedLine| !matches!(refused.reason, LineError::NotJson | LineError::NotAnObject);
        let objects = refused.iter().any(an_object);
        return Err(if objects { BodyError::NothingTaken(refused) } else { BodyError::NotNdjson });
    }
    Ok((taken, refused))
}

/// The fields of a line.
struct Line(Map<String, Json>);

impl Line {
    fn parse(line: &[u8]) -> Result<Self, LineError> {
        if line.len() > MAX_LINE_BYTES {
            return Err(LineError::TooLong);
        }
        match serde_json::from_slice(line) {
            Ok(Json::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(LineError::NotAnObject),
            Err(_) => Err(LineError::NotJson),
        }
    }

    fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    fn required(&self, field: &'static str) -> Result<&Json, LineError> {
        self.0.get(field).filter(|value| !value.is_null()).ok_or(LineError::Missing { field })
    }

    fn number(&self, field: &'static str, most: u64, expected: &'static str) -> Result<u64, LineError> {
        let value = self.required(field)?;
        value.as_u64().filter(|number| *number <= most).ok_or_else(|| LineError::invalid(field, value, expected))
    }

    fn id(&self, field: &'static str) -> Result<String, LineError> {
        let expected = "an id (a number)";
        match self.number(field, u64::MAX, expected)? {
            0 => Err(LineError::invalid(field, &0.into(), expected)),
            id => Ok(id.to_string()),
        }
    }

    fn clock(&self) -> Result<i64, LineError> {
        let expected = "unix seconds (a number)";
        let seconds = self.number("clock", END_OF_TIME - 1, expected)?;
        i64::try_from(seconds).map_err(|_| LineError::invalid("clock", &seconds.into(), expected))
    }

    fn name(&self) -> Result<String, LineError> {
        let value = self.required("name")?;
        let text = value.as_str().ok_or_else(|| LineError::invalid("name", value, "text"))?;
        shown(text).ok_or(LineError::Missing { field: "name" })
    }

    /// Absent is none.
    fn list(&self, field: &'static str) -> Result<&[Json], LineError> {
        match self.0.get(field) {
            None | Some(Json::Null) => Ok(&[]),
            Some(Json::Array(items)) => Ok(items),
            Some(other) => Err(LineError::invalid(field, other, "a list")),
        }
    }

    fn groups(&self) -> Result<Vec<String>, LineError> {
        let groups = self.list("groups")?.iter().filter_map(Json::as_str).filter_map(meaningful);
        Ok(known_groups(groups.collect()))
    }

    fn tags(&self, field: &'static str) -> Result<Vec<Tag>, LineError> {
        Ok(known_tags(self.list(field)?.iter().filter_map(tag).collect()))
    }
}

fn host(host: &Json) -> Host {
    let text = |field| host.get(field).and_then(Json::as_str).and_then(shown);
    let (host, name) = (text("host"), text("name"));
    Host {
        id: String::new(),
        host: host.clone().or_else(|| name.clone()).unwrap_or_default(),
        name: name.or(host).unwrap_or_default(),
    }
}

fn event(line: &Line, accepted_at_ms: i64) -> Result<StatusChanged, LineError> {
    // the line of a Windows event log has an `eventid` too
    if line.has("itemid") {
        return Err(LineError::ItemValue);
    }
    let id = line.id("eventid")?;
    let at = line.clock()?;
    let problem = line.number("value", 1, "0 or 1")? == 1;
    let event_id = if problem { id.clone() } else { line.id("p_eventid")? };
    let detail = if problem {
        let severity = line.number("severity", 5, "0 to 5")?;
        Detail {
            name: line.name()?,
            severity: u8::try_from(severity).unwrap_or_default(),
            host: line.list("hosts")?.first().map(host).unwrap_or_default(),
            groups: line.groups()?,
            tags: line.tags("tags")?,
            ..Detail::default()
        }
    } else {
        Detail::default()
    };
    Ok(StatusChanged {
        id: if problem { format!("{id}-problem-connector") } else { format!("{event_id}-recovery-{id}-connector") },
        kind: if problem { ChangeKind::Problem } else { ChangeKind::Recovery },
        event_id,
        problem,
        at,
        seq: 0,
        exact: true,
        // a recovery does not know it; what describes nothing is not asked for it either
        opened_at: at,
        recovery: (!problem).then_some(Recovery { at, event_id: id }),
        update: None,
        suppression: None,
        observed: None,
        detail,
        sent_at_ms: None,
        accepted_at_ms,
    })
}

/// One line of item values.
struct Reading {
    host: Host,
    groups: Vec<String>,
    value: ItemValue,
    /// Of the value's JSON, with a comma.
    bytes: usize,
    /// Bytes that a message of this host has left for values.
    room: usize,
}

fn reading(line: &Line, accepted_at_ms: i64) -> Result<Reading, LineError> {
    if !line.has("itemid") && line.has("eventid") {
        return Err(LineError::Event);
    }
    let item_id = line.id("itemid")?;
    let host = host(line.required("host")?);
    if host.host.is_empty() {
        return Err(LineError::Missing { field: "host" });
    }
    let groups = line.groups()?;
    let value_type = line.number("type", 4, "0 to 4")?;
    let value = ItemValue {
        item_id,
        name: line.name()?,
        clock: line.clock()?,
        ns: u32::try_from(line.number("ns", 999_999_999, "nanoseconds (a number)")?).unwrap_or_default(),
        value: measured(line, value_type)?,
        value_type: u8::try_from(value_type).unwrap_or_default(),
        tags: line.tags("item_tags")?,
    };
    let bytes = json_bytes(&value).saturating_add(1);
    let frame = ItemValues { id: id("", &[]), host, groups, values: Vec::new(), accepted_at_ms };
    let room = MAX_MESSAGE_BYTES.saturating_sub(json_bytes(&frame));
    if bytes > room {
        return Err(LineError::ValueTooLarge { bytes });
    }
    Ok(Reading { host: frame.host, groups: frame.groups, value, bytes, room })
}

/// A number for numeric types, text for the others.
fn measured(line: &Line, value_type: u64) -> Result<Value, LineError> {
    let value = line.required("value")?;
    let (measured, expected) = match value_type {
        0 => {
            let float = || value.as_f64().filter(|number| number.is_finite()).map(Value::Float);
            (value.as_u64().map(Value::Unsigned).or_else(float), "a number, as its type is 0")
        }
        3 => (value.as_u64().map(Value::Unsigned), "a whole number, as its type is 3"),
        _ => (value.as_str().map(|text| Value::Text(without_nul(text).into_owned())), "text, as its type says"),
    };
    measured.ok_or_else(|| LineError::invalid("value", value, expected))
}

fn by_host(readings: Vec<Reading>, accepted_at_ms: i64) -> Vec<ItemValues> {
    let mut messages: Vec<ItemValues> = Vec::new();
    // which message the next value goes into, and how many bytes it has left
    let mut filling: BTreeMap<(Host, Vec<String>), (usize, usize)> = BTreeMap::new();
    for Reading { host, groups, value, bytes, room } in readings {
        let whose = (host, groups);
        match filling.get_mut(&whose) {
            Some((index, left)) if *left >= bytes => {
                *left -= bytes;
                messages[*index].values.push(value);
            }
            _ => {
                let (host, groups) = whose.clone();
                filling.insert(whose, (messages.len(), room - bytes));
                messages.push(ItemValues { id: String::new(), host, groups, values: vec![value], accepted_at_ms });
            }
        }
    }
    for message in &mut messages {
        message.id = id(&message.host.host, &message.values);
    }
    messages
}

/// By what was measured alone: a POST that Zabbix repeats gives the same messages.
fn id(host: &str, values: &[ItemValue]) -> String {
    let mut hash = Sha256::new();
    hash.update(host);
    hash.update([0]);
    hash.update(serde_json::to_vec(values).unwrap_or_default());
    format!("items-{}", hex::encode(&hash.finalize()[..16]))
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests;
