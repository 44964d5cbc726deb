//! A storm of problems: 5,000 within ten seconds through the status router, ten an invocation as its queue hands them over (another number
//! says how many; one is an invocation each, as EventBridge makes them), with 1,000 viewers of `status:all`. Every one gets all of them, in order; what is to hold is 200 frames a viewer and 30 s in all.

use std::time::Duration;

use serde_json::json;
use signalbox_lambda::{now_ms, sqs::Outcome};
use signalbox_messages::{BusEvent, ChangeKind, Detail, Host, SOURCE, STATUS_CHANGED, StatusChanged, Tag};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    child::{Child, answer},
    database::Database,
    functions::{Environment, subscribers},
    meter::{Target, cpu_since, cpu_time, float, say, target},
    sink::Sink,
};

/// Environments of the router: Lambda gives an event to one that is idle, and starts one where there is none.
const ENVIRONMENTS: usize = 32;

pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let number = |n: usize, default: usize| arguments.get(n).map_or(Ok(default), |text| text.parse());
    let (problems, seconds, viewers, batch) = (number(0, 5_000)?, number(1, 10)?, number(2, 1_000)?, number(3, 10)?);
    let (sink, database) = (Sink::start().await?, Database::start().await?);
    let environment = Environment::new(database.endpoint(), sink.endpoint())?;
    let variables = environment.variables();
    subscribers(&environment, &sink, (0, viewers), "status:all", false).await?;
    sink.reset().await?;
    let mut router =
        Child::start(&["problems", &problems.to_string(), &seconds.to_string(), &batch.to_string()], &variables)?;
    let router = router.answer().await?;
    let arrived = sink.wait_for((problems * viewers) as u64).await?;
    let took = float(arrived.last_us.saturating_sub(router["began_us"].as_u64().unwrap_or(0))) / 1_000_000.0;
    say(&format!("{problems} problems in {seconds} s, {viewers} viewers\n"));
    say("| what | |\n|---|---|");
    say(&format!("| publications that arrived, of {} | {} |", problems * viewers, arrived.publications));
    say(&format!("| of these out of order, or twice | {} |", arrived.out_of_order));
    say(&format!(
        "| frames a viewer: fewest, median, most | {}, {}, {} |",
        arrived.frames_least, arrived.frames_median, arrived.frames_most
    ));
    say(&format!(
        "| from accepted to arrival: p50, p99, max ms | {:.0}, {:.0}, {:.0} |",
        arrived.p50_ms, arrived.p99_ms, arrived.max_ms
    ));
    say(&format!("| invocations at once, at most | {} |", router["at_once"]));
    say(&format!("| CPU seconds of the router | {:.1} |", router["cpu_s"].as_f64().unwrap_or(0.0)));
    say("");
    arrived.is_complete_and_in_order(problems as u64, viewers as u64)?;
    #[expect(clippy::cast_precision_loss, reason = "a count of frames")]
    target("frames of a viewer", arrived.frames_most as f64, Target::AtMost(200.0));
    target("seconds from the first problem to the last frame", took, Target::AtMost(30.0));
    Ok(())
}

/// The role: invocations at an even pace, whether the earlier ones are through or not.
pub(crate) async fn route(problems: usize, seconds: usize, batch: usize) -> anyhow::Result<()> {
    let mut states = Vec::new();
    for _ in 0..ENVIRONMENTS {
        let state = status_router::State::from_env(&signalbox_lambda::boot("status-router")).await?;
        states.push(&*Box::leak(Box::new(state)));
    }
    let pace = Duration::from_secs(seconds as u64) / u32::try_from(problems.div_ceil(batch))?;
    let (began, began_us, cpu) = (Instant::now(), crate::meter::now_us(), cpu_time());
    let mut under_way = JoinSet::new();
    let mut at_once = 0;
    for (n, first) in (0..problems).step_by(batch).enumerate() {
        tokio::time::sleep_until(began + pace * u32::try_from(n)?).await;
        let events: Vec<_> = (first..problems.min(first + batch)).map(problem).collect::<Result<_, _>>()?;
        let routed = status_router::route(states[n % ENVIRONMENTS], events);
        under_way.spawn_local(async move {
            let left = routed.await.into_iter().find(|outcome| *outcome != Outcome::Stored);
            left.map_or(Ok(()), |outcome| Err(anyhow::anyhow!("{outcome:?}")))
        });
        at_once = at_once.max(under_way.len());
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    answer(&json!({ "began_us": began_us, "at_once": at_once, "cpu_s": cpu_since(cpu) }));
    Ok(())
}

/// One of 200 hosts in 20 groups.
fn problem(n: usize) -> serde_json::Result<BusEvent<serde_json::Value>> {
    let (event_id, now_ms, host) = (format!("{}", 1_000_000 + n), now_ms(), n % 200);
    let tag = |tag: &str, value: String| Tag { tag: tag.to_owned(), value };
    let detail = StatusChanged {
        id: format!("{event_id}-problem"),
        kind: ChangeKind::Problem,
        event_id,
        problem: true,
        at: now_ms / 1_000,
        seq: 0,
        exact: false,
        opened_at: now_ms / 1_000,
        recovery: None,
        update: None,
        suppression: None,
        observed: None,
        detail: Detail {
            name: "Web application down on Web 01 \u{2013} Schaufenster".to_owned(),
            severity: 4,
            acknowledged: false,
            opdata: Some("status=0".to_owned()),
            error: None,
            host: Host { id: (10_000 + host).to_string(), host: format!("web-{host}"), name: format!("Web {host}") },
            groups: vec![format!("Site A/Web servers {}", host % 20)],
            tags: vec![tag("scope", "availability".to_owned()), tag("service", format!("shop-{}", host % 7))],
            trigger_id: Some((20_000 + n).to_string()),
            url: Some("https://wiki.example.org/runbook/web".to_owned()),
        },
        sent_at_ms: Some(now_ms),
        accepted_at_ms: now_ms,
    };
    let (source, detail_type) = (SOURCE.to_owned(), STATUS_CHANGED.to_owned());
    Ok(BusEvent { id: format!("{n}"), detail_type, source, detail: serde_json::to_value(detail)? })
}
