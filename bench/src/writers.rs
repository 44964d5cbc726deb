//! Publications per second into one channel from 32 writers, each of which waits for its own: ours, in order and complete, and
//! a plain loop of `PutItem` and posts that promises neither.

use std::{cell::Cell, time::Duration};

use anyhow::{bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use signalbox_lambda::env;
use signalbox_publishing::Frame;

use crate::{
    anchors::UnorderedLog,
    child::{Child, answer},
    database::Database,
    functions::{Channel, Environment, Options, payload, subscribers},
    meter::{float, median, say},
    posts::all,
    sink::Sink,
};

const WRITERS: usize = 32;
const SUBSCRIBERS: usize = 10;

/// Answer times of DynamoDB and of `@connections`: none, so that the CPU of this machine is the limit, and as within a region.
const DELAYS: [(&str, Duration, Duration); 2] = [
    ("no delay", Duration::ZERO, Duration::ZERO),
    ("DynamoDB 5 ms, posts 10 ms", Duration::from_millis(5), Duration::from_millis(10)),
];

pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let count: usize = arguments.first().map_or(Ok(2_000), |count| count.parse())?;
    let rounds = 3;
    say(&format!("{WRITERS} writers, {SUBSCRIBERS} subscribers, {count} publications a run, median of {rounds}\n"));
    say(
        "| | in order, ours: publications a second | unordered anchor | ours / anchor | publications a frame, ours |\n|---|---|---|---|---|",
    );
    for (name, request, post) in DELAYS {
        let (mut ours, mut anchor, mut batch) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            for kind in ["ordered", "unordered"] {
                let (sink, database) = (Sink::start().await?, Database::start().await?);
                let environment = Environment::new(database.proxied(), sink.endpoint())?;
                subscribers(&environment, &sink, (0, SUBSCRIBERS), "stream:w", false).await?;
                database.delay(request).await?;
                sink.delay(post).await?;
                let arguments = ["writers", kind, &count.to_string(), &WRITERS.to_string(), &SUBSCRIBERS.to_string()];
                let began = Child::start(&arguments, &environment.variables())?.answer().await?.as_u64().unwrap_or(0);
                let wanted = (count * SUBSCRIBERS) as u64;
                let arrived = sink.wait_for(wanted).await?;
                ensure!(arrived.publications == wanted, "{kind}: {} of {wanted} arrived", arrived.publications);
                let per_second = float(count as u64) / (float(arrived.last_us - began) / 1e6);
                if kind == "ordered" {
                    arrived.is_complete_and_in_order(count as u64, SUBSCRIBERS as u64)?;
                    ours.push(per_second);
                    batch.push(float(count as u64) / float(arrived.frames_median));
                } else {
                    anchor.push(per_second);
                }
            }
        }
        let (ours, anchor, batch) = (median(&ours), median(&anchor), median(&batch));
        say(&format!("| {name} | {ours:.0} | {anchor:.0} | {:.2} | {batch:.1} |", ours / anchor));
    }
    Ok(())
}

/// The role: publishes, and answers with the unix microseconds when it began.
pub(crate) async fn write(kind: &str, count: usize, writers: usize, subscribers: usize) -> anyhow::Result<()> {
    let channel = Channel::from_env("stream:w").await?;
    let log = UnorderedLog::new(&signalbox_lambda::sdk_config()?, env::require("CONNECTION_TABLE")?);
    let ids = log.rows(&channel.name).await?;
    ensure!(ids.len() == subscribers, "{} rows", ids.len());
    let (next, top) = (Cell::new(0), Cell::new(0));
    let began = crate::meter::now_us();
    let writers = (0..writers).map(|_| async {
        while next.get() < count {
            next.set(next.get() + 1);
            let data = payload(next.get() as u64);
            match kind {
                "ordered" => {
                    top.set(top.get().max(channel.publish(data, &Options::default()).await?));
                }
                "unordered" => {
                    log.put(&channel.name, next.get() as u64, &data).await?;
                    let text = format!(r#"{{"push":{{"channel":"stream:w","pub":{{"data":{data}}}}}}}"#);
                    let frame = Frame::new(text);
                    all(&ids, &|id| async { Ok(channel.publisher.post(id, &frame).await?) }).await?;
                }
                _ => bail!("no kind {kind}"),
            }
        }
        anyhow::Ok(())
    });
    futures::stream::iter(writers).buffer_unordered(usize::MAX).try_collect::<()>().await?;
    if top.get() > 0 {
        channel.delivered(top.get()).await?;
    }
    answer(&json!(began));
    Ok(())
}
