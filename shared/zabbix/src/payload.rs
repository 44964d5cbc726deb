use std::borrow::Cow;

use jiff::civil::{Date, DateTime, Time};
use serde_json::{Map, Value};
use thiserror::Error;

/// Longest text taken over, in characters: Zabbix's own limit for names, URLs and comments. Only operational data can be
/// longer (an expanded log line of up to 64 KB), and no board wants that in every message.
const MAX_TEXT: usize = 2_048;

/// Why a webhook body is not a message about a problem.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// Not JSON at all, or not UTF-8.
    #[error("the body is not JSON")]
    NotJson,
    /// JSON, but an array or a bare value.
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// A field we cannot do without is absent, empty, or holds a macro that Zabbix did not resolve.
    #[error("`{field}` is missing")]
    Missing {
        /// Name in the body, for example `event_id`.
        field: &'static str,
    },
    /// A field holds something else than its macro gives.
    #[error("`{field}` is {value:?}, expected {expected}")]
    Invalid {
        /// Name in the body.
        field: &'static str,
        /// What it held, at most 64 characters.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
}

impl PayloadError {
    pub(crate) fn invalid(field: &'static str, value: &str, expected: &'static str) -> Self {
        Self::Invalid { field, value: value.chars().take(64).collect(), expected }
    }
}

/// The fields of a webhook body. A field that Zabbix left empty or unresolved counts as absent.
pub(crate) struct Payload(Map<String, Value>);

impl Payload {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, PayloadError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(PayloadError::NotAnObject),
            Err(_) => Err(PayloadError::NotJson),
        }
    }

    pub(crate) fn raw(&self, field: &str) -> Option<&Value> {
        self.0.get(field)
    }

    /// Text of a field. All values of Zabbix are strings; numbers are taken too, for hand-written scripts.
    pub(crate) fn text(&self, field: &str) -> Option<String> {
        match self.0.get(field)? {
            Value::String(text) => meaningful(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    pub(crate) fn required(&self, field: &'static str) -> Result<String, PayloadError> {
        match self.text(field) {
            Some(text) => Ok(text),
            None => match self.0.get(field) {
                None | Some(Value::Null | Value::String(_)) => Err(PayloadError::Missing { field }),
                Some(other) => Err(PayloadError::invalid(field, &other.to_string(), "text")),
            },
        }
    }

    /// An id of Zabbix: an unsigned 64-bit number, not 0, without leading zeros.
    pub(crate) fn id(&self, field: &'static str) -> Result<Option<String>, PayloadError> {
        let Some(text) = self.text(field) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(id) if id > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(id.to_string())),
            _ => Err(PayloadError::invalid(field, &text, "an event id (digits)")),
        }
    }

    /// Server-local time out of a date field (`2026.11.21`) and a time field (`08:05:04`); both or neither.
    pub(crate) fn local_time(
        &self,
        date_field: &'static str,
        time_field: &'static str,
    ) -> Result<Option<DateTime>, PayloadError> {
        let (date, time) = match (self.text(date_field), self.text(time_field)) {
            (None, None) => return Ok(None),
            (Some(date), Some(time)) => (date, time),
            (None, Some(_)) => return Err(PayloadError::Missing { field: date_field }),
            (Some(_), None) => return Err(PayloadError::Missing { field: time_field }),
        };
        let day =
            parse_date(&date).ok_or_else(|| PayloadError::invalid(date_field, &date, "a date like 2026.11.21"))?;
        let time = parse_time(&time).ok_or_else(|| PayloadError::invalid(time_field, &time, "a time like 08:05:04"))?;
        Ok(Some(day.to_datetime(time)))
    }
}

/// Zabbix's `YYYY.MM.DD HH:MM:SS`, as it stands in the text of an update.
pub(crate) fn parse_date_time(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once(' ')?;
    Some(parse_date(date)?.to_datetime(parse_time(time)?))
}

