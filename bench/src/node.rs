//! The JavaScript side of the anchors, in bench/node.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use tokio::process::Command;

use crate::child::Child;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node")
}

/// What package-lock.json pins, once.
pub(crate) async fn install() -> anyhow::Result<()> {
    let (lock, installed) = (folder().join("package-lock.json"), folder().join("node_modules/.package-lock.json"));
    let changed = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    if changed(&installed) < changed(&lock) {
        let status = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(folder())
            .status()
            .await?;
        ensure!(status.success(), "npm ci: {status}");
    }
    Ok(())
}

pub(crate) fn command(script: &str) -> Command {
    let mut command = Command::new("node");
    // the SDK warns of the versions of Node that it is going to drop
    command.arg("--no-warnings").arg(folder().join(script));
    command
}

pub(crate) fn start(script: &str, arguments: &[&str], environment: &[(&str, String)]) -> anyhow::Result<Child> {
    let mut command = command(script);
    command.args(arguments);
    Child::spawn(command, environment)
}

/// `script` with everything it imports in one minified file, as `sam build` makes it with esbuild.
pub(crate) async fn bundle(script: &str, into: &Path) -> anyhow::Result<PathBuf> {
    let bundled = into.join(script);
    let status = Command::new(folder().join("node_modules/.bin/esbuild"))
        .arg(folder().join(script))
        .args(["--bundle", "--minify", "--platform=node", "--target=node20", "--format=esm", "--log-level=error"])
        .arg("--banner:js=import{createRequire}from'module';const require=createRequire(import.meta.url);")
        .arg(format!("--outfile={}", bundled.display()))
        .status()
        .await?;
    ensure!(status.success(), "esbuild: {status}");
    Ok(bundled)
}
