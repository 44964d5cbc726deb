use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use signalbox_messages::{Detail, Host, StatusChanged};
use signalbox_zabbix::{Problem, ProblemView};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::types::{Json, ToSql, Type};
use tokio_postgres::{Client, Row, Transaction};

use crate::{Database, Error, course, database::Work};

/// A call answers within this, whatever happens: the function must say which records come back before Lambda ends it
/// (`recorder` has 30 seconds).
const BUDGET: Duration = Duration::from_secs(20);

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the database; `first` is false when it already was (a repetition, which changes nothing).
    Stored {
        /// Recorded by this call.
        first: bool,
    },
    /// Not now, with the reason; nothing of it is stored.
    Retry(String),
    /// Not ever, with the reason; nothing of it is stored.
    Never(String),
}

impl Database {
    /// Records messages and what follows from them; one outcome per message, in their order.
    ///
    /// All of them in one transaction. If the database refuses the data, the batch is halved until the refused message stands
    /// alone: that one is [`Recorded::Never`], its neighbours are stored. If the database cannot be asked, what is not yet
    /// stored is [`Recorded::Retry`].
    ///
    /// Any message any number of times, in any order and from any number of recorders at once, ends in the same rows: a message
    /// id is inserted once, only an inserted message is merged into its problem, in the same transaction, and merging does not
    /// depend on the order ([`Problem`]).
    pub async fn record(&self, changes: &[StatusChanged]) -> Vec<Recorded> {
        let mut outcomes: Vec<Option<Recorded>> =
            changes.iter().map(|change| unstorable(change).map(Recorded::Never)).collect();
        let all: Vec<usize> = (0..changes.len()).filter(|&index| outcomes[index].is_none()).collect();
        let mut pending = vec![all];
        let mut down = None;
        let deadline = Instant::now() + BUDGET;
        while let Some(part) = pending.pop().filter(|part| !part.is_empty()) {
            let batch: Vec<&StatusChanged> = part.iter().map(|&index| &changes[index]).collect();
            let batch = Batch(batch);
            let stored = self.run(&batch);
            let stored = timeout_at(deadline, stored).await;
            match stored.unwrap_or_else(|_| Err(Error::Unavailable(format!("not done within {BUDGET:?}")))) {
                Ok(mut inserted) => {
                    for index in part {
                        // taken out, so that the second of two equal ids is a repetition
                        outcomes[index] = Some(Recorded::Stored { first: inserted.remove(&changes[index].id) });
                    }
                }
                Err(Error::Refused(reason)) => match part.split_at(part.len() / 2) {
                    ([], [index, ..]) => outcomes[*index] = Some(Recorded::Never(reason)),
                    (left, right) => pending.extend([right.to_vec(), left.to_vec()]),
                },
                Err(error) => {
                    down = Some(error.to_string());
                    break;
                }
            }
        }
        let reason = down.unwrap_or_default();
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Recorded::Retry(reason.clone()))).collect()
    }
}

/// What Postgres would refuse with a message that names no field. Text is never changed to make it fit: this is the record.
fn unstorable(change: &StatusChanged) -> Option<String> {
    if change.id.is_empty() || change.event_id.is_empty() {
        return Some("a message needs an id and an event_id".to_owned());
    }
    let json = serde_json::to_value(change).ok()?;
    nul_in(&json, "").map(|field| format!("{field} contains U+0000, which Postgres cannot hold"))
}

/// Path of the first text with a NUL in it, for example `detail.tags.0.value`.
fn nul_in(value: &serde_json::Value, path: &str) -> Option<String> {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        serde_json::Value::String(text) => text.contains('\0').then(|| path.to_owned()),
        serde_json::Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| nul_in(item, &at(&index.to_string())))
        }
        serde_json::Value::Object(fields) => fields.iter().find_map(|(key, field)| nul_in(field, &at(key))),
        _ => None,
    }
}

/// One transaction; answers the ids that were not there before.
///
/// Locks are taken in the same order by everybody, so two recorders wait for each other and never in a circle: message ids, new
/// problems by event id, known problems by event id (with what is derived of them), subjects by id, groups by name, hosts by id.
struct Batch<'a>(Vec<&'a StatusChanged>);

impl Work for Batch<'_> {
    type Output = HashSet<String>;

    async fn on(&self, client: &mut Client) -> Result<HashSet<String>, Error> {
        store(client.transaction().await?, &self.0).await
    }
}

