//! Months of the record: made ahead, dropped behind.

use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use crate::{Database, Error, database::Work};

/// Rows in one statement that deletes: it holds its locks for well under a second.
const AT_ONCE: i64 = 10_000;

/// What was done for the record's months.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Months that are new, for example `2026-12`.
    pub made: Vec<String>,
    /// Months that are gone, with what was about problems that had ended before the oldest month that is kept.
    pub dropped: Vec<String>,
    /// Problems that an earlier version had recorded and that have their intervals now.
    pub derived: u64,
    /// Problems that are gone with their intervals.
    pub forgotten: u64,
}

impl Database {
    /// Makes the months up to two ahead of `now` (unix seconds) and drops those that are more than `keep_months` full months
    /// back; `None` keeps everything. To be called once a day; twice at once does no harm.
    ///
    /// What belongs to problems that are open, or ended within the months that are kept, stays: a course is always computed from
    /// all of its messages.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be asked now, [`Error::Failed`] where the login may not make tables; what
    /// was done until then is done.
    pub async fn keep_months(&self, now: i64, keep_months: Option<u16>) -> Result<Upkeep, Error> {
        let mut upkeep = Upkeep { made: self.run(&Make { now }).await?, ..Upkeep::default() };
        upkeep.derived = self.derive_what_is_left().await?;
        let Some(months) = keep_months.filter(|months| *months > 0) else { return Ok(upkeep) };
        let old = Old { now, months: months.into() };
        while let Some(month) = self.run(&old).await? {
            upkeep.dropped.push(month);
        }
        for statement in [FORGET, FORGET_KEPT_CHANGES] {
            loop {
                let deleted = self.run(&Forget { old, statement }).await?;
                if statement == FORGET {
                    upkeep.forgotten += deleted;
                }
                if deleted == 0 {
                    break;
                }
            }
        }
        Ok(upkeep)
    }

    /// Makes the sums of days that have been over for two days (at most 400, newest first) that are not there or were taken
    /// back, for the reports of long windows; forgets those from before the oldest month that is kept. Answers how many days it
    /// was. To be called once a day, by no deploy: code from before it may still record then, and takes nothing back.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database cannot be asked now; what was done until then is done.
    pub async fn sum_up(&self, now: i64, keep_months: Option<u16>) -> Result<u64, Error> {
        let keep = match keep_months.filter(|months| *months > 0) {
            Some(months) => Some(self.run(&Kept(Old { now, months: months.into() })).await?),
            None => None,
        };
        self.sum_days(now, keep).await
    }
}

struct Make {
    now: i64,
}

const MAKE: &str = "
SELECT to_char(month, 'YYYY-MM')
FROM generate_series(0, 2) AS ahead,
     LATERAL (SELECT (date_trunc('month', to_timestamp($1) AT TIME ZONE 'UTC') + make_interval(months => ahead))::date) AS m (month)
WHERE to_regclass('status_changes_' || to_char(month, 'YYYY_MM')) IS NULL
ORDER BY month";

const MAKE_ONE: &str = "SELECT status_changes_make(to_date($1, 'YYYY-MM'))";

impl Work for Make {
    type Output = Vec<String>;

    async fn on(&self, client: &mut Client) -> Result<Vec<String>, Error> {
        let mut made = Vec::new();
        // Asked first: making one locks what all recorders write to, if only for a moment.
        #[expect(clippy::cast_precision_loss, reason = "unix seconds")]
        let now = self.now as f64;
        for row in client.query_typed(MAKE, &[(&now, Type::FLOAT8)]).await? {
            let month: String = row.try_get(0)?;
            let rows = client.query_typed(MAKE_ONE, &[(&month, Type::TEXT)]).await?;
            if rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false) {
                made.push(month);
            }
        }
        Ok(made)
    }
}

/// The begin of the oldest month that is kept.
#[derive(Debug, Clone, Copy)]
struct Old {
    now: i64,
    months: i32,
}

/// Names sort as their months do.
const OLDEST: &str = "
SELECT relname::text, replace(right(relname::text, 7), '_', '-'), extract(epoch FROM keep)::bigint
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid,
     LATERAL (SELECT date_trunc('month', to_timestamp($1) AT TIME ZONE 'UTC') - make_interval(months => $2)) AS k (keep)
