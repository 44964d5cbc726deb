use std::{collections::BTreeMap, ops::RangeInclusive};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use signalbox_messages::Host;
use signalbox_zabbix::{Problem, ProblemKind, ProblemView};
use tokio_postgres::{
    Client, Row,
    types::{Json, ToSql, Type},
};

use crate::{Database, Error, database::Work};

/// Most events on one page of the history.
pub const MAX_PAGE: u16 = 500;

/// Most problems in one answer: Lambda's response limit is 6 MB, a problem takes about 700 bytes.
const MAX_PROBLEMS: i64 = 5_000;

/// Years 1 to 9999: what RFC 3339 can write, and well within what Postgres can hold.
pub(crate) const TIMES: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The open problems, as of the last recorded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenProblems {
    /// Worst first, then newest first; at most 5,000.
    pub problems: Vec<ProblemView>,
    /// How many there are in all, by severity 0–5. Internal ones ("cannot be evaluated") are no problems and not counted.
    pub by_severity: BTreeMap<u8, u64>,
    /// How many internal ones there are in all.
    pub internal: u64,
}

/// Which events of the history; what is absent does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// The host's technical name.
    pub host: Option<String>,
    /// A host group's full name, for example `Site A/Web servers`.
    pub group: Option<String>,
    /// Unix seconds, inclusive.
    pub from: Option<i64>,
    /// Unix seconds, exclusive.
    pub to: Option<i64>,
}

/// The place of an event in the history: what comes after it is the next page.
///
/// Its text form is opaque to whoever carries it around.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryCursor {
    at: i64,
    id: String,
}

/// A cursor that [`HistoryCursor::encode`] did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this API")]
pub struct CursorError;

impl HistoryCursor {
    /// URL-safe text.
    pub fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{}.{}", self.at, self.id))
    }

    /// The cursor in a text that [`HistoryCursor::encode`] made.
    ///
    /// # Errors
    /// [`CursorError`] for any other text.
    pub fn decode(text: &str) -> Result<Self, CursorError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let text = String::from_utf8(bytes).map_err(|_| CursorError)?;
        let (at, id) = text.split_once('.').ok_or(CursorError)?;
        let at = at.parse().ok().filter(|at| TIMES.contains(at)).ok_or(CursorError)?;
        if id.is_empty() || id.contains('\0') {
            return Err(CursorError);
        }
        Ok(Self { at, id: id.to_owned() })
    }
}

/// One message as the history shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// Message id.
    pub id: String,
    /// The problem's event id.
    pub event_id: String,
    /// `problem`, `update`, `recovery`, `internal` or `observed`.
    pub kind: String,
    /// Whether the problem was there at that moment.
    pub problem: bool,
    /// When it became true, unix seconds.
    pub at: i64,
    /// Problem name.
    pub name: String,
    /// 0 not classified … 5 disaster.
    pub severity: u8,
    /// The host.
    pub host: Host,
    /// Host groups.
    pub groups: Vec<String>,
    /// Event tags, `[{tag, value}]`.
    pub tags: Value,
    /// What somebody did, `{at, action, message?, user?}`; updates only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Value>,
    /// How it ended, `{at, event_id}`; where Zabbix named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Value>,
    /// What a poll found, `{maintenance?, unmonitored?, unknown?, cause?, gone?}`; observations only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Value>,
    /// Operational data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opdata: Option<String>,
    /// When it was recorded, unix seconds.
    pub recorded_at: i64,
}

/// One page, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// At most as many as asked for.
    pub events: Vec<HistoryEvent>,
    /// Where the next page begins; absent on the last one.
    pub cursor: Option<HistoryCursor>,
}

const STATUS: &str =
    "SELECT body FROM problems WHERE state = 'open' ORDER BY severity DESC, opened_at DESC, event_id DESC LIMIT $1";

const TOTALS: &str = "SELECT kind, severity, count(*) FROM problems WHERE state = 'open' GROUP BY kind, severity";