async fn store(transaction: Transaction<'_>, batch: &[&StatusChanged]) -> Result<HashSet<String>, Error> {
    let inserted = insert_ids(&transaction, batch).await?;
    if !inserted.is_empty() {
        let mut seen = HashSet::new();
        let new: Vec<&StatusChanged> =
            batch.iter().copied().filter(|change| inserted.contains(&change.id) && seen.insert(&change.id)).collect();
        let problems = merge_problems(&transaction, &new).await?;
        insert_changes(&transaction, &new, &problems).await?;
        // the rows of these problems are held: nobody else's message can be missing in what is read now
        let event_ids: Vec<&str> = problems.keys().map(String::as_str).collect();
        course::derive(&transaction, &event_ids).await?;
        upsert_hosts(&transaction, &new).await?;
    }
    transaction.commit().await?;
    Ok(inserted)
}

const INSERT_IDS: &str = r#"
INSERT INTO status_change_ids (id) SELECT id FROM unnest($1::text[]) AS t (id) ORDER BY id COLLATE "C"
ON CONFLICT (id) DO NOTHING
RETURNING id"#;

async fn insert_ids(transaction: &Transaction<'_>, batch: &[&StatusChanged]) -> Result<HashSet<String>, Error> {
    let ids = column(batch, |change| change.id.as_str());
    let rows = transaction.query_typed(INSERT_IDS, &[(&ids, Type::TEXT_ARRAY)]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

const INSERT_CHANGES: &str = "
INSERT INTO status_changes
    (id, event_id, kind, problem, at, host_id, host, groups, name, severity, payload, accepted_at)
SELECT id, event_id, kind, problem, to_timestamp(at), host_id, host,
       ARRAY(SELECT jsonb_array_elements_text(groups)),
       name, severity, payload, to_timestamp(accepted_at_ms / 1000.0)
FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::bigint[], $6::text[], $7::text[], $8::jsonb[], $9::text[],
            $10::smallint[], $11::jsonb[], $12::bigint[])
     AS t (id, event_id, kind, problem, at, host_id, host, groups, name, severity, payload, accepted_at_ms)";

/// What a message does not describe is filled in from its problem, so that it is found by host and group.
async fn insert_changes(
    transaction: &Transaction<'_>,
    new: &[&StatusChanged],
    problems: &BTreeMap<String, Problem>,
) -> Result<(), Error> {
    let details = column(new, |change| match problems.get(&change.event_id) {
        Some(problem) if change.detail.name.is_empty() => {
            let ProblemView { name, severity, host, groups, .. } = problem.view();
            Detail { name, severity, host, groups, ..Detail::default() }
        }
        _ => change.detail.clone(),
    });
    let columns: [(&(dyn ToSql + Sync), Type); 12] = [
        (&column(new, |change| change.id.as_str()), Type::TEXT_ARRAY),
        (&column(new, |change| change.event_id.as_str()), Type::TEXT_ARRAY),
        (&column(new, |change| change.kind.as_str()), Type::TEXT_ARRAY),
        (&column(new, |change| change.problem), Type::BOOL_ARRAY),
        (&column(new, |change| change.at), Type::INT8_ARRAY),
        (&column(&details, |detail| detail.host.id.as_str()), Type::TEXT_ARRAY),
        (&column(&details, |detail| detail.host.host.as_str()), Type::TEXT_ARRAY),
        (&column(&details, |detail| Json(&detail.groups)), Type::JSONB_ARRAY),
        (&column(&details, |detail| detail.name.as_str()), Type::TEXT_ARRAY),
        (&column(&details, |detail| i16::from(detail.severity)), Type::INT2_ARRAY),
        (&column(new, Json), Type::JSONB_ARRAY),
        (&column(new, |change| change.accepted_at_ms), Type::INT8_ARRAY),
    ];
    transaction.execute_typed(INSERT_CHANGES, &columns).await?;
    Ok(())
}

pub(crate) fn column<'a, S, T>(rows: &'a [S], value: impl Fn(&'a S) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

const INSERT_PROBLEMS: &str = r#"
INSERT INTO problems (event_id, version, kind, state, severity, host_id, opened_at, resolved_at, body)
SELECT event_id, version, kind, state, severity, host_id, to_timestamp(opened_at), to_timestamp(resolved_at), body
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::bigint[], $8::bigint[],
            $9::jsonb[])
     AS t (event_id, version, kind, state, severity, host_id, opened_at, resolved_at, body)
ORDER BY event_id COLLATE "C"
ON CONFLICT (event_id) DO NOTHING
RETURNING event_id"#;

pub(crate) const LOCK_PROBLEMS: &str =
    "SELECT event_id, body FROM problems WHERE event_id = ANY ($1) ORDER BY event_id FOR UPDATE";

const UPDATE_PROBLEMS: &str = r"
UPDATE problems AS p
SET version = t.version, kind = t.kind, state = t.state, severity = t.severity, host_id = t.host_id,
    opened_at = to_timestamp(t.opened_at), resolved_at = to_timestamp(t.resolved_at), body = t.body, updated_at = now()
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::bigint[], $8::bigint[],
            $9::jsonb[])
     AS t (event_id, version, kind, state, severity, host_id, opened_at, resolved_at, body)
