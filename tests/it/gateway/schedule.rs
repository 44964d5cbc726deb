//! Who goes next, decided by a seed.
//!
//! Everything that runs at once is an *actor*: an invocation, a client, a socket's timers. All of them are polled by one
//! task, in a runtime whose clock is paused. An actor that comes to a [`Schedule::gate`], which is before every request to
//! DynamoDB and every post, waits there; only when nobody can go on any more does the schedule let exactly one of those that
//! wait through its gate. Which one, how much time passes, and what goes wrong is drawn from the seed: the same seed is the
//! same interleaving.
//!
//! A kill is what it is on Lambda: the actor's future is dropped where it stands.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures::{future::LocalBoxFuture, task::AtomicWaker};
use tokio::time::Instant;

/// Where an actor is to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    /// At its n-th gate, from 0.
    pub(crate) gate: usize,
    /// After what it asked for there was done, and before it learns so.
    pub(crate) after: bool,
}

/// How an actor came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    Killed,
    Panicked(String),
}

/// How those who wait are chosen from.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// Everybody has the same chance.
    Fair,
    /// Whoever has the highest priority, which changes hands at random moments: finds bugs that need one actor to stand
    /// still while others do much ("probabilistic concurrency testing", Burckhardt et al. 2010).
    Priorities { change: f64 },
    /// Mostly one after the other, with interruptions.
    Turns { interrupt: f64 },
    /// As a [`Plan`] has it.
    Planned,
}

/// One interleaving of all there are within bounds: [`Plan::next`] is another one, until all were had.
///
/// An actor goes on until it waits for something or is done; the bounds say how often it may be interrupted before that, and how
/// often a request takes so long that a lease runs out meanwhile (Musuvathi and Qadeer 2007, "iterative context bounding").
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    interruptions: usize,
    stalls: usize,
    stall: Duration,
    /// What was chosen at each step, and of how many.
    chosen: Vec<(usize, usize)>,
    step: usize,
    interrupted: usize,
    stalled: usize,
    last: Option<usize>,
}

impl Plan {
    /// The first one. A stall is so long.
    pub(crate) fn new(interruptions: usize, stalls: usize, stall: Duration) -> Self {
        let (chosen, last) = (Vec::new(), None);
        Self { interruptions, stalls, stall, chosen, step: 0, interrupted: 0, stalled: 0, last }
    }

    /// The one after this, which was run; `None` after the last.
    pub(crate) fn next(mut self) -> Option<Self> {
        self.chosen.truncate(self.step);
        loop {
            let (choice, of) = self.chosen.pop()?;
            if choice + 1 < of {
                self.chosen.push((choice + 1, of));
                let Self { interruptions, stalls, stall, chosen, .. } = self;
                return Some(Self { chosen, ..Self::new(interruptions, stalls, stall) });
            }
        }
    }

    fn choose(&mut self, of: usize) -> usize {
        let step = self.step;
        self.step += 1;
        if step == self.chosen.len() {
            self.chosen.push((0, of));
        }
        let (choice, had) = self.chosen[step];
        assert_eq!(had, of, "the same choices lead to the same situation");
        choice
    }

    /// Which of the points, in the order in which they were come to, goes on; or is to wait so long.
    fn decide(&mut self, points: &[Point]) -> (usize, Option<Duration>) {
        let own = self.last.and_then(|last| points.iter().position(|point| point.actor == last));
        // its own first, then the others
        let mut order: Vec<usize> = own.into_iter().collect();
        if own.is_none() || self.interrupted < self.interruptions {
            order.extend((0..points.len()).filter(|index| Some(points[*index].actor) != self.last));
        }
        let stallable = if self.stalled < self.stalls { order.len() } else { 0 };
        let choice = self.choose(order.len() + stallable);
        let index = order[choice % order.len()];
        self.interrupted += usize::from(own.is_some() && Some(points[index].actor) != self.last);
        self.last = Some(points[index].actor);
        if choice < order.len() {
            return (index, None);
        }
        self.stalled += 1;
        self.last = None;
        (index, Some(self.stall))
    }
}

