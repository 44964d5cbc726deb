//! Availability, times to respond and timelines, from what `record` derives ([`Course`](signalbox_zabbix::Course)).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use signalbox_zabbix::{Problem, ProblemView};
use tokio_postgres::{
    Client, Row,
    types::{Json, ToSql, Type},
};

use crate::{
    CursorError, Database, Error, MAX_PAGE,
    database::Work,
    status::{TIMES, severity},
};

/// What seconds are counted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// Each host, by its technical name.
    Host,
    /// Each host group, by its full name.
    Group,
    /// Each value of this tag, for example of `service`.
    Tag(String),
}

/// Which problems, and in which time. Beyond year 9999 is nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Unix seconds, inclusive.
    pub from: i64,
    /// Unix seconds, exclusive; the caller sees to it that it is not in the future.
    pub to: i64,
    /// Problems of this severity (0–5) and above.
    pub severity: u8,
    /// Of this host (technical name) alone.
    pub host: Option<String>,
    /// Of hosts in this group (full name) alone.
    pub group: Option<String>,
}

/// Whether seconds in which a problem is suppressed, by a maintenance or by hand, count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// They do not: the usual agreement.
    Exclude,
    /// They do: what users have seen.
    Include,
}

/// How long one host, group or service had a problem. Overlapping problems count once; problems of what was not monitored do not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Availability {
    /// The host, the group, or the tag's value.
    pub key: String,
    /// Seconds of the window with at least one problem.
    pub down_seconds: i64,
    /// The others as a fraction of the window, 0 to 1.
    pub availability: f64,
}

/// How fast problems were taken and ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The host, the group, or the tag's value; absent for all of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Problems that were opened in the window.
    pub problems: i64,
    /// From their opening to the first acknowledgement; of those that were acknowledged.
    pub acknowledge: Durations,
    /// From their opening to their recovery; of those that recovered.
    pub recover: Durations,
}

/// Figures of a number of durations, seconds; absent where there are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// How many there are.
    pub count: i64,
    /// Arithmetic mean.
    pub mean_seconds: Option<f64>,
    /// Half of them took no longer; interpolated between two.
    pub median_seconds: Option<f64>,
    /// Nine of ten took no longer; interpolated between two.
    pub p90_seconds: Option<f64>,
}

/// A time in which one problem of a host did not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineInterval {
    /// The problem's event id.
    pub event_id: String,
    /// Problem name.
    pub name: String,
    /// Unix seconds; may be before the window.
    pub from: i64,
    /// Unix seconds, exclusive; absent while the problem is open and as it was last told. May be after the window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// 0 not classified … 5 disaster, as it was then.
    pub severity: u8,
    /// Suppressed by a maintenance.
    pub maintenance: bool,
    /// Suppressed by hand.
    pub suppressed: bool,
    /// Trigger, item or host disabled.
    pub unmonitored: bool,
}

/// One page of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportPage<T> {
    /// At most as many as asked for.
    pub rows: Vec<T>,
    /// Where the next page begins; absent on the last one.
    pub cursor: Option<ReportCursor>,
}

/// The place of a row in a report. It holds the window's end: a report that ends "now" must not move from page to page.
///
/// Its text form is opaque to whoever carries it around.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportCursor {
    to: i64,
    number: i64,
    text: String,
}

impl ReportCursor {
    /// End of the window of the page that gave it, unix seconds.
    pub fn to(&self) -> i64 {
        self.to
    }

    /// URL-safe text.
    pub fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("{}.{}.{}", self.to, self.number, self.text))
    }

    /// The cursor in a text that [`ReportCursor::encode`] made.
    ///
    /// # Errors
    /// [`CursorError`] for any other text.
    pub fn decode(text: &str) -> Result<Self, CursorError> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let text = String::from_utf8(bytes).map_err(|_| CursorError)?;
        let mut parts = text.splitn(3, '.');
        let (Some(to), Some(number), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CursorError);
        };
        let to = to.parse().ok().filter(|to| TIMES.contains(to)).ok_or(CursorError)?;
        let number = number.parse().map_err(|_| CursorError)?;
        if text.contains('\0') {
            return Err(CursorError);
        }
        Ok(Self { to, number, text: text.to_owned() })
    }
}

impl Database {
    /// One page of how available what `by` names was, worst first; everything that ever had a problem is there.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be asked now.
    pub async fn availability(
        &self,
        scope: &Scope,
        by: &By,
        planned: Planned,
        cursor: Option<&ReportCursor>,
        limit: u16,
    ) -> Result<ReportPage<Availability>, Error> {
        self.run(&AvailabilityOf { scope: &scope.within_times(), by, planned, cursor, limit }).await
    }

