//! Sums of days that are over: made once a day, taken back when a message changes what they were made of, read by the reports.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use signalbox_messages::Tag;
use tokio_postgres::{
    Client, Row, Transaction,
    types::{Json, ToSql, Type},
};

use crate::{Database, Error, database::Work, durations::DurationCounts, record::column};

/// Seconds of a day.
pub(crate) const DAY: i64 = 86_400;

/// Days of a long span.
const LONG: i32 = 32;

/// Days of one call: 80 s on a busy machine at 5 million events a year (each commits by itself).
const AT_ONCE: i64 = 400;

/// Older days are left to be counted as they are: times far off are mistakes.
const OLDEST: i64 = 1_200;

/// What hosts are counted in.
pub(crate) const HOSTS: &str = "host";
/// What host groups are counted in.
pub(crate) const GROUPS: &str = "group";
/// What all problems together are counted in, under the empty key.
pub(crate) const ALL: &str = "all";

/// What the values of a tag are counted in.
pub(crate) fn series_of_tag(tag: &str) -> String {
    format!("tag {tag}")
}

/// Days since 1970-01-01 UTC; what is before is that day, what is beyond 45,000 years is then.
fn day_of(at: i64) -> i32 {
    i32::try_from(at.div_euclid(DAY).clamp(0, 1 << 24)).unwrap_or(i32::MAX)
}

/// Which of the two sums.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sums {
    /// Seconds with a problem.
    Down,
    /// Times to respond.
    Times,
}

/// A window, cut into what is summed up and the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// First days of long spans.
    pub(crate) long: Vec<i32>,
    /// Single days.
    pub(crate) days: Vec<i32>,
    /// Begins of the rest, unix seconds.
    pub(crate) from: Vec<i64>,
    /// Ends of the rest, exclusive.
    pub(crate) to: Vec<i64>,
}

impl Parts {
    /// All of it is to be counted.
    pub(crate) fn counted(from: i64, to: i64) -> Self {
        Self { from: vec![from], to: vec![to], ..Self::default() }
    }

    /// `spans` are `(days, first day)`; those that reach out of the window are left out, as are days of a long one that is used.
    fn of(from: i64, to: i64, spans: &[(i16, i32)]) -> Self {
        let mut parts = Self::default();
        let mut covered: BTreeMap<i32, i32> = BTreeMap::new();
        let within = |day: i32, days: i32| i64::from(day) * DAY >= from && i64::from(day + days) * DAY <= to;
        for &(_, day) in spans.iter().filter(|(days, day)| i32::from(*days) == LONG && within(*day, LONG)) {
            covered.insert(day, day + LONG);
            parts.long.push(day);
        }
        for &(_, day) in spans.iter().filter(|(days, day)| *days == 1 && within(*day, 1)) {
            if covered.range(..=day).next_back().is_none_or(|(_, end)| *end <= day) {
                covered.insert(day, day + 1);
                parts.days.push(day);
            }
        }
        let mut begin = from;
        for (day, end) in covered {
            let (day, end) = (i64::from(day) * DAY, i64::from(end) * DAY);
            if begin < day {
                parts.from.push(begin);
                parts.to.push(day);
            }
            begin = end;
        }
        if begin < to {
            parts.from.push(begin);
            parts.to.push(to);
        }
        parts
    }
}

impl Sums {
    fn spans(self) -> &'static str {
        match self {
            Self::Down => "SELECT span, day FROM rollup_spans WHERE down AND day >= $1 AND day <= $2 ORDER BY day",
            Self::Times => "SELECT span, day FROM rollup_spans WHERE times AND day >= $1 AND day <= $2 ORDER BY day",
        }
    }
}

