//! Availability, times to respond and timelines, from what `record` derives ([`Course`](signalbox_zabbix::Course)).

use std::collections::BTreeMap;

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
    durations::DurationCounts,
    rollup::{ALL, DAY, GROUPS, HOSTS, Parts, Sums, parts, series_of_tag},
    status::{TIMES, severity},
};

/// A parameter of a statement, with its type.
type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Percentiles of windows that are longer come from histograms.
const EXACT: i64 = 8 * DAY;

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

/// Figures of a number of durations, seconds; absent where there are none. In windows of more than 8 days median and p90 are
/// within 1 % (of hosts they are exact in any).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// How many there are.
    pub count: i64,
    /// Arithmetic mean.
    pub mean_seconds: Option<f64>,
    /// Half of them took no longer; interpolated between two where exact.
    pub median_seconds: Option<f64>,
    /// Nine of ten took no longer; interpolated between two where exact.
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
    /// all. Everything that ever had a problem is there. A problem is as severe as it ever was.
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
        // a host's seconds are its own, also those in which it was not in the group
        Some(By::Host) => {
            "SELECT id, host AS key FROM problem_subjects
             WHERE host <> '' AND ($1::text IS NULL OR host = $1)
               AND ($2::text IS NULL OR host IN (SELECT host FROM problem_subjects WHERE groups @> ARRAY[$2]))
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

/// The series of sums that tells of what is asked for; none where what is asked for is a part of each sum. Then it is little (of one
/// host), or counted as it is.
fn summed_series(scope: &Scope, by: Option<&By>) -> Option<String> {
    match by {
        Some(By::Host) => Some(HOSTS.to_owned()),
        _ if scope.host.is_some() => None,
        None => Some(if scope.group.is_some() { GROUPS } else { ALL }.to_owned()),
        Some(By::Group) => Some(GROUPS.to_owned()),
        Some(By::Tag(tag)) => scope.group.is_none().then(|| series_of_tag(tag)),
    }
}

/// Only problems of some hosts are asked for, and no sums of theirs are there: an index by subject finds them.
fn of_some(scope: &Scope, by: Option<&By>) -> bool {
    scope.host.is_some() || (scope.group.is_some() && summed_series(scope, by).is_none())
}

/// Sums of days that are over, and of the rest of the window: of each key's intervals, in the order of their begin, what no earlier
/// one covers.
///
/// A window meets the short intervals that begin in it or within a day before, and the long ones that end after its begin: two
/// indexes, each with all that is asked of an interval. The short ones of some hosts an index by subject finds. Keys are numbered and
/// the times of all of them laid one behind the other, 2³⁹ s apart (more than [`TIMES`] spans): one number is sorted in place of a
/// text and a number, and no interval covers any of another key.
pub(crate) fn availability_statement(scope: &Scope, by: &By, planned: Planned) -> String {
    let of_subjects = if of_some(scope, Some(by)) { "subject = ANY (ARRAY(SELECT id FROM subjects)) AND" } else { "" };
    let seconds = match planned {
        Planned::Exclude => format!("unplanned_{}", scope.severity.min(5)),
        Planned::Include => format!("down_{}", scope.severity.min(5)),
    };
    format!(
        "
WITH subjects AS MATERIALIZED ({subjects}),
     keys AS MATERIALIZED (SELECT key, row_number() OVER () AS number FROM (SELECT DISTINCT key FROM subjects) AS keys),
     numbered AS MATERIALIZED (SELECT id, number << 39 AS place FROM subjects JOIN keys USING (key)),
     within AS (
         SELECT place + greatest(began, s.begins) AS began, place + least(ended, s.ends) AS ended
         FROM unnest($5::bigint[], $6::bigint[]) AS s (begins, ends) CROSS JOIN LATERAL (
                  SELECT subject, began, ended, maintenance, suppressed, unmonitored FROM problem_intervals
                  WHERE {of_subjects} ended <= began + 86400 AND severity = ANY ($4)
                    AND began > s.begins - 86400 AND began < s.ends AND ended > s.begins
                  UNION ALL
                  SELECT subject, began, ended, maintenance, suppressed, unmonitored FROM problem_intervals
                  WHERE ended > began + 86400 AND severity = ANY ($4) AND ended > s.begins AND began < s.ends
              ) AS met
         JOIN numbered ON numbered.id = met.subject
         WHERE NOT unmonitored AND ($7 OR NOT (maintenance OR suppressed))
     ),
     ordered AS (
         SELECT began, ended, max(ended) OVER (ORDER BY began ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered
         FROM within
     ),
     counted AS (
         SELECT began >> 39 AS number, sum(greatest(0, ended - greatest(began, covered)))::bigint AS seconds
         FROM ordered GROUP BY 1
     ),
     sums AS (
         SELECT key AS id, sum(seconds)::bigint AS seconds
         FROM (SELECT key, {seconds} AS seconds FROM rollup_down WHERE span = 32 AND day = ANY ($11::integer[]) AND series = $13
               UNION ALL
               SELECT key, {seconds} FROM rollup_down WHERE span = 1 AND day = ANY ($12::integer[]) AND series = $13) AS spans
         WHERE seconds > 0
         GROUP BY key
     ),
     summed AS (SELECT k.key, s.seconds FROM sums AS s JOIN rollup_keys AS k ON k.id = s.id WHERE k.series = $13),
     down AS (
         SELECT key, coalesce(counted.seconds, 0) + coalesce(summed.seconds, 0) AS seconds
         FROM keys LEFT JOIN counted USING (number) LEFT JOIN summed USING (key)
     )
SELECT key, seconds FROM down
WHERE $8::bigint IS NULL OR seconds < $8 OR (seconds = $8 AND key > $9)
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
        let series = summed_series(self.scope, Some(self.by));
        let parts = match series {
            Some(_) => parts(client, Sums::Down, *from, *to).await?,
            None => Parts::counted(*from, *to),
        };
        let parameters: [(&(dyn ToSql + Sync), Type); 13] = [
            (host, Type::TEXT),
            (group, Type::TEXT),
            (&tag(Some(self.by)), Type::TEXT),
            (&self.scope.severities(), Type::INT2_ARRAY),
            (&parts.from, Type::INT8_ARRAY),
            (&parts.to, Type::INT8_ARRAY),
            (&include, Type::BOOL),
            (&page.number, Type::INT8),
            (&page.text, Type::TEXT),
            (&page.rows, Type::INT8),
            (&parts.long, Type::INT4_ARRAY),
            (&parts.days, Type::INT4_ARRAY),
            (&series, Type::TEXT),
        ];
        let statement = availability_statement(self.scope, self.by, self.planned);
        let rows = client.query_typed(&statement, &parameters).await?;
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

/// The keys of one page, and what is counted for each.
fn page_of_keys(by: Option<&By>) -> String {
    format!(
        "WITH all_subjects AS MATERIALIZED ({subjects}),
     page AS MATERIALIZED (
         SELECT DISTINCT key FROM all_subjects WHERE $4::text IS NULL OR key > $4 ORDER BY key LIMIT $5),
     subjects AS MATERIALIZED (SELECT id, key FROM all_subjects JOIN page USING (key))",
        subjects = subjects(by)
    )
}

/// Of a page of hosts an index by what is counted finds the problems, of all others the one by time.
pub(crate) fn response_statement(scope: &Scope, by: Option<&By>) -> String {
    let few = if of_some(scope, by) || by == Some(&By::Host) {
        "subject = ANY (ARRAY(SELECT id FROM subjects)) AND"
    } else {
        ""
    };
    format!(
        "
{page},
     taken AS (
         SELECT key, (acknowledged - opened)::double precision AS acknowledge, (recovered - opened)::double precision AS recover
         FROM problem_times JOIN subjects ON subjects.id = subject
         WHERE {few} severity = ANY ($6) AND opened >= $7 AND opened < $8
     ),
     figures AS (
         SELECT key, count(*) AS problems,
                count(acknowledge) AS acknowledged, avg(acknowledge) AS acknowledge,
                percentile_cont(ARRAY[0.5, 0.9]::double precision[]) WITHIN GROUP (ORDER BY acknowledge) AS acknowledge_percentiles,
                count(recover) AS recovered, avg(recover) AS recover,
                percentile_cont(ARRAY[0.5, 0.9]::double precision[]) WITHIN GROUP (ORDER BY recover) AS recover_percentiles
         FROM taken GROUP BY key
     )
SELECT key, coalesce(problems, 0), coalesce(acknowledged, 0), acknowledge, acknowledge_percentiles,
       coalesce(recovered, 0), recover, recover_percentiles
FROM page LEFT JOIN figures USING (key) ORDER BY key",
        page = page_of_keys(by)
    )
}

/// What is not summed up, problem by problem.
pub(crate) fn response_counted_statement(by: Option<&By>) -> String {
    format!(
        "
{page}
SELECT key, acknowledged - opened, recovered - opened, true
FROM unnest($7::bigint[], $8::bigint[]) AS s (begins, ends)
     JOIN problem_times ON severity = ANY ($6) AND opened >= begins AND opened < ends
     JOIN subjects ON subjects.id = subject
UNION ALL
SELECT key, NULL, NULL, false FROM page",
        page = page_of_keys(by)
    )
}

/// Histograms of the keys `$4`.
pub(crate) const RESPONSE_SUMMED: &str = "
SELECT k.key, problems, acknowledge_sum, acknowledge_seconds, acknowledge_counts, recover_sum, recover_seconds, recover_counts
FROM (SELECT * FROM rollup_times WHERE span = 32 AND day = ANY ($1) AND series = $3 AND severity = $5
      UNION ALL
      SELECT * FROM rollup_times WHERE span = 1 AND day = ANY ($2) AND series = $3 AND severity = $5) AS t
     JOIN rollup_keys AS k ON k.id = t.key
WHERE k.series = $3 AND k.key = ANY ($4)";

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
        let (tag, severities) = (tag(self.by), self.scope.severities());
        let asked: [Parameter<'_>; 6] = [
            (host, Type::TEXT),
            (group, Type::TEXT),
            (&tag, Type::TEXT),
            (&page.text, Type::TEXT),
            (&page.rows, Type::INT8),
            (&severities, Type::INT2_ARRAY),
        ];
        if let Some(series) = summed_series(self.scope, self.by).filter(|series| series != HOSTS && to - from > EXACT) {
            return self.summed(client, &page, &asked, &series).await;
        }
        let window: [Parameter<'_>; 2] = [(from, Type::INT8), (to, Type::INT8)];
        let parameters = [&asked[..], &window].concat();
        let rows = client.query_typed(&response_statement(self.scope, self.by), &parameters).await?;
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
        self.all_if_none(&mut answer);
        Ok(answer)
    }
}

#[derive(Default)]
struct Tally {
    problems: i64,
    acknowledge: DurationCounts,
    recover: DurationCounts,
}

impl ResponseOf<'_> {
    /// Of days that are over from their histograms, of the rest problem by problem.
    async fn summed(
        &self,
        client: &Client,
        page: &Page<'_>,
        asked: &[Parameter<'_>],
        series: &str,
    ) -> Result<ReportPage<Response>, Error> {
        let Scope { from, to, group, severity, .. } = self.scope;
        let parts = parts(client, Sums::Times, *from, *to).await?;
        let rest: [Parameter<'_>; 2] = [(&parts.from, Type::INT8_ARRAY), (&parts.to, Type::INT8_ARRAY)];
        let parameters = [asked, &rest].concat();
        let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
        for row in client.query_typed(&response_counted_statement(self.by), &parameters).await? {
            let tally = tallies.entry(row.try_get(0)?).or_default();
            let (acknowledge, recover): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
            let counted: bool = row.try_get(3)?;
            tally.problems += i64::from(counted);
            tally.acknowledge.extend(acknowledge);
            tally.recover.extend(recover);
        }
        // of all problems together the page has the empty key, the sums have it or the group
        let whole = self.by.is_none().then(|| group.clone().unwrap_or_default());
        let keys: Vec<&str> = match &whole {
            Some(key) => vec![key],
            None => tallies.keys().map(String::as_str).collect(),
        };
        let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
            (&parts.long, Type::INT4_ARRAY),
            (&parts.days, Type::INT4_ARRAY),
            (&series, Type::TEXT),
            (&keys, Type::TEXT_ARRAY),
            (&i16::from(*severity), Type::INT2),
        ];
        for row in client.query_typed(RESPONSE_SUMMED, &parameters).await? {
            let key: &str = if whole.is_some() { "" } else { row.try_get(0)? };
            let Some(tally) = tallies.get_mut(key) else { continue };
            let problems: i64 = row.try_get(1)?;
            tally.problems += problems;
            for (counts, first) in [(&mut tally.acknowledge, 2), (&mut tally.recover, 5)] {
                let (seconds, numbers): (Vec<i64>, Vec<i64>) = (row.try_get(first + 1)?, row.try_get(first + 2)?);
                counts.add_parts(row.try_get(first)?, &seconds, &numbers);
            }
        }
        let mut answer = page.of_items(tallies.into_iter(), *to, |(key, tally)| {
            let response = Response {
                key: self.by.map(|_| key.clone()),
                problems: tally.problems,
                acknowledge: tally.acknowledge.figures(),
                recover: tally.recover.figures(),
            };
            Ok((0, key, response))
        })?;
        self.all_if_none(&mut answer);
        Ok(answer)
    }

    /// All problems together have their row also where there are none.
    fn all_if_none(&self, answer: &mut ReportPage<Response>) {
        if self.by.is_none() && answer.rows.is_empty() {
            let none = || Durations { count: 0, mean_seconds: None, median_seconds: None, p90_seconds: None };
            answer.rows.push(Response { key: None, problems: 0, acknowledge: none(), recover: none() });
        }
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
        self.of_items(rows.iter(), to, read)
    }

    /// The same of what is no row of the database.
    fn of_items<I, T>(
        &self,
        items: impl ExactSizeIterator<Item = I>,
        to: i64,
        read: impl Fn(I) -> Result<(i64, String, T), Error>,
    ) -> Result<ReportPage<T>, Error> {
        let more = items.len() > self.limit;
        let mut cursor = None;
        let mut page = Vec::new();
        for item in items.take(self.limit) {
            let (number, text, row) = read(item)?;
            cursor = Some(ReportCursor { to, number, text });
            page.push(row);
        }
        Ok(ReportPage { rows: page, cursor: cursor.filter(|_| more) })
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