WHERE p.event_id = t.event_id";

/// Most problems are new or have their one recovery: the new ones are inserted as the batch tells them, only the known ones are
/// read, merged and written back.
///
/// Answers all of them as they are now; their rows are held until the transaction ends.
async fn merge_problems(
    transaction: &Transaction<'_>,
    new: &[&StatusChanged],
) -> Result<BTreeMap<String, Problem>, Error> {
    let mut changes_of: BTreeMap<&str, Vec<&StatusChanged>> = BTreeMap::new();
    for change in new {
        changes_of.entry(&change.event_id).or_default().push(change);
    }
    let told: Vec<Problem> = changes_of.values().filter_map(|changes| told_by(changes)).collect();
    let rows = write_problems(transaction, INSERT_PROBLEMS, &told).await?;
    let mut problems: BTreeMap<String, Problem> =
        told.into_iter().map(|problem| (problem.event_id().to_owned(), problem)).collect();
    for row in &rows {
        changes_of.remove(row.try_get::<_, &str>(0)?);
    }
    if changes_of.is_empty() {
        return Ok(problems);
    }
    let known: Vec<&str> = changes_of.keys().copied().collect();
    let rows = transaction.query_typed(LOCK_PROBLEMS, &[(&known, Type::TEXT_ARRAY)]).await?;
    let mut merged = Vec::new();
    for row in &rows {
        let Json(mut problem) = row.try_get::<_, Json<Problem>>(1)?;
        let stored = problem.revision();
        for change in changes_of.get(row.try_get::<_, &str>(0)?).into_iter().flatten() {
            problem.merge(change);
        }
        if problem.revision() > stored {
            merged.push(problem.clone());
        }
        problems.insert(problem.event_id().to_owned(), problem);
    }
    if !merged.is_empty() {
        write_problems(transaction, UPDATE_PROBLEMS, &merged).await?;
    }
    Ok(problems)
}

fn told_by(changes: &[&StatusChanged]) -> Option<Problem> {
    let (first, rest) = changes.split_first()?;
    let mut problem = Problem::first(first);
    for change in rest {
        problem.merge(change);
    }
    Some(problem)
}

async fn write_problems(
    transaction: &Transaction<'_>,
    statement: &str,
    problems: &[Problem],
) -> Result<Vec<Row>, Error> {
    let views: Vec<ProblemView> = problems.iter().map(Problem::view).collect();
    let columns: [(&(dyn ToSql + Sync), Type); 9] = [
        (&column(problems, Problem::event_id), Type::TEXT_ARRAY),
        (&column(problems, |problem| i64::try_from(problem.version()).unwrap_or(i64::MAX)), Type::INT8_ARRAY),
        (&column(&views, kind), Type::TEXT_ARRAY),
        (&column(problems, |problem| if problem.is_open() { "open" } else { "resolved" }), Type::TEXT_ARRAY),
        (&column(&views, |view| i16::from(view.severity)), Type::INT2_ARRAY),
        (&column(&views, |view| view.host.id.as_str()), Type::TEXT_ARRAY),
        (&column(&views, |view| view.opened_at), Type::INT8_ARRAY),
        (&column(problems, Problem::resolved_at), Type::INT8_ARRAY),
        (&column(problems, Json), Type::JSONB_ARRAY),
    ];
    Ok(transaction.query_typed(statement, &columns).await?)
}

