//! What is derived of the record: how each problem went ([`Course`]), in rows that add up fast.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use signalbox_messages::StatusChanged;
use signalbox_zabbix::{Course, Subject};
use tokio_postgres::{
    Client, Row, Transaction,
    types::{Json, ToSql, Type},
};

use crate::{
    Database, Error,
    database::Work,
    record::{LOCK_PROBLEMS, column},
    rollup::{Touched, take_back},
};

/// The end of what has not ended.
const OPEN: i64 = i64::MAX;

/// Problems in one transaction of [`Database::derive_what_is_left`].
const AT_ONCE: i64 = 500;

/// All that is stored of a problem's course.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stored {
    times: Option<Times>,
    intervals: Vec<Interval>,
}

#[derive(Debug, PartialEq, Eq)]
struct Times {
    opened: i64,
    acknowledged: Option<i64>,
    recovered: Option<i64>,
    severity: i16,
    subject: i64,
}

#[derive(Debug, PartialEq, Eq)]
struct Interval {
    began: i64,
    ended: i64,
    severity: i16,
    maintenance: bool,
    suppressed: bool,
    unmonitored: bool,
    subject: i64,
}

impl Interval {
    /// All but when.
    fn like(&self) -> (i16, bool, bool, bool, i64) {
        (self.severity, self.maintenance, self.suppressed, self.unmonitored, self.subject)
    }
}

impl Stored {
    fn of(course: &Course) -> Self {
        let subject = subject_id(&course.subject);
        let intervals = course.stretches.iter().map(|stretch| Interval {
            began: stretch.began_at,
            ended: stretch.ended_at.unwrap_or(OPEN),
            severity: stretch.condition.severity.into(),
            maintenance: stretch.condition.maintenance,
            suppressed: stretch.condition.suppressed,
            unmonitored: stretch.condition.unmonitored,
            subject,
        });
        let times = Times {
            opened: course.opened_at,
            acknowledged: course.acknowledged_at,
            recovered: course.recovered_at,
            severity: course.severity.into(),
            subject,
        };
        Self { times: Some(times), intervals: intervals.collect() }
    }

    /// Adds where `new` differs: seconds for the intervals, the openings for the times.
    fn touch(&self, new: &Self, touched: &mut Touched) {
        if self.times != new.times {
            touched
                .times
                .extend([self, new].iter().filter_map(|of| of.times.as_ref()).map(|of| (of.opened, of.opened + 1)));
        }
        // up to the first that differs they are the same, and so they are from there on to where that begins
        let same = self.intervals.iter().zip(&new.intervals).take_while(|(old, new)| old == new).count();
        let of = |intervals: &[Interval]| intervals.get(same).map(|first| (first.began, first.like()));
        let (old, told) = (of(&self.intervals), of(&new.intervals));
        let from = match (old, told) {
            // only its end differs
            (Some(old), Some(told)) if old == told => self.intervals[same].ended.min(new.intervals[same].ended),
            (Some((old, _)), Some((told, _))) => old.min(told),
            (Some((began, _)), None) | (None, Some((began, _))) => began,
            (None, None) => return,
        };
        let to = [self, new].iter().filter_map(|of| of.intervals.last()).map(|last| last.ended).max();
        touched.down.extend(to.filter(|to| *to > from).map(|to| (from, to)));
    }
}

/// Of all that is stored of it, so that the same is the same everywhere and needs no sequence. Two of a million collide with a
/// probability of 3 in 100 million.
fn subject_id(subject: &Subject) -> i64 {
    let Subject { host, groups, tags } = subject;
    let mut hash = Sha256::new();
    let tags = tags.iter().flat_map(|tag| [&tag.tag, &tag.value]);
    for text in [&host.id, &host.host].into_iter().chain(groups) {
        hash.update(text);
        hash.update([0]);
    }
    hash.update([0]); // no text has a NUL in it, so a group is not taken for a tag
    for text in tags {
        hash.update(text);
        hash.update([0]);
    }
    hash.finalize().iter().take(8).fold(0, |id, byte| (id << 8) | i64::from(*byte))
}

const CHANGES: &str = "SELECT event_id, payload FROM status_changes WHERE event_id = ANY ($1)";

const INTERVALS: &str = "
SELECT event_id, began, ended, severity, maintenance, suppressed, unmonitored, subject
FROM problem_intervals WHERE event_id = ANY ($1) ORDER BY event_id, began";

