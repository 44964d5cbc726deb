//! Wire bytes of a scores feed, with fossil delta and without: what a subscriber is posted, envelopes and all, through the real
//! subscribe and publish.
//!
//! Two feeds, both of whole documents, as such feeds are published: one match with its line-ups, statistics and a growing list of
//! events, and a board of twenty matches. A bookmaker's odds and a handful of statistics move with every publication.

use std::fmt::Write as _;

use serde_json::{Value, json, value::RawValue};
use signalbox_protocol::{Publication, Push};

use crate::{
    child::{Child, answer},
    database::Database,
    functions::{Channel, Environment, Options, subscribers},
    meter::{Target, float, say, target},
    sink::Sink,
};

const PUBLICATIONS: usize = 600;
type Next = fn(&mut Season) -> Value;
const FEEDS: [(&str, Next); 2] = [("one match", Season::one_match), ("board of 20 matches", Season::board)];

pub(crate) async fn run() -> anyhow::Result<()> {
    say(&format!("{PUBLICATIONS} publications a feed\n"));
    say("| feed | bytes a publication, without | with delta | with / without |\n|---|---|---|---|");
    let mut worst: f64 = 0.0;
    for (name, next) in FEEDS {
        let (without, with) = encoded(next)?;
        let ratio = float(with) / float(without);
        let each = |bytes: u64| bytes / PUBLICATIONS as u64;
        say(&format!("| {name} (encoded) | {} | {} | {ratio:.3} |", each(without), each(with)));
        worst = worst.max(ratio);
    }
    for (n, (name, _)) in FEEDS.iter().enumerate() {
        match (posted(n, false).await, posted(n, true).await) {
            (Ok(without), Ok(with)) => {
                let ratio = float(with) / float(without);
                let each = |bytes: u64| bytes / PUBLICATIONS as u64;
                say(&format!("| {name} (posted) | {} | {} | {ratio:.3} |", each(without), each(with)));
                worst = worst.max(ratio);
            }
            (Err(cause), _) | (_, Err(cause)) => say(&format!("| {name} (posted) | not measured: {cause:#} |")),
        }
    }
    say("");
    target("bytes with delta / without, the worse feed", worst, Target::AtMost(0.2));
    Ok(())
}

/// Lines as the protocol has them, in memory.
fn encoded(next: Next) -> anyhow::Result<(u64, u64)> {
    let mut season = Season::default();
    let (mut without, mut with) = (0, 0);
    let mut before: Option<String> = None;
    for offset in 1..=PUBLICATIONS as u64 {
        let text = next(&mut season).to_string();
        let line = |publication: &Publication| {
            Push::Publication { channel: "scores:live", publication }.to_line().len() as u64
        };
        without += line(&Publication::new(RawValue::from_string(text.clone())?, offset));
        let (data, delta) = match &before {
            None => (text.clone(), false),
            Some(before) => (String::from_utf8(signalbox_fossil::create(before.as_bytes(), text.as_bytes()))?, true),
        };
        if let Some(before) = &before {
            anyhow::ensure!(
                signalbox_fossil::apply(before.as_bytes(), data.as_bytes())? == text.as_bytes(),
                "a delta that does not give the text"
            );
        }
        with += line(&Publication { delta, ..Publication::new(serde_json::value::to_raw_value(&data)?, offset) });
        before = Some(text);
    }
    Ok((without, with))
}

/// Bytes that a subscriber was posted.
async fn posted(feed: usize, delta: bool) -> anyhow::Result<u64> {
    let (sink, database) = (Sink::start().await?, Database::start().await?);
    let environment = Environment::new(database.endpoint(), sink.endpoint())?;
    let mode = if delta { "delta" } else { "plain" };
    subscribers(&environment, &sink, (0, 1), "scores:live", delta).await?;
    sink.reset().await?;
    Child::start(&["feed", &feed.to_string(), mode], &environment.variables())?.answer().await?;
    let arrived = sink.wait_for(PUBLICATIONS as u64).await?;
    anyhow::ensure!(arrived.least == PUBLICATIONS as u64 && arrived.out_of_order == 0, "incomplete: {arrived:?}");
    Ok(arrived.bytes)
}

/// The role: publishes a feed, one publication after another.
pub(crate) async fn publish(feed: usize, delta: bool) -> anyhow::Result<()> {
    let channel = Channel::from_env("scores:live").await?;
    let mut season = Season::default();
    for _ in 0..PUBLICATIONS {
        let data = FEEDS[feed].1(&mut season).to_string();
        channel.publish(data, &Options { delta, ..Options::default() }).await?;
    }
    answer(&Value::Null);
    Ok(())
}

