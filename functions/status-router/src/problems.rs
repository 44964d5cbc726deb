use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use futures::future::join_all;
use serde::Serialize;
use serde_json::value::to_raw_value;
use signalbox_channels::{ChannelName, status_channels};
use signalbox_connections::Applied;
use signalbox_lambda::now_ms;
use signalbox_messages::{ChangeKind, StatusChanged};
use signalbox_protocol::Json;
use signalbox_publishing::Part;
use signalbox_zabbix::ProblemView;
use tracing::info;

use crate::{State, followed};

/// What viewers get: the problem as it is now, and what made it so.
#[derive(Debug, Serialize)]
struct Change<'a> {
    problem: ProblemView,
    cause: Cause<'a>,
    accepted_at_ms: i64,
}

#[derive(Debug, Serialize)]
struct Cause<'a> {
    id: &'a str,
    kind: ChangeKind,
}

/// Several changes are one publication up to this: one more must fit a message of 128 KB.
const PUBLICATION_BYTES: usize = 56 * 1024;

/// A change that is to be seen: of which message, under which key.
struct Telling {
    message: usize,
    key: String,
    data: Json,
}

/// Merges these into their problems and publishes what changed, together where they go to the same channel.
pub(crate) async fn route(state: &State, changes: &[StatusChanged]) -> Vec<anyhow::Result<()>> {
    if changes.is_empty() {
        return Vec::new();
    }
    let messages: Vec<&StatusChanged> = changes.iter().collect();
    let applied = match state.status.apply_all(&messages, now_ms() / 1000).await.context("merge") {
        Ok(applied) => applied,
        Err(cause) => return messages.iter().map(|_| Err(anyhow::anyhow!("{cause:#}"))).collect(),
    };
    let (mut done, mut again) = (Vec::new(), false);
    let (mut tellings, mut channels): (Vec<Telling>, BTreeMap<String, Vec<usize>>) = Default::default();
    for (n, (message, applied)) in changes.iter().zip(&applied).enumerate() {
        done.push(match applied {
            Err(cause) => Err(anyhow::anyhow!("merge: {cause:#}")),
            // a connector's recovery that is here before its problem: kept, and told together with it
            Ok(applied) if !applied.problem.is_described() => {
                metrics::counter!("Early").increment(1);
                Ok(())
            }
            Ok(applied) => telling(n, message, applied).map(|(telling, to)| {
                again |= !applied.changed;
                if tellings.iter().all(|other| other.key != telling.key) {
                    for channel in to {
                        channels.entry(channel).or_default().push(tellings.len());
                    }
                    tellings.push(telling);
                }
            }),
        });
    }
    let published = publish(state, &tellings, channels, again).await;
    for (n, cause) in published {
        if let Some(Telling { message, key, .. }) = tellings.get(n) {
            // whoever looks the same after their message depends on the one that tells of it
            for (other, applied) in applied.iter().enumerate() {
                if other == *message || applied.as_ref().is_ok_and(|applied| key_of(&applied.problem.view()) == *key) {
                    done[other] = Err(anyhow::anyhow!("{cause}"));
                }
            }
        }
    }
    for ((message, applied), done) in changes.iter().zip(applied).zip(&done) {
        if let (Ok(applied), Ok(())) = (applied, done) {
            tell_how_long(message, &applied);
        }
    }
    done
}

fn telling(n: usize, message: &StatusChanged, applied: &Applied) -> anyhow::Result<(Telling, Vec<String>)> {
    let problem = applied.problem.view();
    let key = key_of(&problem);
    let channels = status_channels(&problem.host.host, &problem.groups);
    let cause = Cause { id: &message.id, kind: message.kind };
    let change = Change { problem, cause, accepted_at_ms: message.accepted_at_ms };
    let data = to_raw_value(&change).context("publication")?;
    Ok((Telling { message: n, key, data }, channels))
}

fn key_of(problem: &ProblemView) -> String {
    format!("{}:{}", problem.event_id, problem.version)
}

/// The tellings that did not get through, and why.
async fn publish(
    state: &State,
    tellings: &[Telling],
    channels: BTreeMap<String, Vec<usize>>,
    again: bool,
) -> Vec<(usize, String)> {
    let wanted: BTreeSet<String> = channels.keys().cloned().collect();
    let followed = match followed(state, wanted).await {
        Ok(followed) => followed,
        Err(cause) => return (0..tellings.len()).map(|n| (n, format!("{cause:#}"))).collect(),
    };
    let channels = channels.into_iter().filter(|(channel, _)| followed.contains(channel));
    // all of them to their end, also when one fails: dropping a delivery on its way would leave its lease behind
    let published = join_all(channels.map(async |(channel, of)| {
        let mut failed = Vec::new();
        for of in together(tellings, &of) {
            if let Err(cause) = publish_to(state, &channel, tellings, of, again).await {
                let cause = format!("publish to {channel}: {cause:#}");
                failed.extend(of.iter().map(|n| (*n, cause.clone())));
            }
        }
        failed
    }));
    published.await.into_iter().flatten().collect()
}

async fn publish_to(
    state: &State,
    channel: &str,
    tellings: &[Telling],
    of: &[usize],
    again: bool,
) -> anyhow::Result<()> {
    let name = ChannelName::parse(channel.to_owned())?;
    let Some(namespace) = state.channels.namespace_of(&name) else { return Ok(()) };
    let tellings = of.iter().filter_map(|n| tellings.get(*n));
    let parts = tellings.map(|telling| Part { idempotency_key: &telling.key, data: &telling.data }).collect();
    let compose = |parts: &[Part<'_>]| {
        #[derive(Serialize)]
        struct Publication<'a> {
            changes: Vec<&'a Json>,
        }
        to_raw_value(&Publication { changes: parts.iter().map(|part| part.data).collect() })
    };
    Ok(state.publisher.publish_parts(name.as_str(), namespace, parts, again, compose).await?)
}

/// Runs of tellings that fit a publication, in their order.
fn together<'a>(tellings: &[Telling], mut of: &'a [usize]) -> Vec<&'a [usize]> {
    let bytes = |n: &usize| tellings.get(*n).map_or(0, |telling| telling.data.get().len());
    let mut runs = Vec::new();
    while !of.is_empty() {
        let mut sum = 0;
        let fits = of.iter().take_while(|n| {
            sum += bytes(n);
            sum <= PUBLICATION_BYTES
        });
        let (run, rest) = of.split_at(fits.count().max(1));
        runs.push(run);
        of = rest;
    }
    runs
}

fn tell_how_long(message: &StatusChanged, applied: &Applied) {
    let took = now_ms() - message.accepted_at_ms;
    if !applied.problem.is_described() {
        return;
    }
    if applied.changed {
        metrics::counter!("Routed").increment(1);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
        metrics::histogram!("AcceptedToPosted").record(took as f64);
    } else {
        metrics::counter!("Repeated").increment(1);
    }
    let version = applied.problem.view().version;
    info!(id = message.id, version, changed = applied.changed, took_ms = took, "routed");
}
