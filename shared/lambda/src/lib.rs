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
pub use signalbox_clock::now_ms;

/// A file that was deployed beside the binary: in `LAMBDA_TASK_ROOT`, which `sam local invoke` leaves unset, or in the
/// binary's own folder.
pub fn task_file(name: &str) -> anyhow::Result<String> {
    let folder = match env::optional("LAMBDA_TASK_ROOT") {
        Some(folder) => std::path::PathBuf::from(folder),
        None => std::env::current_exe()?.parent().map(std::path::Path::to_path_buf).unwrap_or_default(),
    };
    let path = folder.join(name);
    std::fs::read_to_string(&path).map_err(|cause| anyhow::anyhow!("{}: {cause}", path.display()))
}
