//! What this program is when a bench starts it again.

use anyhow::{Context as _, bail};

use crate::{child::parent_gone, database, feed, functions, posts, problems, publish_cost, rows, sink, storm, writers};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let (role, rest) = arguments.split_first().context("which role?")?;
    let text = |n: usize| rest.get(n).map(String::as_str).context("an argument is missing");
    let number = |n: usize| anyhow::Ok(text(n)?.parse::<usize>()?);
    // as a function runs: one thread
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match role.as_str() {
            "sink" => until_alone(sink::serve()).await,
            "database" => until_alone(database::serve()).await,
            "subscribe" => functions::subscribe(number(0)?, number(1)?, text(2)?, text(3)? == "delta").await,
            "admit" => functions::admit(number(0)?).await,
            "poster" => posts::post(text(0)?, number(1)?, number(2)?).await,
            "rows" => rows::post(text(0)?).await,
            "rows-in-memory" => rows::post_list(number(0)?).await,
            "publisher" => publish_cost::publish().await,
            "writers" => writers::write(text(0)?, number(1)?, number(2)?, number(3)?).await,
            "storm" => storm::publish(number(0)?, number(1)?).await,
            "problems" => problems::route(number(0)?, number(1)?, number(2)?, text(3)?).await,
            "feed" => feed::publish(number(0)?, text(1)? == "delta").await,
            _ => bail!("no role {role}"),
        }
    })
}

async fn until_alone(server: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        result = server => result,
        () = parent_gone() => Ok(()),
    }
}