WHERE inhparent = 'status_changes'::regclass AND relname::text ~ '^status_changes_[0-9]{4}_[0-9]{2}$'
  AND relname::text < 'status_changes_' || to_char(keep, 'YYYY_MM') COLLATE \"C\"
ORDER BY relname
LIMIT 1";

const DROP: &str = "SELECT status_changes_drop($1, to_timestamp($2))";

impl Work for Old {
    type Output = Option<String>;

    async fn on(&self, client: &mut Client) -> Result<Option<String>, Error> {
        #[expect(clippy::cast_precision_loss, reason = "unix seconds")]
        let now = self.now as f64;
        let rows = client.query_typed(OLDEST, &[(&now, Type::FLOAT8), (&self.months, Type::INT4)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (part, month, keep): (String, String, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        #[expect(clippy::cast_precision_loss, reason = "unix seconds")]
        let keep = keep as f64;
        client.query_typed(DROP, &[(&part, Type::TEXT), (&keep, Type::FLOAT8)]).await?;
        Ok(Some(month))
    }
}

/// Unix seconds of the begin of the oldest month that is kept.
struct Kept(Old);

const KEPT: &str = "
SELECT extract(epoch FROM (date_trunc('month', to_timestamp($1) AT TIME ZONE 'UTC') - make_interval(months => $2)) AT TIME ZONE 'UTC')::bigint";

impl Work for Kept {
    type Output = i64;

    async fn on(&self, client: &mut Client) -> Result<i64, Error> {
        #[expect(clippy::cast_precision_loss, reason = "unix seconds")]
        let now = self.0.now as f64;
        let rows = client.query_typed(KEPT, &[(&now, Type::FLOAT8), (&self.0.months, Type::INT4)]).await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default())
    }
}

struct Forget {
    old: Old,
    statement: &'static str,
}

/// Problems that ended before the oldest month that is kept, with all that is derived of them.
const FORGET: &str = "
WITH keep AS (SELECT (date_trunc('month', to_timestamp($1) AT TIME ZONE 'UTC') - make_interval(months => $2)) AT TIME ZONE 'UTC' AS at),
     gone AS (
         DELETE FROM problems WHERE event_id = ANY (ARRAY(
             SELECT event_id FROM problems, keep WHERE state = 'resolved' AND resolved_at < keep.at
             ORDER BY resolved_at LIMIT $3 FOR UPDATE OF problems SKIP LOCKED))
         RETURNING event_id),
     times AS (DELETE FROM problem_times WHERE event_id IN (SELECT event_id FROM gone)),
     intervals AS (DELETE FROM problem_intervals WHERE event_id IN (SELECT event_id FROM gone))
SELECT count(*) FROM gone";

/// What was kept of dropped months for problems that are forgotten by now.
const FORGET_KEPT_CHANGES: &str = "
WITH keep AS (SELECT (date_trunc('month', to_timestamp($1) AT TIME ZONE 'UTC') - make_interval(months => $2)) AT TIME ZONE 'UTC' AS at),
     gone AS (
         DELETE FROM status_changes_other WHERE id = ANY (ARRAY(
             SELECT id FROM status_changes_other AS c, keep WHERE c.at < keep.at
               AND NOT EXISTS (SELECT FROM problems AS p WHERE p.event_id = c.event_id)
             ORDER BY id LIMIT $3))
         RETURNING id),
     ids AS (DELETE FROM status_change_ids WHERE id IN (SELECT id FROM gone))
SELECT count(*) FROM gone";

impl Work for Forget {
    type Output = u64;

    async fn on(&self, client: &mut Client) -> Result<u64, Error> {
        #[expect(clippy::cast_precision_loss, reason = "unix seconds")]
        let now = self.old.now as f64;
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&now, Type::FLOAT8), (&self.old.months, Type::INT4), (&AT_ONCE, Type::INT8)];
        let rows = client.query_typed(self.statement, &parameters).await?;
        let deleted: i64 = rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or_default();
        Ok(u64::try_from(deleted).unwrap_or_default())
    }
}