/// What of a window is summed up.
pub(crate) async fn parts(client: &Client, sums: Sums, from: i64, to: i64) -> Result<Parts, Error> {
    let (first, last) = (day_of(from), day_of(to));
    let rows = client.query_typed(sums.spans(), &[(&first, Type::INT4), (&last, Type::INT4)]).await?;
    let spans = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<Vec<_>, Error>>()?;
    Ok(Parts::of(from, to, &spans))
}

/// Where what is derived has changed: unix seconds, the end exclusive.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) down: Vec<(i64, i64)>,
    pub(crate) times: Vec<(i64, i64)>,
}

/// Also where no row is touched it waits for sums that are just being made (they lock the table), and these see what this
/// transaction has changed or are taken back by it.
const TAKE_BACK: &str = "
WITH ranges AS (SELECT * FROM unnest($1::boolean[], $2::integer[], $3::integer[]) AS r (is_down, first, last)),
     found AS (
         SELECT s.span, s.day FROM rollup_spans AS s
         WHERE s.day > (SELECT min(first) FROM ranges) - 32 AND (s.down OR s.times)
           AND EXISTS (SELECT FROM ranges AS r WHERE s.day <= r.last AND s.day + s.span > r.first)
         ORDER BY s.span, s.day FOR UPDATE)
UPDATE rollup_spans AS s
SET down = s.down AND NOT EXISTS (SELECT FROM ranges AS r WHERE r.is_down AND s.day <= r.last AND s.day + s.span > r.first),
    times = s.times AND NOT EXISTS (SELECT FROM ranges AS r WHERE NOT r.is_down AND s.day <= r.last AND s.day + s.span > r.first)
FROM found WHERE s.span = found.span AND s.day = found.day";

pub(crate) async fn take_back(transaction: &Transaction<'_>, touched: &Touched) -> Result<(), Error> {
    let ranges: BTreeSet<(bool, i32, i32)> = [(true, &touched.down), (false, &touched.times)]
        .into_iter()
        .flat_map(|(is_down, ranges)| {
            ranges.iter().map(move |(from, to)| (is_down, day_of(*from), day_of(to.saturating_sub(1))))
        })
        .collect();
    let ranges: Vec<_> = ranges.into_iter().collect();
    if ranges.is_empty() {
        return Ok(());
    }
    let columns: [(&(dyn ToSql + Sync), Type); 3] = [
        (&column(&ranges, |(is_down, ..)| *is_down), Type::BOOL_ARRAY),
        (&column(&ranges, |(_, first, _)| *first), Type::INT4_ARRAY),
        (&column(&ranges, |(.., last)| *last), Type::INT4_ARRAY),
    ];
    transaction.execute_typed(TAKE_BACK, &columns).await?;
    Ok(())
}

impl Database {
    /// Sums up days that have been over for two days at least and are not summed up yet, newest first, at most 400 of them, and
    /// forgets sums from before `keep` (unix seconds); answers how many days it was.
    pub(crate) async fn sum_days(&self, now: i64, keep: Option<i64>) -> Result<u64, Error> {
        let mut days = 0;
        for day in self.run(&DaysToSum { now, keep }).await? {
            self.run(&SumDay(day)).await?;
            days += 1;
        }
        for first in self.run(&LongToSum).await? {
            self.run(&SumLong(first)).await?;
        }
        Ok(days)
    }
}

struct DaysToSum {
    now: i64,
    keep: Option<i64>,
}

const FORGET: &str = "
WITH spans AS (DELETE FROM rollup_spans WHERE day + span <= $1),
     down AS (DELETE FROM rollup_down WHERE day + span <= $1)
DELETE FROM rollup_times WHERE day + span <= $1";

const FIRST: &str = "
SELECT min(first) FROM unnest('{0,1,2,3,4,5}'::smallint[]) AS s (severity),
       LATERAL (SELECT opened FROM problem_times AS t WHERE t.severity = s.severity AND opened >= $1 ORDER BY opened LIMIT 1) AS f (first)";

