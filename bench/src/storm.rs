//! A storm: 5,000 publications within ten seconds into one channel with 1,000 subscribers. Every one gets all of them, in order;
//! what makes that possible is how many of them go into one frame.

use std::time::Duration;

use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    child::{Child, answer},
    database::Database,
    functions::{Channel, Environment, Options, payload, subscribers},
    meter::{Target, cpu_since, cpu_time, float, say, target},
    sink::Sink,
};

pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let number = |n: usize, default: usize| arguments.get(n).map_or(Ok(default), |text| text.parse());
    let (publications, seconds, count) = (number(0, 5_000)?, number(1, 10)?, number(2, 1_000)?);
    let (sink, database) = (Sink::start().await?, Database::start().await?);
    let environment = Environment::new(database.endpoint(), sink.endpoint())?;
    let variables = environment.variables();
    subscribers(&environment, &sink, (0, count), "stream:storm", false).await?;
    sink.reset().await?;
    let publisher =
        Child::start(&["storm", &publications.to_string(), &seconds.to_string()], &variables)?.answer().await?;
    let all = (publications * count) as u64;
    let arrived = sink.wait_for(all).await?;
    let late = float(arrived.last_us.saturating_sub(publisher["last_us"].as_u64().unwrap_or(0))) / 1000.0;
    say(&format!("{publications} publications in {seconds} s to {count} subscribers\n"));
    say("| what | |\n|---|---|");
    say(&format!("| publications that arrived, of {all} | {} |", arrived.publications));
    say(&format!("| of these out of order, or twice | {} |", arrived.out_of_order));
    say(&format!("| publications of the subscriber with fewest, with most | {}, {} |", arrived.least, arrived.most));
    say(&format!(
        "| frames a subscriber: fewest, median, most | {}, {}, {} |",
        arrived.frames_least, arrived.frames_median, arrived.frames_most
    ));
    say(&format!(
        "| from publish to arrival: p50, p99, max ms | {:.0}, {:.0}, {:.0} |",
        arrived.p50_ms, arrived.p99_ms, arrived.max_ms
    ));
    say(&format!("| last arrival after the last publication, ms | {late:.0} |"));
    say(&format!("| CPU seconds of the publishers | {:.1} |", publisher["cpu_s"].as_f64().unwrap_or(0.0)));
    say("");
    arrived.is_complete_and_in_order(publications as u64, count as u64)?;
    // the anchor is what it would be without batches: a frame for each publication
    let ratio = float(arrived.frames_median) / float(publications as u64);
    target("frames / publications (a frame each without batches)", ratio, Target::AtMost(1.0));
    Ok(())
}

/// The role: publishes at an even pace, whether the earlier ones are through or not, as many functions would.
pub(crate) async fn publish(publications: usize, seconds: usize) -> anyhow::Result<()> {
    let channel = Channel::from_env("stream:storm").await?;
    let pace = Duration::from_secs(seconds as u64) / u32::try_from(publications)?;
    let (began, cpu) = (Instant::now(), cpu_time());
    let mut under_way = JoinSet::new();
    let mut top = 0;
    for n in 0..publications {
        tokio::time::sleep_until(began + pace * u32::try_from(n)?).await;
        let channel = channel.clone();
        under_way.spawn_local(async move { channel.publish(payload(n as u64), &Options::default()).await });
        while let Some(done) = under_way.try_join_next() {
            top = top.max(done??);
        }
    }
    let last_us = crate::meter::now_us();
    while let Some(done) = under_way.join_next().await {
        top = top.max(done??);
    }
    channel.delivered(top).await?;
    answer(&json!({ "last_us": last_us, "cpu_s": cpu_since(cpu) }));
    Ok(())
}
