use jiff::civil::DateTime;
use serde_json::Value;
use sha2::{Digest, Sha256};
use signalbox_messages::{ChangeKind, Detail, Host, Recovery, StatusChanged, Tag, Update};

use crate::payload::{Payload, PayloadError, meaningful};
use crate::suppression::suppression;
use crate::zone::{Clock, Zone};

/// Reads the body of a Zabbix webhook: of our media type, or of one that sends the macros as they come.
///
/// The fields are macros in lower case (`{EVENT.ID}` is `event_id`), all values strings. Our media type leaves out what
/// Zabbix did not resolve and sends `event_tags` as an array and `sent_at_ms`; others may send literal macros,
/// `event_tagsjson` (JSON in a string), `event_tags` (`name:value, name:value`) and `sent_at` (RFC 3339).
///
/// Needed: `event_id`, `event_source` (0 trigger, 3 internal), `event_value` (or `event_status`), a name (`event_name` or
/// `trigger_name`), `event_date` and `event_time`, a severity (`event_nseverity` or `trigger_nseverity`), and for an update
/// `event_update_date` and `event_update_time`. All else may be missing; a host that Zabbix did not name is empty text.
///
/// Limits of the macros: `{HOST.*}` is the first host of the trigger's expression only, and `{TRIGGER.HOSTGROUP.NAME}` joins
/// the groups with `, `, so a group with that in its name is taken for two.
///
/// `accepted_at_ms` (unix ms) stands in for a missing `sent_at`.
///
/// # Errors
/// The first field that is missing or not what its macro gives.
pub fn status_changed(body: &[u8], accepted_at_ms: i64, zone: &Zone) -> Result<StatusChanged, PayloadError> {
    let payload = Payload::parse(body)?;
    let event_id = payload.id("event_id")?.ok_or(PayloadError::Missing { field: "event_id" })?;
    let internal = is_internal(&payload)?;
    let problem = is_problem(&payload, internal)?;
    let kind = kind(&payload, internal, problem)?;

    let local = LocalTimes::read(&payload, kind, problem)?;
    let sent_at_ms = sent_at_ms(&payload)?;
    let sent_at = sent_at_ms.unwrap_or(accepted_at_ms).div_euclid(1_000);
    let clock = zone.clock(sent_at, local.now);

    let opened_at = clock.past(local.event);
    let recovery = match local.recovery {
        Some(local) => payload.id("event_recovery_id")?.map(|event_id| Recovery { at: clock.past(local), event_id }),
        None => None,
    };
    let update = local.update.map(|local| update(&payload, &clock, local));
    let at = match (&update, &recovery) {
        (Some(update), _) => update.at,
        (None, Some(recovery)) => recovery.at,
        (None, None) if problem => opened_at,
        (None, None) => sent_at,
    };
    let mut message = StatusChanged {
        id: String::new(),
        kind,
        event_id,
        problem,
        at,
        seq: updates(&payload),
        exact: false,
        observed: None,
        opened_at,
        suppression: update.as_ref().and_then(|update| suppression(&update.action, update.at, &clock)),
        recovery,
        update,
        detail: detail(&payload, internal, problem)?,
        sent_at_ms,
        accepted_at_ms,
    };
    message.id = id(&message, local.update);
    Ok(message)
}

fn is_internal(payload: &Payload) -> Result<bool, PayloadError> {
    match payload.required("event_source")?.as_str() {
        "0" => Ok(false),
        "3" => Ok(true),
        other => Err(PayloadError::invalid("event_source", other, "0 (trigger) or 3 (internal)")),
    }
}

/// `{EVENT.VALUE}`; `{EVENT.STATUS}` says the same in words. (`{TRIGGER.VALUE}` does not: it is the trigger's now.)
fn is_problem(payload: &Payload, internal: bool) -> Result<bool, PayloadError> {
    if let Some(value) = payload.text("event_value") {
        return match value.as_str() {
            "1" => Ok(true),
            "0" => Ok(false),
            other => Err(PayloadError::invalid("event_value", other, "0 or 1")),
        };
    }
    let status = payload.text("event_status").ok_or(PayloadError::Missing { field: "event_value" })?;
    match (internal, status.as_str()) {
        (false, "PROBLEM") | (true, "Unknown") => Ok(true),
        (false, "RESOLVED" | "OK") | (true, "Normal") => Ok(false),
        _ => Err(PayloadError::invalid("event_status", &status, "PROBLEM or RESOLVED")),
    }
}

/// `kind` of our media type is not read: its script derives it from these same macros.
fn kind(payload: &Payload, internal: bool, problem: bool) -> Result<ChangeKind, PayloadError> {
    if internal {
        return Ok(ChangeKind::Internal);
    }
    match payload.text("event_update_status").as_deref() {
        Some("1") => Ok(ChangeKind::Update),
        None | Some("0") if problem => Ok(ChangeKind::Problem),
        None | Some("0") => Ok(ChangeKind::Recovery),
        Some(other) => Err(PayloadError::invalid("event_update_status", other, "0 or 1")),
    }
}