#[derive(Clone)]
pub(crate) struct Schedule(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// The one task that polls everybody.
    driver: AtomicWaker,
}

struct State {
    rng: fastrand::Rng,
    order: Order,
    plan: Option<Plan>,
    next_actor: usize,
    next_point: u64,
    /// Who is being polled; nobody: the test itself, which is never held at a gate.
    current: Option<usize>,
    /// Actors that were started and have not been polled yet.
    started: Vec<(usize, Starting)>,
    running: BTreeMap<usize, Meta>,
    points: Vec<Point>,
    trace: Option<Vec<String>>,
    panics: Vec<String>,
    began: Instant,
    settled: Option<Waker>,
}

impl State {
    /// Milliseconds of the paused clock, for people.
    fn elapsed_ms(&self) -> u128 {
        Instant::now().saturating_duration_since(self.began).as_millis()
    }
}

struct Meta {
    name: String,
    background: bool,
    priority: f64,
    gates: usize,
    death: Option<Death>,
    dying: bool,
}

#[derive(Clone)]
struct Point {
    id: u64,
    actor: usize,
    what: String,
    /// A plan may have it wait.
    not_before: Instant,
    open: bool,
    waker: Option<Waker>,
}

/// An actor whose future is made where it is polled: handlers' futures are not all `Send`, and need not be, for Lambda runs them on one
/// thread.
struct Starting {
    make: Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>,
    flag: Arc<Flag>,
    end: Arc<Mutex<Option<Fate>>>,
    ended: Arc<AtomicWaker>,
}

impl Starting {
    fn start(self) -> Actor {
        let Self { make, flag, end, ended } = self;
        Actor { future: make(), waker: Waker::from(flag.clone()), flag, end, ended }
    }
}

struct Actor {
    future: LocalBoxFuture<'static, ()>,
    flag: Arc<Flag>,
    waker: Waker,
    end: Arc<Mutex<Option<Fate>>>,
    ended: Arc<AtomicWaker>,
}

/// Set when the actor can go on.
struct Flag {
    woken: AtomicBool,
    shared: Arc<Shared>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.shared.driver.wake();
    }
}