/// An unnamed statement is planned with its parameters' values, so an absent filter costs nothing and a present one has its index.
/// Payload fields come as JSON: an old event's shape must not stand in the way of a page.
///
/// One change can have been told by several ways in (webhook, connector, poller): of its messages the one is shown that was recorded
/// first among those that describe it. That one stays, so pages do not change while others come.
pub(crate) const HISTORY: &str = "
SELECT id, event_id, kind, problem, extract(epoch FROM at)::bigint, name, severity, host_id, host,
       coalesce(nullif(payload #>> '{detail,host,name}', ''), host), groups, coalesce(payload #> '{detail,tags}', '[]'), payload -> 'update',
       payload -> 'recovery', payload #>> '{detail,opdata}', extract(epoch FROM recorded_at)::bigint, payload -> 'observed'
FROM status_changes AS c
WHERE ($1::text IS NULL OR host = $1)
  AND ($2::text IS NULL OR groups @> ARRAY[$2])
  AND ($3::bigint IS NULL OR at >= to_timestamp($3))
  AND ($4::bigint IS NULL OR at < to_timestamp($4))
  AND ($5::bigint IS NULL OR (at, id) < (to_timestamp($5), $6))
  AND NOT EXISTS (
      SELECT FROM status_changes AS better
      WHERE better.event_id = c.event_id AND better.fact = c.fact
        AND (better.name = '', better.recorded_at, better.id) < (c.name = '', c.recorded_at, c.id))
ORDER BY at DESC, id DESC
LIMIT $7";

impl Database {
    /// The problems that are open now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be asked now.
    pub async fn status(&self) -> Result<OpenProblems, Error> {
        self.run(&Status).await
    }

    /// One page of what happened, newest first, from after `cursor`; `limit` is held between 1 and [`MAX_PAGE`].
    ///
    /// Following the cursors shows every event that was there at the first page exactly once, whatever is recorded meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be asked now.
    pub async fn history(
        &self,
        filter: &HistoryFilter,
        cursor: Option<&HistoryCursor>,
        limit: u16,
    ) -> Result<HistoryPage, Error> {
        self.run(&History { filter, cursor, limit: limit.clamp(1, MAX_PAGE) }).await
    }
}

struct Status;

impl Work for Status {
    type Output = OpenProblems;

    async fn on(&self, client: &mut Client) -> Result<OpenProblems, Error> {
        let rows = client.query_typed(STATUS, &[(&MAX_PROBLEMS, Type::INT8)]).await?;
        let problems: Vec<ProblemView> =
            rows.iter().map(|row| Ok(row.try_get::<_, Json<Problem>>(0)?.0.view())).collect::<Result<_, Error>>()?;
        let mut open =
            OpenProblems { problems, by_severity: (0..=5).map(|severity| (severity, 0)).collect(), internal: 0 };
        // Counted from what was read where that is all: totals and list then agree.
        if rows.len() < usize::try_from(MAX_PROBLEMS).unwrap_or_default() {
            for ProblemView { kind, severity, .. } in &open.problems {
                match kind {
                    ProblemKind::Problem => *open.by_severity.entry(*severity).or_default() += 1,
                    ProblemKind::Internal => open.internal += 1,
                }
            }
            return Ok(open);
        }
        for row in client.query_typed(TOTALS, &[]).await? {
            let count = u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or_default();
            if row.try_get::<_, &str>(0)? == "problem" {
                *open.by_severity.entry(severity(row.try_get(1)?)).or_default() += count;
            } else {
                open.internal += count;
            }
        }
        Ok(open)
    }
}

struct History<'a> {
    filter: &'a HistoryFilter,
    cursor: Option<&'a HistoryCursor>,
    limit: u16,
}

impl Work for History<'_> {
    type Output = HistoryPage;

    async fn on(&self, client: &mut Client) -> Result<HistoryPage, Error> {
        let HistoryFilter { host, group, from, to } = self.filter;
        let storable = |at: &Option<i64>| at.map(|at| at.clamp(*TIMES.start(), *TIMES.end()));
        let (from, to) = (storable(from), storable(to));
        let (after_at, after_id) = (self.cursor.map(|cursor| cursor.at), self.cursor.map(|cursor| cursor.id.as_str()));
        // One more than asked for tells whether there is a next page.
        let limit = usize::from(self.limit);
        let rows = i64::from(self.limit) + 1;
        let parameters: [(&(dyn ToSql + Sync), Type); 7] = [
            (host, Type::TEXT),
            (group, Type::TEXT),
            (&from, Type::INT8),
            (&to, Type::INT8),
            (&after_at, Type::INT8),
            (&after_id, Type::TEXT),
            (&rows, Type::INT8),
        ];
        let rows = client.query_typed(HISTORY, &parameters).await?;
        let events = rows.iter().take(limit).map(event).collect::<Result<Vec<_>, _>>()?;
        let last = events.last().filter(|_| rows.len() > limit);
        let cursor = last.map(|last| HistoryCursor { at: last.at, id: last.id.clone() });
        Ok(HistoryPage { events, cursor })
    }
}

fn event(row: &Row) -> Result<HistoryEvent, Error> {
    Ok(HistoryEvent {
        id: row.try_get(0)?,
        event_id: row.try_get(1)?,
        kind: row.try_get(2)?,
        problem: row.try_get(3)?,
        at: row.try_get(4)?,
        name: row.try_get(5)?,
        severity: severity(row.try_get(6)?),
        host: Host {
            id: row.try_get(7)?,
            host: row.try_get(8)?,
            name: row.try_get::<_, Option<String>>(9)?.unwrap_or_default(),
        },
        groups: row.try_get(10)?,
        tags: row.try_get(11)?,
        update: row.try_get(12)?,
        recovery: row.try_get(13)?,
        opdata: row.try_get(14)?,
        recorded_at: row.try_get(15)?,
        observed: row.try_get(16)?,
    })
}

pub(crate) fn severity(stored: i16) -> u8 {
    u8::try_from(stored).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_the_way_out_and_back() {
        let cursor = HistoryCursor { at: -5, id: "12345.problem.ü".to_owned() };
        assert_eq!(HistoryCursor::decode(&cursor.encode()), Ok(cursor));
    }

    #[test]
    fn what_is_not_a_cursor_is_refused() {
        for text in ["", "x", "äöü", "MTIz", "OTk5OTk5OTk5OTk5OTk5OTk5LmE", "AAAA", "MS4A"] {
            assert_eq!(HistoryCursor::decode(text), Err(CursorError), "{text}");
        }
    }
}