/// The times of a message as the server's clock on the wall showed them.
struct LocalTimes {
    event: DateTime,
    /// Absent while the problem is there.
    recovery: Option<DateTime>,
    update: Option<DateTime>,
    /// The newest of them: nearest to the moment of sending.
    now: DateTime,
}

impl LocalTimes {
    fn read(payload: &Payload, kind: ChangeKind, problem: bool) -> Result<Self, PayloadError> {
        let required = |date, time| payload.local_time(date, time)?.ok_or(PayloadError::Missing { field: date });
        let event = required("event_date", "event_time")?;
        let recovery = if problem { None } else { payload.local_time("event_recovery_date", "event_recovery_time")? };
        let update = match kind {
            ChangeKind::Update => Some(required("event_update_date", "event_update_time")?),
            _ => None,
        };
        let now = payload.local_time("date", "time")?.or(update).or(recovery).unwrap_or(event);
        Ok(Self { event, recovery, update, now })
    }
}

fn sent_at_ms(payload: &Payload) -> Result<Option<i64>, PayloadError> {
    // 1970 to 2200: no arithmetic on it can overflow
    const RANGE: std::ops::Range<i64> = 0..7_258_118_400_000;
    if let Some(text) = payload.text("sent_at_ms") {
        let sent_at = text.parse().ok().filter(|ms| RANGE.contains(ms));
        return match sent_at {
            Some(ms) => Ok(Some(ms)),
            None => Err(PayloadError::invalid("sent_at_ms", &text, "unix milliseconds")),
        };
    }
    let Some(text) = payload.text("sent_at") else { return Ok(None) };
    match text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond).filter(|ms| RANGE.contains(ms)) {
        Some(ms) => Ok(Some(ms)),
        None => Err(PayloadError::invalid("sent_at", &text, "RFC 3339")),
    }
}

fn update(payload: &Payload, clock: &Clock, local: DateTime) -> Update {
    Update {
        at: clock.past(local),
        action: payload.text("event_update_action").unwrap_or_else(|| "updated".to_owned()),
        message: payload.text("event_update_message"),
        user: payload.text("user_fullname"),
    }
}

/// How many updates Zabbix knew of. The script counts them, for of a long history only a part is sent; a script of before
/// it did sends the history alone.
fn updates(payload: &Payload) -> u32 {
    let counted = payload.text("event_update_count").and_then(|count| count.parse().ok());
    counted.unwrap_or_else(|| payload.text("event_update_history").map_or(0, |history| entries(&history)))
}

/// Entries of `{EVENT.UPDATE.HISTORY}`: each begins with a line `2026.11.21 08:16:46 "who"`. (A comment can imitate such a
/// line; the number only ever grows, which is all that is asked of it.)
fn entries(history: &str) -> u32 {
    let entries = history.lines().filter(|line| {
        line.get(..19).and_then(crate::payload::parse_date_time).is_some() && line[19..].starts_with(" \"")
    });
    u32::try_from(entries.count()).unwrap_or(u32::MAX)
}

fn detail(payload: &Payload, internal: bool, problem: bool) -> Result<Detail, PayloadError> {
    let (event_name, trigger_name) = (payload.text("event_name"), payload.text("trigger_name"));
    // the "name" of an internal event is the error text, also after it is over
    let name = if internal { trigger_name.or(event_name) } else { event_name.or(trigger_name) };
    Ok(Detail {
        name: name.ok_or(PayloadError::Missing { field: if internal { "trigger_name" } else { "event_name" } })?,
        severity: severity(payload)?,
        acknowledged: payload.text("event_ack_status").is_some_and(|status| status.eq_ignore_ascii_case("yes")),
        opdata: payload.text("event_opdata"),
        error: if internal && problem { payload.text("trigger_state_error") } else { None },
        host: host(payload),
        groups: groups(payload),
        tags: tags(payload),
        trigger_id: payload.text("trigger_id"),
        url: payload.text("trigger_url").filter(|url| is_web(url)),
    })
}

/// `{EVENT.NSEVERITY}` follows a change by hand, `{TRIGGER.NSEVERITY}` does not; an internal event has only the latter.
fn severity(payload: &Payload) -> Result<u8, PayloadError> {
    let (field, text) = match payload.text("event_nseverity") {
        Some(text) => ("event_nseverity", text),
        None => match payload.text("trigger_nseverity") {
            Some(text) => ("trigger_nseverity", text),
            None => return Err(PayloadError::Missing { field: "event_nseverity" }),
        },
    };
    match text.parse() {
        Ok(severity @ 0..=5) => Ok(severity),
        _ => Err(PayloadError::invalid(field, &text, "0 to 5")),
    }
}

