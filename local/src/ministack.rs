//! MiniStack: the AWS APIs, and the functions' processes.

use std::{
    fs::File,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    Interrupt, StartError,
    aws::{ACCESS_KEY, Aws, REGION, SECRET_KEY},
    ports::Ports,
    process::{Guarded, last_error_line},
    python::Tools,
    state::State,
};

const START: Duration = Duration::from_mins(1);

/// How long it may take to close its connections and write its state. It kills itself after 20 s.
pub(crate) const STOP: Duration = Duration::from_secs(25);

/// Addresses are in MiniStack's saved state (a queue is found by its URL): moves them when this start has other ports.
pub(crate) fn move_saved_state(state: &State, ports: Ports) -> Result<(), StartError> {
    let trouble = |error: std::io::Error| StartError::failed("moving the state to other ports", error);
    if let Some(before) = state.read_json::<Ports>("ports.json").filter(|&before| before != ports) {
        for entry in std::fs::read_dir(state.path("ministack")).map_err(trouble)?.flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(entry.path()).map_err(trouble)?;
                std::fs::write(entry.path(), moved(&text, before, ports)).map_err(trouble)?;
            }
        }
    }
    state.write_json("ports.json", &ports).map_err(trouble)
}

fn moved(text: &str, before: Ports, now: Ports) -> String {
    let pairs =
        [(before.aws, now.aws), (before.web, now.web), (before.postgres, now.postgres), (before.pooler, now.pooler)];
    // In two rounds: the ranges may overlap.
    let mut text = text.to_owned();
    for (index, (old, _)) in pairs.iter().enumerate() {
        for host in ["localhost", "127.0.0.1"] {
            text = text.replace(&format!("{host}:{old}"), &format!("{host}:<port {index}>"));
        }
    }
    for (index, (_, new)) in pairs.iter().enumerate() {
        text = text.replace(&format!("<port {index}>"), &new.to_string());
    }
    text
}

/// Starts it. It is not ready yet, see [`wait_until_ready`].
pub(crate) fn spawn(tools: &Tools, state: &State, ports: Ports, auth: bool, log: &File) -> Result<Guarded, StartError> {
    let trouble = |error: std::io::Error| StartError::failed("starting MiniStack", error);
    let mut command = Command::new(&tools.guard.python);
    // Functions inherit all of this environment: it holds what they need and nothing of the person's.
    command.env_clear();
    for name in ["PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .arg("-I")
        .arg(&tools.launcher)
        .arg(state.path("endpoints.json"))
        .env("HOME", state.path("tmp"))
        .env("TMPDIR", state.path("tmp"))
        // Without it functions in Rust would talk to the real AWS.
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", ports.aws))
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("MINISTACK_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("GATEWAY_PORT", ports.aws.to_string())
        .env("BIND_HOST", "127.0.0.1")
        .env("PERSIST_STATE", "1")
        .env("STATE_DIR", state.path("ministack"))
        .env("S3_PERSIST", "1")
        .env("S3_DATA_DIR", state.path("ministack/s3"))
        // After 5 s and 10 s more, where AWS takes one and two minutes. Sooner is too soon: when one process of a function dies
        // MiniStack fails others of it for a second or two, and three tries would be over.
        .env("LAMBDA_ASYNC_RETRY_BASE_SECONDS", "5")
        // AWS's own: what waits for one of our few environments counts, too (python/ministack_launcher.py, 4)
        .env("LAMBDA_ACCOUNT_CONCURRENCY", "1000")
        .env("LOG_LEVEL", "INFO")
        .env("RUST_LOG", "info")
        // Ports of services that we do not use would collide between two stacks.
        .env("SFTP_ENABLED", "0")
        .env("IOT_MTLS_ENABLED", "0")
        // A Docker that happens to be there is not to be touched.
        .env("LAMBDA_EXECUTOR", "local")
        .env("DOCKER_HOST", format!("unix://{}", state.path("no-docker").display()))
        .env("PYTHONUNBUFFERED", "1")
        .current_dir(state.path("tmp"))
        .stdout(log.try_clone().map_err(trouble)?)
        .stderr(log.try_clone().map_err(trouble)?);
    if auth {
        command.env("AUTH", "true");
    }
    Guarded::spawn(&mut command).map_err(trouble)
}

/// Waits until it answers.
pub(crate) async fn wait_until_ready(
    aws: &Aws,
    child: &mut Guarded,
    log: &Path,
    interrupt: &Interrupt,
) -> Result<(), StartError> {
    let deadline = Instant::now() + START;
    loop {
        if aws.is_ready().await && child.ended().is_none() {
            return Ok(());
        }
        if child.ended().is_some() || Instant::now() > deadline {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let reason = last_error_line(&text).unwrap_or("it said nothing").to_owned();
            return Err(StartError::failed("starting MiniStack", reason).with_log(log));
        }
        if interrupt.is_raised() {
            return Err(StartError::interrupted());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_the_saved_state_move_with_the_ports_even_when_the_ranges_overlap() {
        let text =
            "http://localhost:5000/q http://127.0.0.1:5001 postgres://u@127.0.0.1:5003/d at 5000 http://10.0.0.1:5000";
        let moved = moved(text, Ports::from_base(5000).unwrap(), Ports::from_base(5001).unwrap());
        assert_eq!(
            moved,
            "http://localhost:5001/q http://127.0.0.1:5002 postgres://u@127.0.0.1:5004/d at 5000 http://10.0.0.1:5000"
        );
    }
}