const TIMES: &str = "
SELECT event_id, opened, acknowledged, recovered, severity, subject FROM problem_times WHERE event_id = ANY ($1)";

const DELETE: &str = "
WITH times AS (DELETE FROM problem_times WHERE event_id = ANY ($1))
DELETE FROM problem_intervals WHERE event_id = ANY ($1)";

const INSERT_SUBJECTS: &str = "
INSERT INTO problem_subjects (id, host_id, host, groups, tags)
SELECT id, host_id, host, ARRAY(SELECT jsonb_array_elements_text(groups)), tags
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::jsonb[], $5::jsonb[]) AS t (id, host_id, host, groups, tags)
ORDER BY id
ON CONFLICT (id) DO NOTHING";

const INSERT_INTERVALS: &str = "
INSERT INTO problem_intervals (event_id, began, ended, severity, maintenance, suppressed, unmonitored, subject)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::smallint[], $5::boolean[], $6::boolean[], $7::boolean[],
                     $8::bigint[])";

const INSERT_TIMES: &str = "
INSERT INTO problem_times (event_id, opened, acknowledged, recovered, severity, subject)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::smallint[], $6::bigint[])";

/// Brings what is derived of these problems up to their messages; the caller holds their rows. Most messages tell again what
/// another way in has told: then nothing is written.
pub(crate) async fn derive(transaction: &Transaction<'_>, event_ids: &[&str]) -> Result<(), Error> {
    let messages = messages(transaction, event_ids).await?;
    let courses: BTreeMap<&str, Course> =
        messages.iter().filter_map(|(event_id, messages)| Some((event_id.as_str(), Course::of(messages)?))).collect();
    let stored = stored(transaction, event_ids).await?;
    let mut outdated: Vec<&str> = Vec::new();
    let mut changed: Vec<(&str, &Course, Stored)> = Vec::new();
    let mut touched = Touched::default();
    for &event_id in event_ids {
        let course = courses.get(event_id);
        let told = course.map(Stored::of).unwrap_or_default();
        match stored.get(event_id) {
            Some(stored) if *stored == told => continue,
            Some(stored) => {
                stored.touch(&told, &mut touched);
                outdated.push(event_id);
            }
            None => Stored::default().touch(&told, &mut touched),
        }
        if let Some(course) = course {
            changed.push((event_id, course, told));
        }
    }
    if !outdated.is_empty() {
        transaction.execute_typed(DELETE, &[(&outdated, Type::TEXT_ARRAY)]).await?;
    }
    if !changed.is_empty() {
        insert(transaction, &changed).await?;
    }
    take_back(transaction, &touched).await
}

async fn messages(
    transaction: &Transaction<'_>,
    event_ids: &[&str],
) -> Result<BTreeMap<String, Vec<StatusChanged>>, Error> {
    let mut messages: BTreeMap<String, Vec<StatusChanged>> = BTreeMap::new();
    for row in transaction.query_typed(CHANGES, &[(&event_ids, Type::TEXT_ARRAY)]).await? {
        let Json(message) = row.try_get(1)?;
        messages.entry(row.try_get(0)?).or_default().push(message);
    }
    Ok(messages)
}

async fn stored(transaction: &Transaction<'_>, event_ids: &[&str]) -> Result<BTreeMap<String, Stored>, Error> {
    let mut stored: BTreeMap<String, Stored> = BTreeMap::new();
    for row in transaction.query_typed(INTERVALS, &[(&event_ids, Type::TEXT_ARRAY)]).await? {
        stored.entry(row.try_get(0)?).or_default().intervals.push(interval(&row)?);
    }
    for row in transaction.query_typed(TIMES, &[(&event_ids, Type::TEXT_ARRAY)]).await? {
        stored.entry(row.try_get(0)?).or_default().times = Some(Times {
            opened: row.try_get(1)?,
            acknowledged: row.try_get(2)?,
            recovered: row.try_get(3)?,
            severity: row.try_get(4)?,
            subject: row.try_get(5)?,
        });
    }
    Ok(stored)
}

fn interval(row: &Row) -> Result<Interval, Error> {
    Ok(Interval {
        began: row.try_get(1)?,
        ended: row.try_get(2)?,
        severity: row.try_get(3)?,
        maintenance: row.try_get(4)?,
        suppressed: row.try_get(5)?,
        unmonitored: row.try_get(6)?,
        subject: row.try_get(7)?,
    })
}