/// The same feed in every run: a generator of Lehmer's kind.
#[derive(Debug)]
struct Season {
    random: u64,
    published: u64,
    matches: Vec<Match>,
}

#[derive(Debug, Clone, Default)]
struct Match {
    goals: [u64; 2],
    shots: [u64; 2],
    corners: [u64; 2],
    fouls: [u64; 2],
    passes: [u64; 2],
    possession: u64,
    odds: [u64; 3],
    events: Vec<Value>,
}

impl Default for Season {
    fn default() -> Self {
        let one = Match { possession: 50, odds: [210, 330, 350], ..Match::default() };
        Self { random: 48_271, published: 0, matches: vec![one; 20] }
    }
}

impl Season {
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random * 48_271 % 2_147_483_647;
        self.random % below
    }

    fn second(&self) -> u64 {
        // a match of 5,400 seconds in the publications of a run
        self.published * 5_400 / PUBLICATIONS as u64
    }

    /// What changes in a match from one publication to the next.
    fn play(&mut self, number: usize) {
        let (side, what, player) = (usize::from(self.random(2) == 1), self.random(100), self.random(11));
        let moved = [0, 1, 2].map(|_| self.random(9));
        let possession = 40 + self.random(20);
        let passes = 1 + self.random(6);
        let second = self.second();
        let one = &mut self.matches[number];
        one.passes[side] += passes;
        one.possession = possession;
        for (odds, moved) in one.odds.iter_mut().zip(moved) {
            *odds = (*odds + moved).saturating_sub(4).max(101);
        }
        let event = match what {
            0..2 => {
                one.goals[side] += 1;
                Some("goal")
            }
            2..6 => Some("yellow_card"),
            6..18 => {
                one.shots[side] += 1;
                Some("shot")
            }
            18..26 => {
                one.corners[side] += 1;
                None
            }
            26..44 => {
                one.fouls[side] += 1;
                None
            }
            _ => None,
        };
        if let Some(kind) = event {
            let event =
                json!({ "minute": second / 60, "team": side, "type": kind, "player": name(number * 2 + side, player) });
            one.events.push(event);
        }
    }

    fn one_match(&mut self) -> Value {
        self.published += 1;
        self.play(0);
        let one = &self.matches[0];
        let team = |side: usize| {
            let players: Vec<Value> =
                (0..11).map(|n| json!({ "number": n + 1, "name": name(side, n), "position": "MF" })).collect();
            json!({ "name": format!("FC Example {side}"), "goals": one.goals[side], "lineup": players })
        };
        let second = self.second();
        json!({
            "id": "match-2026-11-21-4711",
            "clock": format!("{:02}:{:02}", second / 60, second % 60),
            "home": team(0),
            "away": team(1),
            "statistics": {
                "possession": [one.possession, 100 - one.possession],
                "shots": one.shots, "corners": one.corners, "fouls": one.fouls, "passes": one.passes,
            },
            "odds": one.odds.map(|odds| format!("{}.{:02}", odds / 100, odds % 100)),
            "events": one.events,
        })
    }

    fn board(&mut self) -> Value {
        self.published += 1;
        for _ in 0..3 {
            let number = usize::try_from(self.random(20)).unwrap_or(0);
            self.play(number);
        }
        let minute = self.second() / 60;
        let rows = self.matches.iter().enumerate().map(|(n, one)| {
            json!({
                "id": 4711 + n,
                "home": format!("FC Example {}", 2 * n), "away": format!("FC Example {}", 2 * n + 1),
                "minute": minute,
                "score": one.goals, "shots": one.shots, "corners": one.corners, "fouls": one.fouls,
                "possession": [one.possession, 100 - one.possession],
                "odds": one.odds.map(|odds| format!("{}.{:02}", odds / 100, odds % 100)),
            })
        });
        json!({ "round": 12, "published": self.published, "matches": rows.collect::<Vec<_>>() })
    }
}

fn name(team: usize, player: u64) -> String {
    let mut name = "Player".to_owned();
    // a letter more or less, so that names differ in length as names do
    for _ in 0..player % 4 {
        name.push('a');
    }
    let _ = write!(name, " of Team {team} No. {player}");
    name
}