const DAYS: &str = "
SELECT day FROM generate_series($1::integer, $2::integer) AS day
WHERE NOT EXISTS (SELECT FROM rollup_spans AS s WHERE s.span = 1 AND s.day = day.day AND s.down AND s.times)
ORDER BY day DESC LIMIT $3";

impl Work for DaysToSum {
    type Output = Vec<i32>;

    async fn on(&self, client: &mut Client) -> Result<Vec<i32>, Error> {
        let keep = self.keep.map(day_of);
        if let Some(keep) = keep {
            client.execute_typed(FORGET, &[(&keep, Type::INT4)]).await?;
        }
        let oldest = self.now - OLDEST * DAY;
        let rows = client.query_typed(FIRST, &[(&oldest, Type::INT8)]).await?;
        let Some(first) = rows.first().map(|row| row.try_get::<_, Option<i64>>(0)).transpose()?.flatten() else {
            return Ok(Vec::new());
        };
        let first = day_of(first).max(keep.unwrap_or_default());
        let last = day_of(self.now) - 3;
        let columns: [(&(dyn ToSql + Sync), Type); 3] =
            [(&first, Type::INT4), (&last, Type::INT4), (&AT_ONCE, Type::INT8)];
        client.query_typed(DAYS, &columns).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

/// Nobody else sums up meanwhile, and who has changed what is summed up has either committed or takes it back after this.
const LOCK: &str = "LOCK TABLE rollup_spans IN SHARE ROW EXCLUSIVE MODE";

const CLEAR: &str = "
WITH down AS (DELETE FROM rollup_down WHERE span = $1 AND day = $2)
DELETE FROM rollup_times WHERE span = $1 AND day = $2";

const SUMMED: &str = "
INSERT INTO rollup_spans (span, day, down, times) VALUES ($1, $2, true, true)
ON CONFLICT (span, day) DO UPDATE SET down = true, times = true";

async fn begin(client: &mut Client, span: i16, day: i32) -> Result<Transaction<'_>, Error> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(LOCK).await?;
    transaction.execute_typed(CLEAR, &[(&span, Type::INT2), (&day, Type::INT4)]).await?;
    Ok(transaction)
}

async fn summed(transaction: Transaction<'_>, span: i16, day: i32) -> Result<(), Error> {
    transaction.execute_typed(SUMMED, &[(&span, Type::INT2), (&day, Type::INT4)]).await?;
    Ok(transaction.commit().await?)
}

struct SumDay(i32);

/// A part of a problem that lies within the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    began: i64,
    ended: i64,
    severity: i16,
    planned: bool,
}

/// Seconds by least severity: all, and outside of planned times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seconds {
    down: [i32; 6],
    unplanned: [i32; 6],
}

impl Seconds {
    /// `stretches` in the order of their begin; overlapping ones count once.
    fn of(stretches: &[Stretch]) -> Self {
        let mut seconds = Self::default();
        for (severity, least) in (0_i16..).zip(0..6) {
            let severe = || stretches.iter().filter(move |stretch| stretch.severity >= severity);
            seconds.down[least] = covered(severe());
            seconds.unplanned[least] = covered(severe().filter(|stretch| !stretch.planned));
        }
        seconds
    }
}