    /// One page of how fast the problems that were opened in the window were taken and ended, by key; without `by` one row for
    /// all. A problem is as severe as it ever was.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be asked now.
    pub async fn response(
        &self,
        scope: &Scope,
        by: Option<&By>,
        cursor: Option<&ReportCursor>,
        limit: u16,
    ) -> Result<ReportPage<Response>, Error> {
        self.run(&ResponseOf { scope: &scope.within_times(), by, cursor, limit }).await
    }

    /// One page of what a host's problems were like in a window, oldest first. Severity and group of the scope are not looked at;
    /// without a host there is nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be asked now.
    pub async fn timeline(
        &self,
        scope: &Scope,
        cursor: Option<&ReportCursor>,
        limit: u16,
    ) -> Result<ReportPage<TimelineInterval>, Error> {
        self.run(&TimelineOf { scope: &scope.within_times(), cursor, limit }).await
    }
}

impl Scope {
    fn within_times(&self) -> Self {
        let within = |at: i64| at.clamp(*TIMES.start(), *TIMES.end());
        Self { from: within(self.from), to: within(self.to), ..self.clone() }
    }

    fn severities(&self) -> Vec<i16> {
        (i16::from(self.severity)..=5).collect()
    }
}

/// Subjects with the key that their seconds count for: $1 is the host, $2 the group, $3 the tag.
fn subjects(by: Option<&By>) -> &'static str {
    match by {
        None => {
            "SELECT id, ''::text AS key FROM problem_subjects
             WHERE ($1::text IS NULL OR host = $1) AND ($2::text IS NULL OR groups @> ARRAY[$2]) AND $3::text IS NULL"
        }
        Some(By::Host) => {
            "SELECT id, host AS key FROM problem_subjects
             WHERE host <> '' AND ($1::text IS NULL OR host = $1) AND ($2::text IS NULL OR groups @> ARRAY[$2])
               AND $3::text IS NULL"
        }
        Some(By::Group) => {
            "SELECT id, name AS key FROM problem_subjects, unnest(groups) AS name
             WHERE ($1::text IS NULL OR host = $1) AND ($2::text IS NULL OR name = $2) AND $3::text IS NULL"
        }
        // the same value twice is one: the merge of a key's intervals does not mind, counting problems would
        Some(By::Tag(_)) => {
            r#"SELECT DISTINCT id, t.value COLLATE "C" AS key
               FROM problem_subjects, jsonb_to_recordset(tags) AS t (tag text, value text)
               WHERE ($1::text IS NULL OR host = $1) AND ($2::text IS NULL OR groups @> ARRAY[$2]) AND t.tag = $3"#
        }
    }
}

fn tag(by: Option<&By>) -> Option<&str> {
    match by {
        Some(By::Tag(tag)) => Some(tag),
        _ => None,
    }
}

/// Of each key's intervals, in the order of their begin, what no earlier one covers is added up.
///
/// A window meets the short intervals that begin in it or within a day before, and the long ones that end after its begin: two
/// indexes, each with all that is asked of an interval. Keys are numbered and the windows of all of them laid one behind the other,
/// 2³⁹ s apart (more than [`TIMES`] spans): one number is sorted in place of a text and a number, and no interval covers any of another key.
pub(crate) fn availability_statement(by: &By) -> String {
    format!(
        "
WITH subjects AS MATERIALIZED ({subjects}),
     keys AS MATERIALIZED (SELECT key, row_number() OVER () AS number FROM (SELECT DISTINCT key FROM subjects) AS keys),
     numbered AS MATERIALIZED (SELECT id, number << 39 AS place FROM subjects JOIN keys USING (key)),
     met AS (
         SELECT subject, began, ended, maintenance, suppressed, unmonitored FROM problem_intervals
         WHERE ended <= began + 86400 AND severity = ANY ($4) AND began > $5 - 86400 AND began < $6 AND ended > $5
         UNION ALL
         SELECT subject, began, ended, maintenance, suppressed, unmonitored FROM problem_intervals
         WHERE ended > began + 86400 AND severity = ANY ($4) AND ended > $5 AND began < $6
     ),
     within AS (
         SELECT place + greatest(began - $5, 0) AS began, place + least(ended, $6) - $5 AS ended
         FROM met JOIN numbered ON numbered.id = met.subject
         WHERE NOT unmonitored AND ($7 OR NOT (maintenance OR suppressed))
     ),
     ordered AS (
         SELECT began, ended, max(ended) OVER (ORDER BY began ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered
         FROM within
     ),
     down AS (
         SELECT began >> 39 AS number, sum(greatest(0, ended - greatest(began, covered)))::bigint AS seconds
         FROM ordered GROUP BY 1
     )
SELECT key, coalesce(seconds, 0) FROM keys LEFT JOIN down USING (number)
WHERE $8::bigint IS NULL OR coalesce(seconds, 0) < $8 OR (coalesce(seconds, 0) = $8 AND key > $9)
ORDER BY 2 DESC, 1
LIMIT $10",
        subjects = subjects(Some(by))
    )
}

struct AvailabilityOf<'a> {
    scope: &'a Scope,
    by: &'a By,
    planned: Planned,
    cursor: Option<&'a ReportCursor>,
    limit: u16,
}

