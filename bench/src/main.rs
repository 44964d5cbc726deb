//! The figures of docs/PERFORMANCE.md, one subcommand each: `cargo run --release -p signalbox-bench -- <figure>`.
//!
//! Each figure stands beside its anchor, measured in the same run and in turns with it, so that the machine's moods hit both
//! alike. What must not count (the database, the socket side of API Gateway) runs in processes of its own: this program starts
//! itself again in a [`role`].

mod anchors;
mod child;
mod client;
mod cold_start;
mod database;
mod event_bus;
mod feed;
mod first_tls;
mod functions;
mod meter;
mod node;
mod posts;
mod problems;
mod publish_cost;
mod role;
mod rows;
mod serve;
mod sink;
mod storm;
mod writers;

use anyhow::bail;

const FIGURES: &str = "posts, rows, publish-cost, writers, storm, problems, delta, cold-start, first-tls";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(figure) = arguments.next() else { bail!("which figure? one of: {FIGURES}") };
    let rest: Vec<String> = arguments.collect();
    if figure == "role" {
        return role::run(&rest);
    }
    if cfg!(debug_assertions) {
        meter::say("a debug build: its figures say nothing; run with --release");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        meter::say(&meter::machine());
        match figure.as_str() {
            "posts" => posts::run(&rest).await,
            "rows" => rows::run(&rest).await,
            "publish-cost" => publish_cost::run().await,
            "writers" => writers::run(&rest).await,
            "storm" => storm::run(&rest).await,
            "problems" => problems::run(&rest).await,
            "delta" => feed::run().await,
            "cold-start" => cold_start::run(&rest).await,
            "first-tls" => first_tls::run(&rest).await,
            _ => bail!("no figure {figure}; one of: {FIGURES}"),
        }
    })
}
