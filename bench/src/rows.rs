//! Time and memory to post one publication to all rows of a channel, through the real publisher, in a process of its own: the
//! database and the sockets are others, so the memory is the poster's. Beside it the same pool posts to a list of ids in memory.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use signalbox_publishing::Frame;

use crate::{
    child::{Child, answer},
    database::Database,
    functions::{Channel, Environment, Options, connection_id, payload, subscribers},
    meter::{Target, cpu_since, cpu_time, float, median, peak_memory_kib, say, target},
    posts::all,
    sink::Sink,
};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sample {
    ms: f64,
    cpu_ms: f64,
    peak_kib: f64,
}

pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let rounds: usize = arguments.first().map_or(Ok(3), |rounds| rounds.parse())?;
    let (sink, database) = (Sink::start().await?, Database::start().await?);
    let environment = Environment::new(database.endpoint(), sink.endpoint())?;
    say(
        "| rows | ms | ms / list in memory | CPU µs a row | peak KiB | peak KiB, list in memory |\n|---|---|---|---|---|---|",
    );
    let mut peaks = Vec::new();
    let mut times = Vec::new();
    for (n, size) in SIZES.into_iter().enumerate() {
        let channel = format!("stream:rows-{size}");
        // one real subscriber, and the rest like it
        subscribers(&environment, &sink, (n, 1), &channel, false).await?;
        database.multiply(&channel, &connection_id(n), size - 1).await?;
        let (mut ours, mut lists) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            sink.reset().await?;
            ours.push(sample(Child::start(&["rows", &channel], &environment.variables())?).await?);
            let arrived = sink.reset().await?;
            anyhow::ensure!(arrived.publications == size as u64, "{} of {size} arrived", arrived.publications);
            lists.push(sample(Child::start(&["rows-in-memory", &size.to_string()], &environment.variables())?).await?);
        }
        let of = |samples: &[Sample], pick: fn(&Sample) -> f64| median(&samples.iter().map(pick).collect::<Vec<_>>());
        let (ms, list_ms) = (of(&ours, |sample| sample.ms), of(&lists, |sample| sample.ms));
        let (peak, list_peak) = (of(&ours, |sample| sample.peak_kib), of(&lists, |sample| sample.peak_kib));
        let cpu = of(&ours, |sample| sample.cpu_ms) * 1000.0 / float(size as u64);
        say(&format!("| {size} | {ms:.0} | {:.2} | {cpu:.1} | {peak:.0} | {list_peak:.0} |", ms / list_ms));
        peaks.push(peak);
        times.push(ms / float(size as u64));
    }
    say("");
    target("peak memory, 100k rows / 10k rows", peaks[2] / peaks[1], Target::AtMost(1.1));
    say(&format!("peak memory, 100k rows / 1k rows (less than one page of DynamoDB): {:.2}", peaks[2] / peaks[0]));
    say(&format!("time a row, 100k rows / 1k rows: {:.2}", times[2] / times[0]));
    Ok(())
}

async fn sample(mut poster: Child) -> anyhow::Result<Sample> {
    serde_json::from_value(poster.answer().await?).context("a sample")
}

/// The role: one publication to the channel.
pub(crate) async fn post(channel: &str) -> anyhow::Result<()> {
    let channel = Channel::from_env(channel).await?;
    measured(Box::pin(channel.publish(payload(1), &Options::default()))).await
}

/// The role: one frame to so many ids.
pub(crate) async fn post_list(count: usize) -> anyhow::Result<()> {
    let publisher = Channel::from_env("stream:list").await?.publisher;
    let text = format!(r#"{{"push":{{"channel":"stream:a","pub":{{"data":{},"offset":1}}}}}}"#, payload(1));
    let (frame, ids) = (Frame::new(text), (0..count).map(connection_id).collect::<Vec<_>>());
    measured(all(&ids, &|id| async { Ok(publisher.post(id, &frame).await?) })).await
}

async fn measured<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<()> {
    let (from, cpu) = (std::time::Instant::now(), cpu_time());
    work.await?;
    let sample = Sample {
        ms: from.elapsed().as_secs_f64() * 1000.0,
        cpu_ms: cpu_since(cpu) * 1000.0,
        peak_kib: float(peak_memory_kib()?),
    };
    answer(&json!(sample));
    Ok(())
}
