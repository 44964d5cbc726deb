use std::collections::BTreeMap;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use signalbox_postgres::{By, HistoryCursor, HistoryFilter, MAX_PAGE, Planned, ReportCursor, Scope};

use crate::refusal::Refusal;

const DEFAULT_LIMIT: u16 = 100;

/// Seconds: 30 days.
const DEFAULT_WINDOW: i64 = 30 * 86_400;

/// Severity from which a problem counts as an outage.
const HIGH: u8 = 4;

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
        let limit = limit(&mut parameters)?;
        parameters.none()?;
        Ok(Self { filter, cursor: cursor.transpose()?, limit })
    }
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
}

/// Which report; the names of all parameters are the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReportKind {
    Availability,
    Response,
    Timeline,
}

/// What a report was asked for.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) scope: Scope,
    pub(crate) by: Option<By>,
    pub(crate) planned: Option<Planned>,
    pub(crate) cursor: Option<ReportCursor>,
    pub(crate) limit: u16,
    pub(crate) format: Format,
}

impl Report {
    /// `now` is unix seconds: nothing is counted after it. `accepts_csv` holds where no `format` says otherwise.
    pub(crate) fn from(
        mut parameters: Parameters,
        kind: ReportKind,
        now: i64,
        accepts_csv: bool,
    ) -> Result<Self, Refusal> {
        let cursor = parameters.take("cursor").map(|text| {
            ReportCursor::decode(&text).map_err(|_| Refusal::parameter_is("cursor", "is none that this API gave"))
        });
        let cursor = cursor.transpose()?;
        let to = time(&mut parameters, "to")?.or_else(|| cursor.as_ref().map(ReportCursor::to));
        let to = to.unwrap_or(now).min(now);
        let from = time(&mut parameters, "from")?.unwrap_or_else(|| to.saturating_sub(DEFAULT_WINDOW));
        if from >= to {
            return Err(Refusal::parameter_is("from", "must be before to, and in the past"));
        }
        let mut scope = Scope { from, to, severity: 0, host: parameters.take("host"), group: None };
        let (mut by, mut planned) = (None, None);
        if kind != ReportKind::Timeline {
            scope.group = parameters.take("group");
            scope.severity = severity(&mut parameters)?;
            by = key(&mut parameters)?;
        }
        if kind == ReportKind::Availability {
            planned = match parameters.take("maintenance").as_deref() {
                None => None,
                Some("exclude") => Some(Planned::Exclude),
                Some("include") => Some(Planned::Include),
                Some(_) => return Err(Refusal::parameter_is("maintenance", "must be exclude or include")),
            };
        }
        let format = match parameters.take("format").as_deref() {
            None if accepts_csv => Format::Csv,
            None | Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            Some(_) => return Err(Refusal::parameter_is("format", "must be json or csv")),
        };
        let limit = limit(&mut parameters)?;
        parameters.none()?;
        Ok(Self { scope, by, planned, cursor, limit, format })
    }
}

fn limit(parameters: &mut Parameters) -> Result<u16, Refusal> {
    let Some(text) = parameters.take("limit") else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
    limit.ok_or_else(|| Refusal::parameter_is("limit", "must be a number from 1 to 500"))
}

fn severity(parameters: &mut Parameters) -> Result<u8, Refusal> {
    let Some(text) = parameters.take("severity") else { return Ok(HIGH) };
    let severity = text.parse().ok().filter(|severity| (0..=5).contains(severity));
    severity.ok_or_else(|| Refusal::parameter_is("severity", "must be a number from 0 to 5"))
}

fn key(parameters: &mut Parameters) -> Result<Option<By>, Refusal> {
    let tag = parameters.take("tag");
    match (parameters.take("by").as_deref(), tag) {
        (None, None) => Ok(None),
        (Some("host"), None) => Ok(Some(By::Host)),
        (Some("group"), None) => Ok(Some(By::Group)),
        (Some("tag"), Some(tag)) => Ok(Some(By::Tag(tag))),
        (Some("tag"), None) => Err(Refusal::parameter_is("tag", "is needed with by=tag")),
        (Some("host" | "group") | None, Some(_)) => Err(Refusal::parameter_is("tag", "is for by=tag")),
        (Some(_), _) => Err(Refusal::parameter_is("by", "must be host, group or tag")),
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
