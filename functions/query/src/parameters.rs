use std::collections::BTreeMap;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use signalbox_postgres::{HistoryCursor, HistoryFilter, MAX_PAGE};

use crate::refusal::Refusal;

const DEFAULT_LIMIT: u16 = 100;

/// A query string, decoded; one that is empty counts as absent.
#[derive(Debug)]
pub(crate) struct Parameters(BTreeMap<String, String>);

/// Reads a query string. It is read here and not from the event's `queryStringParameters`, where one that is there twice has
/// become one with a comma.
pub(crate) fn of(query: &str) -> Result<Parameters, Refusal> {
    let mut parameters = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).ok_or_else(|| Refusal::parameter_is(name, "is not UTF-8"))?;
        let value = decode(value).ok_or_else(|| Refusal::parameter_is(&name, "is not UTF-8"))?;
        if value.contains('\0') {
            return Err(Refusal::parameter_is(&name, "contains U+0000"));
        }
        if value.is_empty() {
            continue;
        }
        if parameters.contains_key(&name) {
            return Err(Refusal::parameter_is(&name, "is there twice"));
        }
        parameters.insert(name, value);
    }
    Ok(Parameters(parameters))
}

fn decode(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

impl Parameters {
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// What is left is nothing we know: a filter with a slip in its name must not show everything.
    pub(crate) fn none(self) -> Result<(), Refusal> {
        match self.0.into_keys().next() {
            Some(name) => Err(Refusal::parameter_is(&name, "is not a parameter of this path")),
            None => Ok(()),
        }
    }
}

/// What `/api/status/history` was asked for.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) filter: HistoryFilter,
    pub(crate) cursor: Option<HistoryCursor>,
    pub(crate) limit: u16,
}

impl History {
    pub(crate) fn from(mut parameters: Parameters) -> Result<Self, Refusal> {
        let filter = HistoryFilter {
            host: parameters.take("host"),
            group: parameters.take("group"),
            from: time(&mut parameters, "from")?,
            to: time(&mut parameters, "to")?,
        };
        let cursor = parameters.take("cursor").map(|text| {
            HistoryCursor::decode(&text).map_err(|_| Refusal::parameter_is("cursor", "is none that this API gave"))
        });
        let limit = parameters.take("limit").map(|text| {
            let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
            limit.ok_or_else(|| Refusal::parameter_is("limit", "must be a number from 1 to 500"))
        });
        parameters.none()?;
        Ok(Self { filter, cursor: cursor.transpose()?, limit: limit.transpose()?.unwrap_or(DEFAULT_LIMIT) })
    }
}

/// Unix seconds, or RFC 3339. A `+` of an offset that was not encoded has become a space on the way.
fn time(parameters: &mut Parameters, name: &'static str) -> Result<Option<i64>, Refusal> {
    let Some(text) = parameters.take(name) else { return Ok(None) };
    let seconds = text.parse::<i64>().ok().or_else(|| {
        let time: Timestamp = text.replace(' ', "+").parse().ok()?;
        Some(time.as_second())
    });
    seconds
        .map(Some)
        .ok_or_else(|| Refusal::parameter_is(name, "must be unix seconds, or a time like 2026-11-21T08:24:46Z"))
}
