//! A storm of problems: 5,000 within ten seconds through the status router, ten an invocation as its queue hands them over (another number
//! says how many; one is an invocation each, as EventBridge makes them), with 1,000 viewers of `status:all`. Every one gets all of them, in order; what is to hold is 200 frames a viewer and 30 s in all.
//!
//! With `webhook` or `connector` as the last word they come by that way: signed webhooks, or what Zabbix has gathered in a second in one
//! POST, through the handler and a bus that throttles at the lowest quota and refuses entries. Then Zabbix gets no error, either.

use std::{cell::RefCell, rc::Rc, time::Duration};

use anyhow::Context as _;
use aws_types::SdkConfig;
use lambda_http::{Body, Response};
use serde_json::{Value, json};
use signalbox_auth::{BearerToken, WebhookSecret};
use signalbox_bus::Bus;
use signalbox_lambda::{Boot, now_ms, sqs::Outcome};
use signalbox_messages::{BusEvent, ChangeKind, Detail, Host, SOURCE, STATUS_CHANGED, StatusChanged, Tag};
use signalbox_zabbix::Zone;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    child::{Child, answer},
    database::Database,
    event_bus::EventBus,
    functions::{Environment, subscribers},
    meter::{Target, cpu_since, cpu_time, float, say, target},
    sink::Sink,
};

/// Environments of the router: Lambda gives an event to one that is idle, and starts one where there is none.
const ENVIRONMENTS: usize = 32;

pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let number = |n: usize, default: usize| arguments.get(n).map_or(Ok(default), |text| text.parse());
    let (problems, seconds, viewers, batch) = (number(0, 5_000)?, number(1, 10)?, number(2, 1_000)?, number(3, 10)?);
    let way = arguments.get(4).map_or("router", String::as_str);
    let (sink, database) = (Sink::start().await?, Database::start().await?);
    let environment = Environment::new(database.endpoint(), sink.endpoint())?;
    let variables = environment.variables();
    subscribers(&environment, &sink, (0, viewers), "status:all", false).await?;
    sink.reset().await?;
    let mut router =
        Child::start(&["problems", &problems.to_string(), &seconds.to_string(), &batch.to_string(), way], &variables)?;
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
    if way != "router" {
        let of = |name: &str| router["way_in"][name].clone();
        say(&format!("| requests of Zabbix, attempts | {}, {} |", of("requests"), of("attempts")));
        say(&format!("| answers: p50, p99, max ms | {}, {}, {} |", of("p50_ms"), of("p99_ms"), of("max_ms")));
        say(&format!("| requests the bus throttled, entries it refused | {}, {} |", of("throttled"), of("refused")));
        say(&format!("| the last was on the bus after, s | {:.1} |", of("accepted_s").as_f64().unwrap_or(0.0)));
    }
    say(&format!("| CPU seconds of the router | {:.1} |", router["cpu_s"].as_f64().unwrap_or(0.0)));
    say("");
    arrived.is_complete_and_in_order(problems as u64, viewers as u64)?;
    #[expect(clippy::cast_precision_loss, reason = "a count of frames")]
    target("frames of a viewer", arrived.frames_most as f64, Target::AtMost(200.0));
    target("seconds from the first problem to the last frame", took, Target::AtMost(30.0));
    if way != "router" {
        let errors = router["way_in"]["errors"].as_f64().unwrap_or(f64::MAX);
        target("answers to Zabbix that were an error", errors, Target::AtMost(0.0));
    }
    Ok(())
}

/// The role.
pub(crate) async fn route(problems: usize, seconds: usize, batch: usize, way: &str) -> anyhow::Result<()> {
    let boot = signalbox_lambda::boot("status-router");
    let mut states = Vec::new();
    for _ in 0..ENVIRONMENTS {
        states.push(&*Box::leak(Box::new(status_router::State::from_env(&boot).await?)));
    }
    let mut router = Router { states, under_way: JoinSet::new(), at_once: 0, invocations: 0 };
    let (began_us, cpu) = (crate::meter::now_us(), cpu_time());
    let way_in = match way {
        "router" => {
            router.at_an_even_pace(problems, seconds, batch).await?;
            Value::Null
        }
        "webhook" | "connector" => router.by(way, problems, seconds, batch, &boot).await?,
        _ => anyhow::bail!("no way in: {way}"),
    };
    router.done().await?;
    answer(&json!({ "began_us": began_us, "at_once": router.at_once, "cpu_s": cpu_since(cpu), "way_in": way_in }));
    Ok(())
}

