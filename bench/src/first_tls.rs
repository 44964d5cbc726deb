//! The first TLS handshake of a process: with ring, as ours, and with aws-lc as the SDK brings it by default.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use tokio::{process::Command, task::LocalSet};

use crate::{
    cold_start::self_signed,
    meter::{Target, median, say, target},
    serve,
};

pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<()> {
    let runs: usize = arguments.first().map_or(Ok(21), |runs| runs.parse())?;
    let release = std::env::current_exe()?.parent().context("a folder")?.to_path_buf();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("first-tls/Cargo.toml");
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(release.parent().context("a target folder")?)
        // aws-lc as it is by default: this repository's own configuration switches the costly part off
        .env("AWS_LC_SYS_NO_JITTER_ENTROPY", "0")
        .status()
        .await?;
    ensure!(built.success(), "first-tls: {built}");
    LocalSet::new().run_until(measure(runs, &release.join("first-tls"))).await
}

async fn measure(runs: usize, program: &Path) -> anyhow::Result<()> {
    let (authority, config) = self_signed()?;
    let file = std::env::temp_dir().join(format!("signalbox-bench-{}.pem", std::process::id()));
    std::fs::write(&file, authority)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    tokio::task::spawn_local(serve::tls(listener, acceptor, |_| async { serve::answer(200, "") }));
    let (mut ring, mut aws_lc) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        for (provider, samples) in [("ring", &mut ring), ("aws-lc", &mut aws_lc)] {
            let output = Command::new(program).args([provider, &address]).arg(&file).output().await?;
            ensure!(output.status.success(), "{provider}: {}", String::from_utf8_lossy(&output.stderr));
            samples.push(String::from_utf8(output.stdout)?.trim().parse::<f64>()? / 1000.0);
        }
    }
    std::fs::remove_file(&file)?;
    say(&format!("| provider (median of {runs} processes) | first handshake, ms |\n|---|---|"));
    say(&format!("| ring, as ours | {:.1} |", median(&ring)));
    say(&format!("| aws-lc as it is by default | {:.1} |", median(&aws_lc)));
    say("");
    target("first TLS call, aws-lc / ours", median(&aws_lc) / median(&ring), Target::AtLeast(5.0));
    Ok(())
}