impl Work for AvailabilityOf<'_> {
    type Output = ReportPage<Availability>;

    async fn on(&self, client: &mut Client) -> Result<Self::Output, Error> {
        let Scope { from, to, host, group, .. } = self.scope;
        let page = Page::of(self.cursor, self.limit);
        let include = self.planned == Planned::Include;
        let parameters: [(&(dyn ToSql + Sync), Type); 10] = [
            (host, Type::TEXT),
            (group, Type::TEXT),
            (&tag(Some(self.by)), Type::TEXT),
            (&self.scope.severities(), Type::INT2_ARRAY),
            (from, Type::INT8),
            (to, Type::INT8),
            (&include, Type::BOOL),
            (&page.number, Type::INT8),
            (&page.text, Type::TEXT),
            (&page.rows, Type::INT8),
        ];
        let rows = client.query_typed(&availability_statement(self.by), &parameters).await?;
        let window = to.saturating_sub(*from).max(1);
        page.of_rows(&rows, *to, |row| {
            let down_seconds: i64 = row.try_get(1)?;
            #[expect(clippy::cast_precision_loss, reason = "seconds of at most 10,000 years")]
            let availability = (window - down_seconds) as f64 / window as f64;
            let row = Availability { key: row.try_get(0)?, down_seconds, availability };
            Ok((row.down_seconds, row.key.clone(), row))
        })
    }
}

pub(crate) fn response_statement(by: Option<&By>) -> String {
    format!(
        "
WITH subjects AS MATERIALIZED ({subjects}),
     taken AS (
         SELECT key, (acknowledged - opened)::double precision AS acknowledge, (recovered - opened)::double precision AS recover
         FROM problem_times JOIN subjects ON subjects.id = subject
         WHERE severity = ANY ($4) AND opened >= $5 AND opened < $6 AND ($7::text IS NULL OR key > $7)
     )
SELECT key, count(*),
       count(acknowledge), avg(acknowledge), percentile_cont(ARRAY[0.5, 0.9]::double precision[]) WITHIN GROUP (ORDER BY acknowledge),
       count(recover), avg(recover), percentile_cont(ARRAY[0.5, 0.9]::double precision[]) WITHIN GROUP (ORDER BY recover)
FROM taken GROUP BY key ORDER BY key
LIMIT $8",
        subjects = subjects(by)
    )
}

struct ResponseOf<'a> {
    scope: &'a Scope,
    by: Option<&'a By>,
    cursor: Option<&'a ReportCursor>,
    limit: u16,
}

impl Work for ResponseOf<'_> {
    type Output = ReportPage<Response>;

    async fn on(&self, client: &mut Client) -> Result<Self::Output, Error> {
        let Scope { from, to, host, group, .. } = self.scope;
        let page = Page::of(self.cursor, self.limit);
        let parameters: [(&(dyn ToSql + Sync), Type); 8] = [
            (host, Type::TEXT),
            (group, Type::TEXT),
            (&tag(self.by), Type::TEXT),
            (&self.scope.severities(), Type::INT2_ARRAY),
            (from, Type::INT8),
            (to, Type::INT8),
            (&page.text, Type::TEXT),
            (&page.rows, Type::INT8),
        ];
        let rows = client.query_typed(&response_statement(self.by), &parameters).await?;
        let mut answer = page.of_rows(&rows, *to, |row| {
            let key: String = row.try_get(0)?;
            let response = Response {
                key: self.by.map(|_| key.clone()),
                problems: row.try_get(1)?,
                acknowledge: durations(row, 2)?,
                recover: durations(row, 5)?,
            };
            Ok((0, key, response))
        })?;
        if self.by.is_none() && answer.rows.is_empty() {
            let none = || Durations { count: 0, mean_seconds: None, median_seconds: None, p90_seconds: None };
            answer.rows.push(Response { key: None, problems: 0, acknowledge: none(), recover: none() });
        }
        Ok(answer)
    }
}