struct Router {
    states: Vec<&'static status_router::State>,
    under_way: JoinSet<anyhow::Result<()>>,
    at_once: usize,
    invocations: usize,
}

impl Router {
    fn invoke(&mut self, events: Vec<BusEvent<Value>>) -> anyhow::Result<()> {
        let routed = status_router::route(self.states[self.invocations % self.states.len()], events);
        self.invocations += 1;
        self.under_way.spawn_local(async move {
            let left = routed.await.into_iter().find(|outcome| *outcome != Outcome::Stored);
            left.map_or(Ok(()), |outcome| Err(anyhow::anyhow!("{outcome:?}")))
        });
        self.at_once = self.at_once.max(self.under_way.len());
        while let Some(done) = self.under_way.try_join_next() {
            done??;
        }
        Ok(())
    }

    async fn done(&mut self) -> anyhow::Result<()> {
        while let Some(done) = self.under_way.join_next().await {
            done??;
        }
        Ok(())
    }

    /// Whether the earlier ones are through or not.
    async fn at_an_even_pace(&mut self, problems: usize, seconds: usize, batch: usize) -> anyhow::Result<()> {
        let pace = Duration::from_secs(seconds as u64) / u32::try_from(problems.div_ceil(batch))?;
        let began = Instant::now();
        for (n, first) in (0..problems).step_by(batch).enumerate() {
            tokio::time::sleep_until(began + pace * u32::try_from(n)?).await;
            let events = (first..problems.min(first + batch)).map(problem).collect::<Result<_, _>>()?;
            self.invoke(events)?;
        }
        Ok(())
    }

    /// What comes off the bus goes to as many environments as there are, at most `batch` to each.
    async fn by(
        &mut self,
        way: &str,
        problems: usize,
        seconds: usize,
        batch: usize,
        boot: &Boot,
    ) -> anyhow::Result<Value> {
        let mut bus = EventBus::start().await?;
        let aws = boot.aws()?.into_builder().endpoint_url(&bus.endpoint).build();
        let zabbix = Rc::new(Zabbix::new(&aws)?);
        let began = Instant::now();
        let mut sending = JoinSet::new();
        match way {
            "webhook" => sending.spawn_local(zabbix.clone().webhooks(problems, seconds)),
            _ => sending.spawn_local(zabbix.clone().streams(problems, seconds)),
        };
        let mut arrived = 0;
        while arrived < problems {
            if self.under_way.len() == ENVIRONMENTS
                && let Some(done) = self.under_way.join_next().await
            {
                done??;
            }
            let mut events = Vec::new();
            arrived += bus.events.recv_many(&mut events, batch).await;
            self.invoke(events)?;
        }
        while let Some(sent) = sending.join_next().await {
            sent??;
        }
        let mut told = zabbix.told(began);
        told["throttled"] = bus.throttled().into();
        told["refused"] = bus.refused().into();
        Ok(told)
    }
}

/// A Zabbix server, with its ways to tell of problems.
struct Zabbix {
    aws: SdkConfig,
    /// Environments of the webhook that are idle.
    webhooks: RefCell<Vec<zabbix_webhook::State>>,
    connector: zabbix_connector::State,
    answers: RefCell<Vec<Told>>,
}

/// One answer to Zabbix.
struct Told {
    status: u16,
    took: Duration,
    at: Instant,
}

/// Of the media type: "Attempts" and "Attempt interval" as Zabbix presets them.
const ATTEMPTS: usize = 3;
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(10);

const SECRET: &str = "bench-webhook-secret";
const TOKEN: &str = "bench-connector-token";

/// As Zabbix 7.0 has sent it.
const WEBHOOK: &str = include_str!("../../shared/zabbix/fixtures/recommended/v7.0-problem.json");
const LINE: &str = include_str!("../../shared/zabbix/fixtures/connector/events-01.ndjson");

impl Zabbix {
    fn new(aws: &SdkConfig) -> anyhow::Result<Self> {
        let bus = Bus::new(aws, "signalbox");
        Ok(Self {
            aws: aws.clone(),
            webhooks: RefCell::default(),
            connector: zabbix_connector::State { token: BearerToken::new(TOKEN).context("a token")?, bus },
            answers: RefCell::default(),
        })
    }