async fn insert(transaction: &Transaction<'_>, changed: &[(&str, &Course, Stored)]) -> Result<(), Error> {
    let subjects: BTreeMap<i64, &Subject> =
        changed.iter().map(|(_, course, _)| (subject_id(&course.subject), &course.subject)).collect();
    let subjects: Vec<(i64, &Subject)> = subjects.into_iter().collect();
    let columns: [(&(dyn ToSql + Sync), Type); 5] = [
        (&column(&subjects, |(id, _)| *id), Type::INT8_ARRAY),
        (&column(&subjects, |(_, subject)| subject.host.id.as_str()), Type::TEXT_ARRAY),
        (&column(&subjects, |(_, subject)| subject.host.host.as_str()), Type::TEXT_ARRAY),
        (&column(&subjects, |(_, subject)| Json(&subject.groups)), Type::JSONB_ARRAY),
        (&column(&subjects, |(_, subject)| Json(&subject.tags)), Type::JSONB_ARRAY),
    ];
    transaction.execute_typed(INSERT_SUBJECTS, &columns).await?;
    let intervals: Vec<(&str, &Interval)> = changed
        .iter()
        .flat_map(|(event_id, _, told)| told.intervals.iter().map(move |interval| (*event_id, interval)))
        .collect();
    let columns: [(&(dyn ToSql + Sync), Type); 8] = [
        (&column(&intervals, |(event_id, _)| *event_id), Type::TEXT_ARRAY),
        (&column(&intervals, |(_, interval)| interval.began), Type::INT8_ARRAY),
        (&column(&intervals, |(_, interval)| interval.ended), Type::INT8_ARRAY),
        (&column(&intervals, |(_, interval)| interval.severity), Type::INT2_ARRAY),
        (&column(&intervals, |(_, interval)| interval.maintenance), Type::BOOL_ARRAY),
        (&column(&intervals, |(_, interval)| interval.suppressed), Type::BOOL_ARRAY),
        (&column(&intervals, |(_, interval)| interval.unmonitored), Type::BOOL_ARRAY),
        (&column(&intervals, |(_, interval)| interval.subject), Type::INT8_ARRAY),
    ];
    transaction.execute_typed(INSERT_INTERVALS, &columns).await?;
    let times: Vec<(&str, &Times)> =
        changed.iter().filter_map(|(event_id, _, told)| Some((*event_id, told.times.as_ref()?))).collect();
    let columns: [(&(dyn ToSql + Sync), Type); 6] = [
        (&column(&times, |(event_id, _)| *event_id), Type::TEXT_ARRAY),
        (&column(&times, |(_, times)| times.opened), Type::INT8_ARRAY),
        (&column(&times, |(_, times)| times.acknowledged), Type::INT8_ARRAY),
        (&column(&times, |(_, times)| times.recovered), Type::INT8_ARRAY),
        (&column(&times, |(_, times)| times.severity), Type::INT2_ARRAY),
        (&column(&times, |(_, times)| times.subject), Type::INT8_ARRAY),
    ];
    transaction.execute_typed(INSERT_TIMES, &columns).await?;
    Ok(())
}

impl Database {
    /// Derives the courses of problems that an earlier version has recorded, and answers how many there were.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be asked now; what was derived until then is kept.
    pub(crate) async fn derive_what_is_left(&self) -> Result<u64, Error> {
        let mut derived = 0;
        loop {
            match self.run(&Backlog).await? {
                0 => return Ok(derived),
                some => derived += some,
            }
        }
    }
}

struct Backlog;

/// Another that is at it takes others.
const TAKE: &str = "
DELETE FROM problems_to_derive
WHERE event_id = ANY (ARRAY(SELECT event_id FROM problems_to_derive ORDER BY event_id LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING event_id";

impl Work for Backlog {
    type Output = u64;

    async fn on(&self, client: &mut Client) -> Result<u64, Error> {
        let transaction = client.transaction().await?;
        let rows = transaction.query_typed(TAKE, &[(&AT_ONCE, Type::INT8)]).await?;
        let event_ids = rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<Vec<&str>, Error>>()?;
        if !event_ids.is_empty() {
            transaction.query_typed(LOCK_PROBLEMS, &[(&event_ids, Type::TEXT_ARRAY)]).await?;
            derive(&transaction, &event_ids).await?;
        }
        transaction.commit().await?;
        Ok(u64::try_from(rows.len()).unwrap_or_default())
    }
}