fn parse_date(text: &str) -> Option<Date> {
    let [year, month, day] = numbers(text, '.', [4, 2, 2])?;
    // far enough from the ends of jiff's range that no offset can leave it
    if !(1970..=2199).contains(&year) {
        return None;
    }
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn parse_time(text: &str) -> Option<Time> {
    let [hour, minute, second] = numbers(text, ':', [2, 2, 2])?;
    Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, i8::try_from(second).ok()?, 0).ok()
}

fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[i16; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The text if it says anything: trimmed, shortened, without NUL (which Postgres cannot store); nothing if it is empty,
/// `*UNKNOWN*`, or a macro's own name.
pub(crate) fn meaningful(text: &str) -> Option<String> {
    let text = without_nul(text);
    let trimmed = text.trim();
    if trimmed == "*UNKNOWN*" || is_macro(trimmed) { None } else { shown(trimmed) }
}

/// The text where no macro can be in the place of it: trimmed, shortened, without NUL; nothing if it is empty.
pub(crate) fn shown(text: &str) -> Option<String> {
    let text = without_nul(text);
    let text = text.trim();
    match text.char_indices().nth(MAX_TEXT) {
        None => (!text.is_empty()).then(|| text.to_owned()),
        Some((end, _)) => Some(format!("{}…", text[..end].trim_end())),
    }
}

pub(crate) fn without_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "").into() } else { text.into() }
}

/// `{EVENT.RECOVERY.ID}`, `{HOST.NAME2}`, `{EVENT.TAGS.any thing}`, `{$USER.MACRO}`, `{$USER:"context"}`, `{#LLD}`: a
/// macro that does not apply arrives as its own text.
fn is_macro(text: &str) -> bool {
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else { return false };
    if inner.contains(['{', '}']) {
        return false;
    }
    if inner.starts_with("EVENT.TAGS.") || inner.starts_with("EVENT.RECOVERY.TAGS.") {
        return true;
    }
    let (name, user_macro) = match inner.strip_prefix(['$', '#']) {
        Some(name) => (name.split(':').next().unwrap_or_default(), true),
        None => (inner, false),
    };
    let first = name.bytes().next();
    first.is_some_and(|b| b.is_ascii_uppercase() || (user_macro && (b.is_ascii_digit() || b == b'_' || b == b'.')))
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'.' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_macro_that_zabbix_left_unresolved_says_nothing() {
        for text in [
            "",
            "  ",
            "*UNKNOWN*",
            "{EVENT.RECOVERY.ID}",
            " {HOST.NAME2} ",
            "{$ROUTER.URL}",
            "{$LIMIT:\"/var\"}",
            "{#FSNAME}",
            "{EVENT.TAGS.some tag}",
            "\0",
            "{EVENT\0.ID}",
        ] {
            assert_eq!(meaningful(text), None, "{text:?}");
        }
        for text in ["{}", "{ok}", "{\"a\":1}", "{A} and {B}", "{HOST.NAME} is down", "{A.b}", "{$}", "UNKNOWN"] {
            assert_eq!(meaningful(text).as_deref(), Some(text));
        }
    }

    #[test]
    fn text_is_trimmed_and_bounded_at_a_character_boundary() {
        assert_eq!(meaningful("  (router-webhook)").as_deref(), Some("(router-webhook)"));
        let long = "ü".repeat(MAX_TEXT + 1);
        assert_eq!(meaningful(&long), Some("ü".repeat(MAX_TEXT) + "…"));
        assert_eq!(meaningful(&"ü".repeat(MAX_TEXT)), Some("ü".repeat(MAX_TEXT)));
    }

    #[test]
    fn only_zabbix_dates_are_dates() {
        assert_eq!(parse_date_time("2026.11.21 08:05:04"), Some(Date::constant(2026, 11, 21).at(8, 5, 4, 0)));
        for text in [
            "2026-11-21 08:05:04",
            "2026.11.21",
            "2026.13.21 08:05:04",
            "2026.11.21 24:00:00",
            "2026.11.21 08:05:04 ",
            "+026.11.21 08:05:04",
            "9999.12.31 23:59:59",
            "2026.11.21.1 08:05:04",
        ] {
            assert_eq!(parse_date_time(text), None, "{text:?}");
        }
    }
}
