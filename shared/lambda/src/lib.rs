//! What every function shares and nothing that knows us: boot, telemetry, AWS configuration, SQS batches.
//!
//! A function's `main.rs` is `boot` → `State::from_env` → one of the `run*` methods of [`Boot`].

mod aws;
mod boot;
pub mod env;
pub mod sqs;
mod telemetry;

pub use aws::sdk_config;
pub use boot::{Boot, boot};
pub use lambda_http;
/// What `main` returns: the runtime prints it and Lambda reports an init error.
pub use lambda_runtime::Error;

/// Unix time in milliseconds.
pub fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A file that was deployed beside the binary (`LAMBDA_TASK_ROOT`).
pub fn task_file(name: &str) -> anyhow::Result<String> {
    let folder = env::require("LAMBDA_TASK_ROOT")?;
    let path = std::path::Path::new(&folder).join(name);
    std::fs::read_to_string(&path).map_err(|cause| anyhow::anyhow!("{}: {cause}", path.display()))
}
