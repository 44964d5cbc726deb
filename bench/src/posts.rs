//! Posts per CPU-second: our signed pool, the same unsigned, the SDK for Rust, the SDK for JavaScript. The same server takes
//! them all, with the same concurrency, on loopback and without TLS; its CPU is not counted.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;
use signalbox_lambda::env;
use signalbox_publishing::Frame;

use crate::{
    anchors::{SdkGateway, UnsignedPool},
    child::{Child, answer},
    functions::{Channel, Environment, connection_id},
    meter::{Target, cpu_since, cpu_time, float, median, say, target},
    node,
    sink::Sink,
};

/// As `signalbox_publishing` posts.
pub(crate) const POSTS_AT_ONCE: usize = 128;

const KINDS: [(&str, &str); 4] = [
    ("signed", "our pool, signed (`Publisher::post`)"),
    ("unsigned", "the same pool, unsigned"),
    ("rust-sdk", "aws-sdk-apigatewaymanagement"),
    ("node-sdk", "@aws-sdk/client-apigatewaymanagementapi, one keep-alive agent"),
];

pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let rounds: usize = arguments.first().map_or(Ok(5), |rounds| rounds.parse())?;
    node::install().await?;
    let sink = Sink::start().await?;
    let environment = Environment::new("http://127.0.0.1:9".to_owned(), sink.endpoint())?;
    let mut micros: [Vec<f64>; KINDS.len()] = Default::default();
    for _ in 0..rounds {
        for ((kind, _), micros) in KINDS.iter().zip(&mut micros) {
            // a process each; the first posts open connections, and let Node compile
            let (warm, count) = if *kind == "node-sdk" { (3_000, 10_000) } else { (3_000, 30_000) };
            sink.reset().await?;
            let (warm_text, count_text) = (warm.to_string(), count.to_string());
            let mut poster = if *kind == "node-sdk" {
                node::start(
                    "posts.mjs",
                    &[&warm_text, &count_text, &POSTS_AT_ONCE.to_string()],
                    &environment.variables(),
                )?
            } else {
                Child::start(&["poster", kind, &warm_text, &count_text], &environment.variables())?
            };
            let cpu_us = poster.answer().await?.as_f64().context("CPU time")?;
            let arrived = sink.arrived().await?.posts;
            anyhow::ensure!(arrived == warm + count, "{kind}: {arrived} posts arrived of {}", warm + count);
            micros.push(cpu_us / float(count));
        }
    }
    say(&format!(
        "| poster | CPU µs a post (median of {rounds}) | posts per CPU-second | ours / this |\n|---|---|---|---|"
    ));
    let ours = median(&micros[0]);
    for ((_, name), micros) in KINDS.iter().zip(&micros) {
        let micros = median(micros);
        say(&format!("| {name} | {micros:.1} | {:.0} | {:.2} |", 1e6 / micros, micros / ours));
    }
    say("");
    // by pairs of one round, which the machine's mood hits alike
    let ratio =
        |n: usize| median(&micros[n].iter().zip(&micros[0]).map(|(anchor, ours)| anchor / ours).collect::<Vec<_>>());
    target("posts per CPU-second, signed / unsigned", ratio(1), Target::AtLeast(0.7));
    target("posts per CPU-second, ours / SDK for Rust", ratio(2), Target::AtLeast(3.0));
    target("posts per CPU-second, ours / SDK for JavaScript", ratio(3), Target::AtLeast(25.0));
    Ok(())
}

/// The role: posts, and answers with the CPU microseconds of those after the warm-up.
pub(crate) async fn post(kind: &str, warm: usize, count: usize) -> anyhow::Result<()> {
    let endpoint = env::require("CONNECTIONS_ENDPOINT")?;
    let text =
        format!(r#"{{"push":{{"channel":"stream:a","pub":{{"data":{},"offset":1}}}}}}"#, crate::functions::payload(1));
    let ids: Vec<String> = (0..warm.max(count)).map(connection_id).collect();
    let spent = match kind {
        "signed" => {
            let publisher = Channel::from_env("stream:a").await?.publisher;
            let frame = Frame::new(text);
            measure(&ids, warm, count, |id| async { Ok(publisher.post(id, &frame).await?) }).await?
        }
        "unsigned" => {
            let pool = UnsignedPool::new(&endpoint)?;
            let frame = Bytes::from(text);
            measure(&ids, warm, count, |id| pool.post(id, frame.clone())).await?
        }
        "rust-sdk" => {
            let gateway = SdkGateway::new(&signalbox_lambda::sdk_config()?, &endpoint);
            let frame = Bytes::from(text);
            measure(&ids, warm, count, |id| gateway.post(id, frame.clone())).await?
        }
        _ => bail!("no poster {kind}"),
    };
    answer(&json!(spent));
    Ok(())
}

async fn measure<'a, F, Fut>(ids: &'a [String], warm: usize, count: usize, post: F) -> anyhow::Result<f64>
where
    F: Fn(&'a str) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    all(&ids[..warm], &post).await?;
    let before = cpu_time();
    all(&ids[..count], &post).await?;
    Ok(cpu_since(before) * 1e6)
}

/// As the fan-out does it.
pub(crate) async fn all<'a, F, Fut>(ids: &'a [String], post: &F) -> anyhow::Result<()>
where
    F: Fn(&'a str) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let failed = std::cell::RefCell::new(None);
    futures::stream::iter(ids)
        .for_each_concurrent(POSTS_AT_ONCE, |id| {
            let post = post(id);
            let failed = &failed;
            async move {
                if let Err(cause) = post.await {
                    *failed.borrow_mut() = Some(cause);
                }
            }
        })
        .await;
    failed.into_inner().map_or(Ok(()), Err)
}