    /// One that is idle, or a new one, as Lambda does.
    fn environment(&self) -> anyhow::Result<zabbix_webhook::State> {
        if let Some(idle) = self.webhooks.borrow_mut().pop() {
            return Ok(idle);
        }
        let secret = WebhookSecret::new(SECRET).context("a secret")?;
        Ok(zabbix_webhook::State { secret, zone: Zone::Auto, bus: Bus::new(&self.aws, "signalbox") })
    }

    /// One webhook for each, at an even pace.
    async fn webhooks(self: Rc<Self>, problems: usize, seconds: usize) -> anyhow::Result<()> {
        let recorded: Value = serde_json::from_str(WEBHOOK)?;
        let body: Value = serde_json::from_str(recorded["raw_body"].as_str().context("raw_body")?)?;
        let pace = Duration::from_secs(seconds as u64) / u32::try_from(problems)?;
        let (began, mut under_way) = (Instant::now(), JoinSet::new());
        for n in 0..problems {
            tokio::time::sleep_until(began + pace * u32::try_from(n)?).await;
            let mut body = body.clone();
            body["event_id"] = (1_000_000 + n).to_string().into();
            body["host_host"] = format!("web-{}", n % 200).into();
            body["host_id"] = (10_000 + n % 200).to_string().into();
            under_way.spawn_local(self.clone().webhook(body.to_string()));
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn webhook(self: Rc<Self>, body: String) -> anyhow::Result<()> {
        for attempt in 1.. {
            let state = self.environment()?;
            let (timestamp, signature) = state.secret.sign(now_ms() / 1_000, body.as_bytes());
            let request = http::Request::post("/webhook/zabbix")
                .header("X-Zabbix-Timestamp", timestamp)
                .header("X-Zabbix-Signature", signature)
                .body(Body::from(body.as_str()))?;
            let status = self.answered(zabbix_webhook::handle(&state, request)).await;
            self.webhooks.borrow_mut().push(state);
            if status < 300 {
                break;
            }
            anyhow::ensure!(attempt < ATTEMPTS, "Zabbix has given up");
            tokio::time::sleep(ATTEMPT_INTERVAL).await;
        }
        Ok(())
    }

    /// One POST after another, each with what has come since the one before, not under a second after that.
    async fn streams(self: Rc<Self>, problems: usize, seconds: usize) -> anyhow::Result<()> {
        let line: Value = serde_json::from_str(LINE)?;
        let (began, mut sent) = (Instant::now(), 0);
        while sent < problems {
            tokio::time::sleep(Duration::from_secs(1)).await;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let there = ((began.elapsed().as_secs_f64() * float(problems as u64) / float(seconds as u64)) as usize)
                .min(problems);
            let mut body = String::new();
            for n in sent..there {
                let mut line = line.clone();
                line["eventid"] = (1_000_000 + n).into();
                line["hosts"][0]["host"] = format!("web-{}", n % 200).into();
                body.push_str(&line.to_string());
                body.push('\n');
            }
            for attempt in 1.. {
                let request = http::Request::post("/connector/zabbix/events")
                    .header("Authorization", format!("Bearer {TOKEN}"))
                    .body(Body::from(body.as_str()))?;
                if self.answered(zabbix_connector::handle(&self.connector, request)).await < 300 {
                    break;
                }
                anyhow::ensure!(attempt < ATTEMPTS, "Zabbix has given up");
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            sent = there;
        }
        Ok(())
    }

    async fn answered(&self, answer: impl Future<Output = Response<Body>>) -> u16 {
        let began = Instant::now();
        let status = answer.await.status().as_u16();
        let (took, at) = (began.elapsed(), Instant::now());
        self.answers.borrow_mut().push(Told { status, took, at });
        status
    }

    fn told(&self, began: Instant) -> Value {
        let answers = self.answers.borrow();
        let mut took: Vec<u128> = answers.iter().map(|told| told.took.as_millis()).collect();
        took.sort_unstable();
        let at = |part: usize| took.get((took.len() * part / 100).min(took.len().saturating_sub(1)));
        let errors = answers.iter().filter(|told| told.status >= 300).count();
        let last = answers.iter().filter(|told| told.status < 300).map(|told| told.at).max();
        json!({
            "requests": answers.len() - errors, "attempts": answers.len(), "errors": errors,
            "p50_ms": at(50), "p99_ms": at(99), "max_ms": took.last(),
            "accepted_s": last.map(|at| (at - began).as_secs_f64()),
        })
    }
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