/// An actor that was started.
pub(crate) struct Handle<T> {
    result: Arc<Mutex<Option<T>>>,
    end: Arc<Mutex<Option<Fate>>>,
    ended: Arc<AtomicWaker>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Handle<T> {
    /// What it came to; `None` when it was killed.
    pub(crate) async fn join(self) -> Option<T> {
        std::future::poll_fn(|cx| {
            self.ended.register(cx.waker());
            if lock(&self.end).is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        lock(&self.result).take()
    }

    /// The same, and how it ended.
    pub(crate) async fn outcome(self) -> (Option<T>, Fate) {
        let end = self.end.clone();
        let result = self.join().await;
        let fate = lock(&end).clone().unwrap_or(Fate::Killed);
        (result, fate)
    }
}

impl Schedule {
    pub(crate) fn new(seed: u64, traced: bool) -> Self {
        // what our own code and the SDK draw (jitter) is drawn from the seed as well
        fastrand::seed(seed);
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let order = match rng.u8(..4) {
            0 | 1 => Order::Fair,
            2 => Order::Priorities { change: 0.01 + 0.1 * rng.f64() },
            _ => Order::Turns { interrupt: 0.05 + 0.5 * rng.f64() },
        };
        let state = State {
            rng,
            order,
            plan: None,
            next_actor: 0,
            next_point: 0,
            current: None,
            started: Vec::new(),
            running: BTreeMap::new(),
            points: Vec::new(),
            trace: traced.then(Vec::new),
            panics: Vec::new(),
            began: Instant::now(),
            settled: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), driver: AtomicWaker::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// From now on, as the plan has it.
    pub(crate) fn follow(&self, plan: Plan) {
        let mut state = self.state();
        (state.order, state.plan) = (Order::Planned, Some(plan));
    }

    /// The plan as it was followed.
    pub(crate) fn followed(&self) -> Option<Plan> {
        let mut state = self.state();
        state.order = Order::Fair;
        state.plan.take()
    }

    /// A draw of the seed.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.state().rng)
    }

    pub(crate) fn chance(&self, probability: f64) -> bool {
        probability > 0.0 && self.draw(|rng| rng.f64() < probability)
    }

    /// Who is running.
    pub(crate) fn names(&self) -> Vec<String> {
        self.state().running.values().map(|meta| meta.name.clone()).collect()
    }

    /// Waits until nobody runs but those who always do: timers of sockets and clients.
    pub(crate) async fn settled(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.state();
            if state.running.values().all(|meta| meta.background) {
                return Poll::Ready(());
            }
            state.settled = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn trace(&self) -> Vec<String> {
        self.state().trace.clone().unwrap_or_default()
    }

    /// Notes something in the trace.
    pub(crate) fn note(&self, what: impl FnOnce() -> String) {
        let mut state = self.state();
        if state.trace.is_some() {
            let line = format!("{:>9} {}", state.elapsed_ms(), what());
            state.trace.iter_mut().for_each(|trace| trace.push(line.clone()));
        }
    }

    /// Panics of actors.
    pub(crate) fn panics(&self) -> Vec<String> {
        self.state().panics.clone()
    }

    /// Starts an actor.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        name: impl Into<String>,
        death: Option<Death>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Handle<T> {
        self.start(name.into(), death, false, move || work)
    }

    /// The same for work that cannot be sent to another thread.
    pub(crate) fn spawn_local<T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        name: impl Into<String>,
        death: Option<Death>,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Handle<T> {
        self.start(name.into(), death, false, make)
    }

    /// Starts an actor that is always there: nobody waits for its end.
    pub(crate) fn spawn_background(&self, name: impl Into<String>, work: impl Future<Output = ()> + Send + 'static) {
        self.start(name.into(), None, true, move || work);
    }

    fn start<T: Send + 'static, F: Future<Output = T> + 'static>(
        &self,
        name: String,
        death: Option<Death>,
        background: bool,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> Handle<T> {
        let (result, end) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
        let ended = Arc::new(AtomicWaker::new());
        let output = result.clone();
        let flag = Arc::new(Flag { woken: AtomicBool::new(true), shared: self.0.clone() });
        let starting = Starting {
            make: Box::new(move || {
                let work = make();
                Box::pin(async move {
                    let done = work.await;
                    *lock(&output) = Some(done);
                })
            }),
            flag,
            end: end.clone(),
            ended: ended.clone(),
        };
        let mut state = self.state();
        let id = state.next_actor;
        state.next_actor += 1;
        let priority = state.rng.f64();
        state.running.insert(id, Meta { name, background, priority, gates: 0, death, dying: false });
        state.started.push((id, starting));
        drop(state);
        self.0.driver.wake();
        Handle { result, end, ended }
    }

    /// Runs everybody until `main`, the test, is through; whoever is still there is dropped.
    pub(crate) async fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = Box::pin(main);
        let main_flag = Arc::new(Flag { woken: AtomicBool::new(true), shared: self.0.clone() });
        let main_waker = Waker::from(main_flag.clone());
        let mut actors: BTreeMap<usize, Actor> = BTreeMap::new();
        loop {
            let mut moved = false;
            if main_flag.woken.swap(false, Ordering::AcqRel) {
                moved = true;
                if let Poll::Ready(result) = main.as_mut().poll(&mut Context::from_waker(&main_waker)) {
                    return result;
                }
            }
            let started = std::mem::take(&mut self.state().started);
            actors.extend(started.into_iter().map(|(id, starting)| (id, starting.start())));
            let woken: Vec<usize> = actors
                .iter()
                .filter(|(_, actor)| actor.flag.woken.swap(false, Ordering::AcqRel))
                .map(|(&id, _)| id)
                .collect();
            for id in woken {
                moved = true;
                if let Some(fate) = self.poll_actor(id, &mut actors) {
                    // dropped outside of the lock: what it held lets go in its own way
                    let actor = actors.remove(&id);
                    let meta = self.state().running.remove(&id);
                    if let (Some(actor), Some(meta)) = (actor, meta) {
                        if fate != Fate::Done {
                            self.note(|| format!("{} ends: {fate:?}", meta.name));
                        }
                        if let Fate::Panicked(why) = &fate {
                            self.state().panics.push(format!("{}: {why}", meta.name));
                        }
                        drop(actor.future);
                        *lock(&actor.end) = Some(fate);
                        actor.ended.wake();
                        if let Some(waker) = self.state().settled.take() {
                            waker.wake();
                        }
                    }
                }
            }
            if moved {
                continue;
            }
            if let Some((point, pause)) = self.choose() {
                if !pause.is_zero() {
                    tokio::time::advance(pause).await;
                }
                self.open(point);
                continue;
            }
            // nobody can go on before time passes; the paused clock jumps to the next timer
            let woken = std::future::poll_fn(|cx| {
                self.0.driver.register(cx.waker());
                let woken = main_flag.woken.load(Ordering::Acquire)
                    || actors.values().any(|actor| actor.flag.woken.load(Ordering::Acquire))
                    || !self.state().started.is_empty();
                if woken { Poll::Ready(()) } else { Poll::Pending }
            });
            let stalled = self.stalled_until();
            let until = stalled.unwrap_or_else(|| Instant::now() + Duration::from_hours(24 * 365));
            let waiting = tokio::time::timeout_at(until, woken).await;
            assert!(waiting.is_ok() || stalled.is_some(), "everybody waits for ever: {:?}", self.names());
        }
    }

    fn poll_actor(&self, id: usize, actors: &mut BTreeMap<usize, Actor>) -> Option<Fate> {
        let actor = actors.get_mut(&id)?;
        self.state().current = Some(id);
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| {
            actor.future.as_mut().poll(&mut Context::from_waker(&actor.waker))
        }));
        let mut state = self.state();
        state.current = None;
        match polled {
            Ok(Poll::Ready(())) => Some(Fate::Done),
            Ok(Poll::Pending) if state.running.get(&id).is_some_and(|meta| meta.dying) => Some(Fate::Killed),
            Ok(Poll::Pending) => None,
            Err(panic) => Some(Fate::Panicked(panic_message(panic.as_ref()))),
        }
    }

    /// One of those who wait, and how long the world stands still before.
    fn choose(&self) -> Option<(u64, Duration)> {
        let mut state = self.state();
        let state = &mut *state;
        if let Some(plan) = &mut state.plan {
            loop {
                let now = Instant::now();
                let waiting: Vec<Point> =
                    state.points.iter().filter(|point| point.not_before <= now).cloned().collect();
                if waiting.is_empty() {
                    return None;
                }
                let (index, stall) = plan.decide(&waiting);
                let id = waiting[index].id;
                let Some(stall) = stall else { return Some((id, Duration::from_millis(1))) };
                if let Some(point) = state.points.iter_mut().find(|point| point.id == id) {
                    point.not_before = now + stall;
                }
            }
        }
        if state.points.is_empty() {
            return None;
        }
        let index = match state.order {
            Order::Fair => state.rng.usize(..state.points.len()),
            Order::Turns { interrupt } => {
                if state.rng.f64() < interrupt {
                    state.rng.usize(..state.points.len())
                } else {
                    0
                }
            }
            Order::Priorities { change } => {
                let priority = |point: &Point| state.running.get(&point.actor).map_or(0.0, |meta| meta.priority);
                let mut highest = 0;
                for (index, point) in state.points.iter().enumerate() {
                    if priority(point) > priority(&state.points[highest]) {
                        highest = index;
                    }
                }
                if state.rng.f64() < change {
                    let actor = state.points[highest].actor;
                    let lowered = state.rng.f64() * 0.5;
                    state.running.entry(actor).and_modify(|meta| meta.priority = lowered);
                }
                highest
            }
            Order::Planned => 0,
        };
        let pause = match state.rng.u8(..20) {
            0..=7 => 0,
            8..=15 => 1,
            16 | 17 => 4,
            18 => 15,
            _ => 40,
        };
        Some((state.points[index].id, Duration::from_millis(pause)))
    }

    /// When the first of those that a plan has wait may go on.
    fn stalled_until(&self) -> Option<Instant> {
        self.state().points.iter().map(|point| point.not_before).min()
    }

    fn open(&self, id: u64) {
        let mut state = self.state();
        if let Some(point) = state.points.iter_mut().find(|point| point.id == id) {
            point.open = true;
            if let Some(waker) = point.waker.take() {
                waker.wake();
            }
        }
    }

    /// Waits for its turn. The test itself goes through.
    ///
    /// Comes back with what is to be done after the deed: an actor that is to die after it does so there.
    pub(crate) async fn gate(&self, what: impl FnOnce() -> String) -> AfterTheDeed {
        match self.come_to_gate(what) {
            Arrival::Passes => AfterTheDeed::None,
            Arrival::Dies => std::future::pending().await,
            Arrival::Waits { gate, actor, dies_after } => {
                gate.await;
                if dies_after { AfterTheDeed::Die(self.clone(), actor) } else { AfterTheDeed::None }
            }
        }
    }

    fn come_to_gate(&self, what: impl FnOnce() -> String) -> Arrival {
        let mut state = self.state();
        let state = &mut *state;
        let Some(actor) = state.current else { return Arrival::Passes };
        let Some(meta) = state.running.get_mut(&actor) else { return Arrival::Passes };
        let here = meta.death.filter(|death| death.gate == meta.gates);
        meta.gates += 1;
        if here.is_some_and(|death| !death.after) {
            meta.dying = true;
            return Arrival::Dies;
        }
        let id = state.next_point;
        state.next_point += 1;
        let what = if state.trace.is_some() { what() } else { String::new() };
        let not_before = Instant::now();
        state.points.push(Point { id, actor, what, not_before, open: false, waker: None });
        Arrival::Waits { gate: Gate { schedule: self.clone(), id }, actor, dies_after: here.is_some() }
    }
}

enum Arrival {
    Passes,
    Dies,
    Waits { gate: Gate, actor: usize, dies_after: bool },
}

/// What happens to an actor after what it waited at the gate for is done.
pub(crate) enum AfterTheDeed {
    None,
    Die(Schedule, usize),
}

impl AfterTheDeed {
    /// To be awaited after the deed.
    pub(crate) async fn come(self) {
        if let Self::Die(schedule, actor) = self {
            schedule.state().running.entry(actor).and_modify(|meta| meta.dying = true);
            std::future::pending::<()>().await;
        }
    }
}

struct Gate {
    schedule: Schedule,
    id: u64,
}

impl Future for Gate {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.schedule.state();
        let Some(index) = state.points.iter().position(|point| point.id == self.id) else { return Poll::Ready(()) };
        if !state.points[index].open {
            state.points[index].waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let point = state.points.remove(index);
        if state.trace.is_some() {
            let name = state.running.get(&point.actor).map(|meta| meta.name.clone()).unwrap_or_default();
            let line = format!("{:>9} {name}: {}", state.elapsed_ms(), point.what);
            state.trace.iter_mut().for_each(|trace| trace.push(line.clone()));
        }
        Poll::Ready(())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut state = self.schedule.state();
        state.points.retain(|point| point.id != self.id);
    }
}

pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "?".to_owned())
}