fn covered<'a>(stretches: impl Iterator<Item = &'a Stretch>) -> i32 {
    let (mut end, mut seconds) = (i64::MIN, 0);
    for stretch in stretches {
        seconds += (stretch.ended - stretch.began.max(end)).max(0);
        end = end.max(stretch.ended);
    }
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// As [`crate::availability`] meets them.
const STRETCHES: &str = "
SELECT subject, greatest(began, $1), least(ended, $2), severity, maintenance OR suppressed FROM problem_intervals
WHERE ended <= began + 86400 AND severity = ANY ('{0,1,2,3,4,5}') AND began > $1 - 86400 AND began < $2 AND ended > $1 AND NOT unmonitored
UNION ALL
SELECT subject, greatest(began, $1), least(ended, $2), severity, maintenance OR suppressed FROM problem_intervals
WHERE ended > began + 86400 AND severity = ANY ('{0,1,2,3,4,5}') AND ended > $1 AND began < $2 AND NOT unmonitored";

const OPENED: &str = "
SELECT subject, severity, acknowledged - opened, recovered - opened FROM problem_times
WHERE severity = ANY ('{0,1,2,3,4,5}') AND opened >= $1 AND opened < $2";

const SUBJECTS: &str = "SELECT id, host, groups, tags FROM problem_subjects WHERE id = ANY ($1)";

/// A series and a key of it.
type Counted = (String, String);

/// What each subject is counted for.
async fn counted_for(transaction: &Transaction<'_>, ids: &[i64]) -> Result<HashMap<i64, Vec<Counted>>, Error> {
    let rows = transaction.query_typed(SUBJECTS, &[(&ids, Type::INT8_ARRAY)]).await?;
    let of_row = |row: &Row| {
        let (host, groups, Json(tags)): (String, Vec<String>, Json<Vec<Tag>>) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let host = (!host.is_empty()).then(|| (HOSTS.to_owned(), host));
        let groups = groups.into_iter().map(|group| (GROUPS.to_owned(), group));
        let tags = tags.into_iter().map(|tag| (series_of_tag(&tag.tag), tag.value));
        let keys: BTreeSet<Counted> =
            host.into_iter().chain(groups).chain(tags).chain([(ALL.to_owned(), String::new())]).collect();
        Ok((row.try_get(0)?, keys.into_iter().collect()))
    };
    rows.iter().map(of_row).collect()
}

/// Times to respond of one key, from one severity on.
#[derive(Default)]
struct TimesOf {
    problems: i64,
    acknowledge: DurationCounts,
    recover: DurationCounts,
}

impl Work for SumDay {
    type Output = ();

    async fn on(&self, client: &mut Client) -> Result<(), Error> {
        let day = self.0;
        let transaction = begin(client, 1, day).await?;
        let (from, to) = (i64::from(day) * DAY, i64::from(day + 1) * DAY);
        let window: [(&(dyn ToSql + Sync), Type); 2] = [(&from, Type::INT8), (&to, Type::INT8)];
        let stretches = transaction.query_typed(STRETCHES, &window).await?;
        let opened = transaction.query_typed(OPENED, &window).await?;
        let ids: BTreeSet<i64> = stretches.iter().chain(&opened).map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let ids: Vec<i64> = ids.into_iter().collect();
        let counted_for = counted_for(&transaction, &ids).await?;

        let mut down: BTreeMap<&Counted, Vec<Stretch>> = BTreeMap::new();
        for row in &stretches {
            let stretch = Stretch {
                began: row.try_get(1)?,
                ended: row.try_get(2)?,
                severity: row.try_get(3)?,
                planned: row.try_get(4)?,
            };
            let counted = counted_for.get(&row.try_get(0)?).into_iter().flatten();
            for counted in counted.filter(|(series, _)| series != ALL) {
                down.entry(counted).or_default().push(stretch);
            }
        }
        let mut times: BTreeMap<(&Counted, i16), TimesOf> = BTreeMap::new();
        for row in &opened {
            let severity: i16 = row.try_get(1)?;
            let (acknowledge, recover): (Option<i64>, Option<i64>) = (row.try_get(2)?, row.try_get(3)?);
            let counted = counted_for.get(&row.try_get(0)?).into_iter().flatten();
            for counted in counted.filter(|(series, _)| series != HOSTS) {
                for least in 0..=severity {
                    let of = times.entry((counted, least)).or_default();
                    of.problems += 1;
                    of.acknowledge.extend(acknowledge);
                    of.recover.extend(recover);
                }
            }
        }

        let counted: BTreeSet<&Counted> = down.keys().copied().chain(times.keys().map(|(key, _)| *key)).collect();
        let numbers = numbers(&transaction, &counted).await?;
        let down = down.into_iter().map(|(key, mut stretches)| {
            stretches.sort_unstable();
            (key, Seconds::of(&stretches))
        });
        insert_down(&transaction, day, &down.collect::<Vec<_>>(), &numbers).await?;
        insert_times(&transaction, day, &times.into_iter().collect::<Vec<_>>(), &numbers).await?;
        summed(transaction, 1, day).await
    }
}

/// No sequence: who sums up is alone.
const NUMBERS: &str = r#"
WITH told AS (SELECT * FROM unnest($1::text[], $2::text[]) AS t (series, key)),
     known AS (SELECT k.id, k.series, k.key FROM rollup_keys AS k JOIN told ON told.series = k.series AND told.key = k.key),
     new AS (
         INSERT INTO rollup_keys (id, series, key)
         SELECT (SELECT coalesce(max(id), 0) FROM rollup_keys) + row_number() OVER (ORDER BY series COLLATE "C", key COLLATE "C"), series, key
         FROM told WHERE NOT EXISTS (SELECT FROM known WHERE known.series = told.series AND known.key = told.key)
         RETURNING id, series, key)
SELECT id, series, key FROM known UNION ALL SELECT id, series, key FROM new"#;

async fn numbers(transaction: &Transaction<'_>, counted: &BTreeSet<&Counted>) -> Result<HashMap<Counted, i32>, Error> {
    let counted: Vec<&&Counted> = counted.iter().collect();
    let columns: [(&(dyn ToSql + Sync), Type); 2] = [
        (&column(&counted, |(series, _)| series.as_str()), Type::TEXT_ARRAY),
        (&column(&counted, |(_, key)| key.as_str()), Type::TEXT_ARRAY),
    ];
    let rows = transaction.query_typed(NUMBERS, &columns).await?;
    rows.iter().map(|row| Ok(((row.try_get(1)?, row.try_get(2)?), row.try_get(0)?))).collect()
}

const INSERT_DOWN: &str = "
INSERT INTO rollup_down (span, day, series, key, down_0, down_1, down_2, down_3, down_4, down_5,
                         unplanned_0, unplanned_1, unplanned_2, unplanned_3, unplanned_4, unplanned_5)
SELECT 1, $1, * FROM unnest($2::text[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[], $8::integer[],
                            $9::integer[], $10::integer[], $11::integer[], $12::integer[], $13::integer[], $14::integer[], $15::integer[])";

async fn insert_down(
    transaction: &Transaction<'_>,
    day: i32,
    rows: &[(&Counted, Seconds)],
    numbers: &HashMap<Counted, i32>,
) -> Result<(), Error> {
    let series = column(rows, |((series, _), _)| series.as_str());
    let keys = column(rows, |(counted, _)| numbers.get(*counted).copied());
    let seconds: Vec<Vec<i32>> = (0..6)
        .map(|least| column(rows, |(_, seconds)| seconds.down[least]))
        .chain((0..6).map(|least| column(rows, |(_, seconds)| seconds.unplanned[least])))
        .collect();
    let mut columns: Vec<(&(dyn ToSql + Sync), Type)> =
        vec![(&day, Type::INT4), (&series, Type::TEXT_ARRAY), (&keys, Type::INT4_ARRAY)];
    columns.extend(seconds.iter().map(|seconds| (seconds as &(dyn ToSql + Sync), Type::INT4_ARRAY)));
    transaction.execute_typed(INSERT_DOWN, &columns).await?;
    Ok(())
}

/// Postgres has no arrays of arrays of different lengths: they come as text.
const INSERT_TIMES: &str = "
INSERT INTO rollup_times (span, day, series, key, severity, problems, acknowledge_sum, acknowledge_seconds, acknowledge_counts,
                          recover_sum, recover_seconds, recover_counts)
SELECT 1, $1, series, key, severity, problems, acknowledge_sum, acknowledge_seconds::bigint[], acknowledge_counts::bigint[],
       recover_sum, recover_seconds::bigint[], recover_counts::bigint[]
FROM unnest($2::text[], $3::integer[], $4::smallint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::bigint[], $10::text[],
            $11::text[])
     AS t (series, key, severity, problems, acknowledge_sum, acknowledge_seconds, acknowledge_counts, recover_sum, recover_seconds,
           recover_counts)";

async fn insert_times(
    transaction: &Transaction<'_>,
    day: i32,
    rows: &[((&Counted, i16), TimesOf)],
    numbers: &HashMap<Counted, i32>,
) -> Result<(), Error> {
    let text = |numbers: &[i64]| {
        let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
        format!("{{{}}}", numbers.join(","))
    };
    let acknowledge = column(rows, |(_, of)| of.acknowledge.parts());
    let recover = column(rows, |(_, of)| of.recover.parts());
    let columns: [(&(dyn ToSql + Sync), Type); 11] = [
        (&day, Type::INT4),
        (&column(rows, |(((series, _), _), _)| series.as_str()), Type::TEXT_ARRAY),
        (&column(rows, |((counted, _), _)| numbers.get(*counted).copied()), Type::INT4_ARRAY),
        (&column(rows, |((_, severity), _)| *severity), Type::INT2_ARRAY),
        (&column(rows, |(_, of)| of.problems), Type::INT8_ARRAY),
        (&column(&acknowledge, |(sum, ..)| *sum), Type::INT8_ARRAY),
        (&column(&acknowledge, |(_, seconds, _)| text(seconds)), Type::TEXT_ARRAY),
        (&column(&acknowledge, |(.., counts)| text(counts)), Type::TEXT_ARRAY),
        (&column(&recover, |(sum, ..)| *sum), Type::INT8_ARRAY),
        (&column(&recover, |(_, seconds, _)| text(seconds)), Type::TEXT_ARRAY),
        (&column(&recover, |(.., counts)| text(counts)), Type::TEXT_ARRAY),
    ];
    transaction.execute_typed(INSERT_TIMES, &columns).await?;
    Ok(())
}

/// Long spans of which every day is summed up, and which are not themselves.
struct LongToSum;

const LONG_SPANS: &str = "
SELECT day / 32 * 32 AS first FROM rollup_spans WHERE span = 1 AND down AND times
GROUP BY 1 HAVING count(*) = 32
EXCEPT SELECT day FROM rollup_spans WHERE span = 32 AND down AND times
ORDER BY first DESC";

impl Work for LongToSum {
    type Output = Vec<i32>;

    async fn on(&self, client: &mut Client) -> Result<Vec<i32>, Error> {
        client.query_typed(LONG_SPANS, &[]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}

struct SumLong(i32);

const ALL_SUMMED: &str =
    "SELECT count(*) FROM rollup_spans WHERE span = 1 AND day >= $1 AND day < $1 + 32 AND down AND times";

const SUM_DOWN: &str = "
INSERT INTO rollup_down (span, day, series, key, down_0, down_1, down_2, down_3, down_4, down_5,
                         unplanned_0, unplanned_1, unplanned_2, unplanned_3, unplanned_4, unplanned_5)
SELECT 32, $1, series, key, sum(down_0), sum(down_1), sum(down_2), sum(down_3), sum(down_4), sum(down_5),
       sum(unplanned_0), sum(unplanned_1), sum(unplanned_2), sum(unplanned_3), sum(unplanned_4), sum(unplanned_5)
FROM rollup_down WHERE span = 1 AND day >= $1 AND day < $1 + 32 GROUP BY series, key ORDER BY series, key";

const SUM_TIMES: &str = "
WITH days AS (SELECT * FROM rollup_times WHERE span = 1 AND day >= $1 AND day < $1 + 32),
     sums AS (
         SELECT series, key, severity, sum(problems) AS problems, sum(acknowledge_sum) AS acknowledge_sum, sum(recover_sum) AS recover_sum
         FROM days GROUP BY series, key, severity),
     acknowledged AS (
         SELECT series, key, severity, array_agg(seconds ORDER BY seconds) AS seconds, array_agg(counted ORDER BY seconds) AS counts
         FROM (SELECT series, key, severity, seconds, sum(count)::bigint AS counted
               FROM days, unnest(acknowledge_seconds, acknowledge_counts) AS h (seconds, count) GROUP BY 1, 2, 3, 4) AS h
         GROUP BY series, key, severity),
     recovered AS (
         SELECT series, key, severity, array_agg(seconds ORDER BY seconds) AS seconds, array_agg(counted ORDER BY seconds) AS counts
         FROM (SELECT series, key, severity, seconds, sum(count)::bigint AS counted
               FROM days, unnest(recover_seconds, recover_counts) AS h (seconds, count) GROUP BY 1, 2, 3, 4) AS h
         GROUP BY series, key, severity)
INSERT INTO rollup_times (span, day, series, key, severity, problems, acknowledge_sum, acknowledge_seconds, acknowledge_counts,
                          recover_sum, recover_seconds, recover_counts)
SELECT 32, $1, series, key, severity, problems, acknowledge_sum, coalesce(a.seconds, '{}'), coalesce(a.counts, '{}'),
       recover_sum, coalesce(r.seconds, '{}'), coalesce(r.counts, '{}')
FROM sums LEFT JOIN acknowledged AS a USING (series, key, severity) LEFT JOIN recovered AS r USING (series, key, severity)
ORDER BY series, severity, key";

impl Work for SumLong {
    type Output = ();

    async fn on(&self, client: &mut Client) -> Result<(), Error> {
        let span = i16::try_from(LONG).unwrap_or(i16::MAX);
        let transaction = begin(client, span, self.0).await?;
        let first: [(&(dyn ToSql + Sync), Type); 1] = [(&self.0, Type::INT4)];
        let days: i64 = transaction.query_typed(ALL_SUMMED, &first).await?[0].try_get(0)?;
        if days == i64::from(LONG) {
            transaction.execute_typed(SUM_DOWN, &first).await?;
            transaction.execute_typed(SUM_TIMES, &first).await?;
            return summed(transaction, span, self.0).await;
        }
        // a day was taken back meanwhile: the next call does it
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_parts_of_a_window_cover_each_second_of_it_once(
            from in 0..10_000_000_i64,
            length in 1..20_000_000_i64,
            days in prop::collection::btree_set(0..350_i32, 0..350),
            long in prop::collection::btree_set(0..11_i32, 0..11),
        ) {
            let to = from + length;
            let spans: Vec<(i16, i32)> =
                days.iter().map(|day| (1, *day)).chain(long.iter().map(|span| (32, span * LONG))).collect();
            let parts = Parts::of(from, to, &spans);
            let seconds = |day: &i32, days: i32| (i64::from(*day) * DAY, i64::from(day + days) * DAY);
            let mut covered: Vec<(i64, i64)> = parts.long.iter().map(|day| seconds(day, LONG)).collect();
            covered.extend(parts.days.iter().map(|day| seconds(day, 1)));
            covered.extend(parts.from.iter().copied().zip(parts.to.iter().copied()));
            covered.sort_unstable();
            let mut at = from;
            for (begin, end) in covered {
                prop_assert_eq!(begin, at);
                at = end;
            }
            prop_assert_eq!(at, to);
            for day in days {
                let (begin, end) = seconds(&day, 1);
                let counted = parts.from.iter().zip(&parts.to).any(|(f, t)| *f < end && begin < *t);
                prop_assert!(!counted || begin < from || end > to, "day {day} is summed up and counted");
            }
        }
    }
}
