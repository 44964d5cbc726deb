//! One clock for leases, expiries, TTLs and schedules.

/// Unix milliseconds. With feature `testing` it goes with tokio's clock, which a test can pause and advance; while nobody does,
/// that is the wall clock too.
pub fn now_ms() -> i64 {
    i64::try_from(now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

#[cfg(not(feature = "testing"))]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[cfg(feature = "testing")]
fn now() -> std::time::SystemTime {
    use std::{
        sync::LazyLock,
        time::{Instant, SystemTime},
    };
    static START: LazyLock<(SystemTime, Instant)> = LazyLock::new(|| (SystemTime::now(), Instant::now()));
    let (wall, monotonic) = *START;
    wall + tokio::time::Instant::now().into_std().saturating_duration_since(monotonic)
}
