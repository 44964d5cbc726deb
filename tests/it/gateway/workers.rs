//! The fan-out queue and its workers: SQS FIFO, with what it may do to a worker.
//!
//! One group is one after the other, and what a worker did not finish comes back when its time is over and holds the group up until
//! then. A message that is sent again within five minutes (by its deduplication id) is the same.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::future::LocalBoxFuture;
use signalbox_queues::FifoMessage;
use tokio::time::Instant;

use super::schedule::{Death, Schedule};

/// How long a message is hidden while a worker has it.
const VISIBILITY: Duration = Duration::from_secs(90);
/// How long SQS remembers a deduplication id.
const DEDUPLICATION: Duration = Duration::from_mins(5);
/// Tries before a message goes to the dead letter queue.
const MAX_RECEIVES: u32 = 5;

/// What may go wrong with a worker, as probabilities.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WorkersWeather {
    /// It is killed at one of its first twenty requests.
    pub(crate) kill: f64,
    /// It is done, and comes all the same once more.
    pub(crate) again: f64,
}

pub(crate) type Work = Arc<dyn Fn(String, u32) -> LocalBoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Workers {
    schedule: Schedule,
    sent: Arc<Mutex<Vec<FifoMessage>>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    weather: WorkersWeather,
    seen: HashMap<String, Instant>,
    waiting: Vec<Waiting>,
    /// Groups of which a worker has a message, or had one and its time is not over.
    busy: BTreeSet<String>,
    /// Bodies that were tried too often.
    dead: Vec<String>,
    tasks: usize,
}

struct Waiting {
    message: FifoMessage,
    receives: u32,
}

impl Workers {
    pub(crate) fn new(schedule: &Schedule) -> Self {
        Self { schedule: schedule.clone(), sent: Arc::default(), state: Arc::default() }
    }

    /// Where the functions send their tasks to.
    pub(crate) fn sent(&self) -> Arc<Mutex<Vec<FifoMessage>>> {
        self.sent.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set_weather(&self, weather: WorkersWeather) {
        self.state().weather = weather;
    }

    /// Whether nothing waits and nobody works.
    pub(crate) fn idle(&self) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.busy.is_empty() && self.sent.lock().unwrap().is_empty()
    }

    /// Tasks that were done so far, repetitions included.
    pub(crate) fn tasks(&self) -> usize {
        self.state().tasks
    }

    pub(crate) fn dead(&self) -> Vec<String> {
        self.state().dead.clone()
    }

    /// Begins to give tasks to workers.
    pub(crate) fn start(&self, work: Work) {
        let this = self.clone();
        self.schedule.spawn_background("SQS", async move {
            loop {
                this.take_in();
                while let Some(task) = this.next() {
                    this.hand_out(task, &work);
                }
                let pause = this.schedule.draw(|rng| rng.u64(5..60));
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        });
    }

    fn take_in(&self) {
        let sent = std::mem::take(&mut *self.sent.lock().unwrap());
        let mut state = self.state();
        let now = Instant::now();
        for message in sent {
            let known = state.seen.get(&message.deduplication).is_some_and(|at| *at + DEDUPLICATION > now);
            if !known {
                state.seen.insert(message.deduplication.clone(), now);
                state.waiting.push(Waiting { message, receives: 0 });
            }
        }
    }

    /// The first message of a group that nobody works on.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.state();
        let at = state.waiting.iter().position(|waiting| !state.busy.contains(&waiting.message.group))?;
        let waiting = state.waiting.remove(at);
        state.busy.insert(waiting.message.group.clone());
        Some(waiting)
    }

    fn hand_out(&self, mut task: Waiting, work: &Work) {
        let (this, work, schedule) = (self.clone(), work.clone(), self.schedule.clone());
        let weather = self.state().weather;
        task.receives += 1;
        self.schedule.spawn_background("SQS hands out", async move {
            let received = Instant::now();
            let death = schedule
                .chance(weather.kill)
                .then(|| schedule.draw(|rng| Death { gate: rng.usize(..20), after: rng.bool() }));
            let name = format!("worker {}", task.message.body);
            let result = schedule
                .spawn_local(name, death, {
                    let (body, receives) = (task.message.body.clone(), task.receives);
                    move || work(body, receives)
                })
                .join()
                .await;
            this.state().tasks += 1;
            let group = task.message.group.clone();
            if !matches!(result, Some(Ok(()))) || schedule.chance(weather.again) {
                tokio::time::sleep_until(received + VISIBILITY).await;
                let mut state = this.state();
                if task.receives < MAX_RECEIVES {
                    // it is still the first of its group
                    state.waiting.insert(0, task);
                } else {
                    state.dead.push(task.message.body);
                }
            }
            this.state().busy.remove(&group);
        });
    }
}
