//! Clocks, memory and the words around a figure.

use std::{
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;

/// CPU time of this process so far, all threads, user and system.
pub(crate) fn cpu_time() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// What of it was spent since then.
pub(crate) fn cpu_since(before: Duration) -> f64 {
    cpu_time().saturating_sub(before).as_secs_f64()
}

/// Most memory this process ever had resident, KiB.
pub(crate) fn peak_memory_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("peak memory: Linux only")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

/// Unix microseconds.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// 0 of no samples.
pub(crate) fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let index = (q * sorted.len() as f64) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// Counts are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A line of the report.
pub(crate) fn say(line: &str) {
    // nobody listens any more: nothing that a bench could do about it
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A heading and the target it is held against.
pub(crate) fn target(what: &str, ratio: f64, at: Target) {
    let (holds, sign, bound) = match at {
        Target::AtLeast(bound) => (ratio >= bound, '≥', bound),
        Target::AtMost(bound) => (ratio <= bound, '≤', bound),
    };
    say(&format!("{what}: {ratio:.3} (to hold {sign} {bound:.3}: {})", if holds { "holds" } else { "MISSED" }));
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// What the figures were taken on. The load says whether the machine was calm.
pub(crate) fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("?");
    format!(
        "machine: {} × {cores}, {}, load {load}\n",
        cpu.trim_start_matches([' ', '\t', ':']),
        std::env::consts::ARCH
    )
}
