//! Runs a property on many interleavings, each of which is a seed.

use std::{
    fmt::Debug,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

use super::schedule::{Schedule, panic_message};

/// Lines of the trace that are printed for a failure.
const TOLD: usize = 400;

/// Runs `property` on `cases` seeds and situations; the same ones every time. `PROPTEST_CASES` has another number of them, and
/// `SIGNALBOX_SEED` that one alone, on every situation.
///
/// What fails is made smaller, and run again with a trace.
pub(crate) fn check<S, Fut>(name: &str, cases: u32, situations: S, property: impl Fn(Schedule, S::Value) -> Fut)
where
    S: Strategy,
    S::Value: Debug + Clone,
    Fut: Future<Output = ()>,
{
    if let Err((situation, seed, why)) = find(name, cases, situations, &property) {
        let (_, trace) = run(seed, true, situation.clone(), &property);
        let from = trace.len().saturating_sub(TOLD);
        panic!("{}\n{why}\n{situation:?}, SIGNALBOX_SEED={seed} repeats it", trace[from..].join("\n"));
    }
}

/// The same for what is to fail: a rule is broken on purpose, and one of the seeds must notice.
pub(crate) fn notices<S, Fut>(name: &str, cases: u32, situations: S, property: impl Fn(Schedule, S::Value) -> Fut)
where
    S: Strategy,
    S::Value: Debug + Clone,
    Fut: Future<Output = ()>,
{
    // as many as it takes, whatever `PROPTEST_CASES` says
    let config = Config { cases, max_shrink_iters: 0, ..config(cases) };
    let found = find_with(config, name, situations, &property);
    assert!(found.is_err(), "{name}: nobody noticed in {cases} cases");
}

/// A situation, its seed, and why it failed.
type Found<T> = (T, u64, String);

fn config(cases: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    Config { cases, max_shrink_iters: 40, failure_persistence: None, ..Config::default() }
}

fn find<S, Fut>(
    name: &str,
    cases: u32,
    situations: S,
    property: &impl Fn(Schedule, S::Value) -> Fut,
) -> Result<(), Found<S::Value>>
where
    S: Strategy,
    S::Value: Debug + Clone,
    Fut: Future<Output = ()>,
{
    find_with(config(cases), name, situations, property)
}

fn find_with<S, Fut>(
    config: Config,
    name: &str,
    situations: S,
    property: &impl Fn(Schedule, S::Value) -> Fut,
) -> Result<(), Found<S::Value>>
where
    S: Strategy,
    S::Value: Debug + Clone,
    Fut: Future<Output = ()>,
{
    let only: Option<u64> =
        std::env::var("SIGNALBOX_SEED").ok().map(|seed| seed.parse().expect("a number in SIGNALBOX_SEED"));
    // the same cases in every run: a failure in CI is one at home
    let mut key = [0; 32];
    key.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &key));
    // the seed is not made smaller: another one is another interleaving
    let cases = (situations, proptest::num::u64::ANY.no_shrink());
    let result = runner.run(&cases, |(situation, seed)| {
        let (outcome, _) = run(only.unwrap_or(seed), false, situation, property);
        outcome.map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => Ok(()),
        Err(TestError::Fail(why, (situation, seed))) => Err((situation, only.unwrap_or(seed), why.to_string())),
        Err(TestError::Abort(why)) => panic!("{name}: {why}"),
    }
}

/// One seed: why it failed, if it did, and its trace.
fn run<T, Fut>(
    seed: u64,
    traced: bool,
    situation: T,
    property: &impl Fn(Schedule, T) -> Fut,
) -> (Result<(), String>, Vec<String>)
where
    Fut: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let schedule = Schedule::new(seed, traced);
        let work = schedule.run(property(schedule.clone(), situation));
        let outcome = CatchUnwind(Box::pin(work)).await;
        let panics = schedule.panics();
        let outcome = match outcome {
            Err(panic) => Err(panic_message(panic.as_ref())),
            Ok(()) if !panics.is_empty() => Err(format!("an actor panicked: {panics:?}")),
            Ok(()) => Ok(()),
        };
        (outcome, schedule.trace())
    })
}

/// Catches a panic of the test itself, so that its seed can be told.
struct CatchUnwind<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchUnwind<F> {
    type Output = std::thread::Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