fn kind(view: &ProblemView) -> &'static str {
    match view.kind {
        signalbox_zabbix::ProblemKind::Problem => "problem",
        signalbox_zabbix::ProblemKind::Internal => "internal",
    }
}

const INSERT_GROUPS: &str = r#"
INSERT INTO host_groups (name) SELECT name FROM unnest($1::text[]) AS t (name) ORDER BY name COLLATE "C"
ON CONFLICT (name) DO NOTHING"#;

const UPSERT_HOSTS: &str = r#"
INSERT INTO hosts (id, host, name, seen_at, seen_in)
SELECT id, host, name, to_timestamp(seen_at), seen_in
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[]) AS t (id, host, name, seen_at, seen_in)
ORDER BY id COLLATE "C"
ON CONFLICT (id) DO UPDATE
SET host = excluded.host, name = excluded.name, seen_at = excluded.seen_at, seen_in = excluded.seen_in
WHERE (hosts.seen_at, hosts.seen_in) < (excluded.seen_at, excluded.seen_in)
RETURNING id"#;

/// The rows of the hosts are held, so nobody else changes their memberships meanwhile.
const REPLACE_MEMBERS: &str = r"
WITH told AS (SELECT * FROM unnest($1::text[], $2::text[]) AS t (host_id, group_name)),
     gone AS (
         DELETE FROM host_group_members AS m
         WHERE m.host_id = ANY ($3)
           AND NOT EXISTS (SELECT FROM told WHERE told.host_id = m.host_id AND told.group_name = m.group_name)
     )
INSERT INTO host_group_members (host_id, group_name) SELECT host_id, group_name FROM told ON CONFLICT DO NOTHING";

/// The newest message about a host says what it is called and where it belongs; the message id decides within one second.
async fn upsert_hosts(transaction: &Transaction<'_>, new: &[&StatusChanged]) -> Result<(), Error> {
    let mut newest: BTreeMap<&str, &StatusChanged> = BTreeMap::new();
    for &change in new.iter().filter(|change| !change.detail.host.id.is_empty()) {
        let current = newest.entry(&change.detail.host.id).or_insert(change);
        if (current.at, &current.id) < (change.at, &change.id) {
            *current = change;
        }
    }
    let messages: Vec<&StatusChanged> = newest.values().copied().collect();
    let groups: Vec<&str> = messages
        .iter()
        .flat_map(|change| &change.detail.groups)
        .map(String::as_str)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    if !groups.is_empty() {
        transaction.execute_typed(INSERT_GROUPS, &[(&groups, Type::TEXT_ARRAY)]).await?;
    }
    if messages.is_empty() {
        return Ok(());
    }
    let hosts: Vec<&Host> = messages.iter().map(|change| &change.detail.host).collect();
    let columns: [(&(dyn ToSql + Sync), Type); 5] = [
        (&column(&hosts, |host| host.id.as_str()), Type::TEXT_ARRAY),
        (&column(&hosts, |host| host.host.as_str()), Type::TEXT_ARRAY),
        (&column(&hosts, |host| host.name.as_str()), Type::TEXT_ARRAY),
        (&column(&messages, |change| change.at), Type::INT8_ARRAY),
        (&column(&messages, |change| change.id.as_str()), Type::TEXT_ARRAY),
    ];
    let rows = transaction.query_typed(UPSERT_HOSTS, &columns).await?;
    let renewed = rows.iter().map(|row| Ok(row.try_get(0)?)).collect::<Result<Vec<&str>, Error>>()?;
    let (mut host_ids, mut group_names) = (Vec::new(), Vec::new());
    for id in &renewed {
        for group in newest.get(id).map(|change| change.detail.groups.as_slice()).unwrap_or_default() {
            host_ids.push(*id);
            group_names.push(group.as_str());
        }
    }
    let columns: [(&(dyn ToSql + Sync), Type); 3] =
        [(&host_ids, Type::TEXT_ARRAY), (&group_names, Type::TEXT_ARRAY), (&renewed, Type::TEXT_ARRAY)];
    transaction.execute_typed(REPLACE_MEMBERS, &columns).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_with_a_nul_is_named() {
        let value = serde_json::json!({"detail": {"name": "fine", "tags": [{"tag": "a", "value": "b\u{0}"}]}});
        assert_eq!(nul_in(&value, "").as_deref(), Some("detail.tags.0.value"));
        assert_eq!(nul_in(&serde_json::json!({"detail": "fine"}), ""), None);
    }
}