fn host(payload: &Payload) -> Host {
    let host = payload.text("host_host");
    let name = payload.text("host_name");
    Host {
        id: payload.text("host_id").unwrap_or_default(),
        host: host.clone().or_else(|| name.clone()).unwrap_or_default(),
        name: name.or(host).unwrap_or_default(),
    }
}

fn groups(payload: &Payload) -> Vec<String> {
    // from the unshortened text: a shortened list would end in half a name
    let Some(Value::String(list)) = payload.raw("trigger_hostgroup_name") else { return Vec::new() };
    known_groups(list.split(", ").filter_map(meaningful).collect())
}

fn tags(payload: &Payload) -> Vec<Tag> {
    let tags = match payload.raw("event_tags") {
        Some(Value::Array(tags)) => tags.iter().filter_map(tag).collect(),
        other => tags_of_macros(payload.raw("event_tagsjson"), other),
    };
    known_tags(tags)
}

/// Sorted, each once, as many as are kept.
pub(crate) fn known_groups(mut groups: Vec<String>) -> Vec<String> {
    groups.sort();
    groups.dedup();
    within(groups, MAX_GROUP_BYTES)
}

/// Sorted, each once, as many as are kept.
pub(crate) fn known_tags(mut tags: Vec<Tag>) -> Vec<Tag> {
    tags.sort();
    tags.dedup();
    within(tags, MAX_TAG_BYTES)
}

/// Bytes of JSON that tags and groups may take. With every text at its limit a problem still fits one publication (120 KB)
/// and one page of a snapshot; real ones have a tenth of this. A message is not refused over it: the problem counts.
pub(crate) const MAX_TAG_BYTES: usize = 16 * 1024;
pub(crate) const MAX_GROUP_BYTES: usize = 8 * 1024;

/// The first items that fit.
pub(crate) fn within<T: serde::Serialize>(mut items: Vec<T>, most: usize) -> Vec<T> {
    let mut bytes = 0;
    let fitting = items.iter().take_while(|item| {
        bytes += serde_json::to_string(item).map_or(most, |json| json.len() + 1);
        bytes <= most
    });
    let fitting = fitting.count();
    items.truncate(fitting);
    items
}

/// `{EVENT.TAGSJSON}` if it is there, else `{EVENT.TAGS}`, where a name ends at its first colon.
fn tags_of_macros(json: Option<&Value>, list: Option<&Value>) -> Vec<Tag> {
    if let Some(Value::Array(tags)) = json.and_then(Value::as_str).and_then(|json| serde_json::from_str(json).ok()) {
        return tags.iter().filter_map(tag).collect();
    }
    let list = list.and_then(Value::as_str).unwrap_or_default();
    list.split(", ")
        .filter_map(|pair| {
            // the whole first: `{EVENT.TAGS}` has a colon in no case, `{$M:"context"}` has one
            meaningful(pair)?;
            let (tag, value) = pair.split_once(':').unwrap_or((pair, ""));
            Some(Tag { tag: meaningful(tag)?, value: meaningful(value).unwrap_or_default() })
        })
        .collect()
}

pub(crate) fn tag(tag: &Value) -> Option<Tag> {
    Some(Tag {
        tag: meaningful(tag.get("tag")?.as_str()?)?,
        value: tag.get("value").and_then(Value::as_str).and_then(meaningful).unwrap_or_default(),
    })
}

/// Boards make it a link, so nothing that runs in the page (`javascript:`) may pass.
pub(crate) fn is_web(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| url.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme)))
}

/// The idempotency key: what stays the same when Zabbix retries (fresh `sent_at`) or a second action tells the same.
///
/// An update has no id of its own in any macro: its time, and a digest of all that merging takes from it.
fn id(message: &StatusChanged, update_time: Option<DateTime>) -> String {
    let event_id = &message.event_id;
    match (message.kind, &message.update, update_time) {
        (ChangeKind::Internal, ..) => {
            format!("{event_id}-internal-{}", if message.problem { "unknown" } else { "normal" })
        }
        (ChangeKind::Update, Some(update), Some(local)) => {
            let digits = local.strftime("%Y%m%d%H%M%S");
            format!("{event_id}-update-{digits}-{}", digest(message, update))
        }
        (ChangeKind::Recovery, ..) => match &message.recovery {
            Some(recovery) => format!("{event_id}-recovery-{}", recovery.event_id),
            None => format!("{event_id}-recovery"),
        },
        _ => format!("{event_id}-problem"),
    }
}

fn digest(message: &StatusChanged, update: &Update) -> String {
    let state = [message.detail.severity, u8::from(message.detail.acknowledged), u8::from(message.problem)];
    let mut hash = Sha256::new();
    for text in [Some(&update.action), update.message.as_ref(), update.user.as_ref()] {
        hash.update(text.map_or("", String::as_str));
        hash.update([0]); // no text has a NUL in it, so ("a", "bc") and ("ab", "c") differ
    }
    hash.update(state);
    hex::encode(&hash.finalize()[..4])
}

#[cfg(test)]
mod tests;