fn durations(row: &Row, first: usize) -> Result<Durations, Error> {
    let percentiles: Option<Vec<Option<f64>>> = row.try_get(first + 2)?;
    let mut percentiles = percentiles.unwrap_or_default().into_iter();
    Ok(Durations {
        count: row.try_get(first)?,
        mean_seconds: row.try_get(first + 1)?,
        median_seconds: percentiles.next().flatten(),
        p90_seconds: percentiles.next().flatten(),
    })
}

pub(crate) const TIMELINE: &str = "
SELECT i.event_id, p.body, i.began, nullif(i.ended, 9223372036854775807), i.severity, i.maintenance, i.suppressed, i.unmonitored
FROM problem_intervals AS i LEFT JOIN problems AS p USING (event_id)
WHERE i.subject = ANY (ARRAY(SELECT id FROM problem_subjects WHERE host = $1)) AND i.began < $3 AND i.ended > $2
  AND ($4::bigint IS NULL OR (i.began, i.event_id) > ($4, $5))
ORDER BY i.began, i.event_id
LIMIT $6";

struct TimelineOf<'a> {
    scope: &'a Scope,
    cursor: Option<&'a ReportCursor>,
    limit: u16,
}

impl Work for TimelineOf<'_> {
    type Output = ReportPage<TimelineInterval>;

    async fn on(&self, client: &mut Client) -> Result<Self::Output, Error> {
        let Scope { from, to, host, .. } = self.scope;
        let page = Page::of(self.cursor, self.limit);
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (host, Type::TEXT),
            (from, Type::INT8),
            (to, Type::INT8),
            (&page.number, Type::INT8),
            (&page.text, Type::TEXT),
            (&page.rows, Type::INT8),
        ];
        let rows = client.query_typed(TIMELINE, &parameters).await?;
        page.of_rows(&rows, *to, |row| {
            let problem: Option<ProblemView> = row.try_get::<_, Option<Json<Problem>>>(1)?.map(|body| body.0.view());
            let row = TimelineInterval {
                event_id: row.try_get(0)?,
                name: problem.map(|problem| problem.name).unwrap_or_default(),
                from: row.try_get(2)?,
                to: row.try_get(3)?,
                severity: severity(row.try_get(4)?),
                maintenance: row.try_get(5)?,
                suppressed: row.try_get(6)?,
                unmonitored: row.try_get(7)?,
            };
            Ok((row.from, row.event_id.clone(), row))
        })
    }
}

/// What a cursor and a limit ask for.
struct Page<'a> {
    number: Option<i64>,
    text: Option<&'a str>,
    limit: usize,
    /// One more than asked for tells whether there is a next page.
    rows: i64,
}

impl<'a> Page<'a> {
    fn of(cursor: Option<&'a ReportCursor>, limit: u16) -> Self {
        let limit = limit.clamp(1, MAX_PAGE);
        Self {
            number: cursor.map(|cursor| cursor.number),
            text: cursor.map(|cursor| cursor.text.as_str()),
            limit: limit.into(),
            rows: i64::from(limit) + 1,
        }
    }

    /// `read` gives a row's place (number and text) and the row.
    fn of_rows<T>(
        &self,
        rows: &[Row],
        to: i64,
        read: impl Fn(&Row) -> Result<(i64, String, T), Error>,
    ) -> Result<ReportPage<T>, Error> {
        let mut cursor = None;
        let mut page = Vec::new();
        for row in rows.iter().take(self.limit) {
            let (number, text, row) = read(row)?;
            cursor = Some(ReportCursor { to, number, text });
            page.push(row);
        }
        Ok(ReportPage { rows: page, cursor: cursor.filter(|_| rows.len() > self.limit) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_cursor_survives_the_way_out_and_back() {
        let cursor = ReportCursor { to: 1_795_248_000, number: -5, text: "Site A/Web.servers ü".to_owned() };
        assert_eq!(ReportCursor::decode(&cursor.encode()), Ok(cursor));
        for text in ["", "x", "MTIz", "MS4y", "eC4xLmE", "MS54LmE"] {
            assert_eq!(ReportCursor::decode(text), Err(CursorError), "{text}");
        }
    }
}
