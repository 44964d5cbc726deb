//! The SDKs that applications use, unchanged, against the cloud of this binary: every feature, a storm of reconnects, tabs of a
//! browser. The tests themselves are in `tests/sdk`, in the SDKs' languages.
//!
//! Where node or the Python packages are missing that is said and nothing is tested; `SIGNALBOX_REQUIRE_SDKS=true` (CI) makes it
//! a failure.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use signalbox_local::Cloud;

/// One line that is seen whatever the harness does with output.
fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

fn skip(name: &str, reason: &str) {
    let required = std::env::var("SIGNALBOX_REQUIRE_SDKS").is_ok_and(|value| value == "true");
    assert!(!required, "{name}: {reason}, and it is required");
    tell(&format!("{name}: skipped, {reason}"));
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk").join(name)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A command that finds the stack.
fn against(cloud: &Cloud, program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("SIGNALBOX_ENDPOINTS", cloud.endpoints().state_dir.join("endpoints.json"));
    command
}

/// The folder of the JavaScript tests, with their packages; or why that cannot be.
fn javascript() -> Result<PathBuf, String> {
    static PACKAGES: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let install = || {
        let folder = folder("js");
        let trouble = |error: std::io::Error| format!("npm: {error}");
        let wanted = fs::read(folder.join("package-lock.json")).map_err(trouble)?;
        let installed = folder.join("node_modules/.signalbox-packages");
        if fs::read(&installed).ok().as_ref() != Some(&wanted) {
            let npm = ["ci", "--no-audit", "--no-fund"];
            let output = Command::new("npm").args(npm).current_dir(&folder).output().map_err(trouble)?;
            if !output.status.success() {
                return Err(format!("npm ci failed: {}", said(&output)));
            }
            fs::write(installed, wanted).map_err(trouble)?;
        }
        Ok(folder)
    };
    PACKAGES.get_or_init(install).clone()
}

/// Runs a script that ends with one line of its result, or with 77 where there is no browser.
fn script(cloud: &Cloud, name: &str) {
    let folder = match javascript() {
        Ok(folder) => folder,
        Err(reason) => return skip(name, &reason),
    };
    let output = against(cloud, "node", &folder).arg(name).output().unwrap();
    let said = said(&output);
    if output.status.code() == Some(77) {
        return skip(name, "no browser was found");
    }
    assert!(output.status.success(), "{said}");
    tell(said.trim_end().lines().last().unwrap_or_default());
}

/// Part of the end-to-end tests: they need the cloud, and its binary for themselves.
mod end_to_end {
    use std::process::Command;

    use super::{against, folder, javascript, said, script, skip, tell};
    use crate::cloud::{alone, shared};

    #[tokio::test(flavor = "multi_thread")]
    async fn the_javascript_sdk_finds_every_feature() {
        let (cloud, _peace) = shared().await;
        let folder = match javascript() {
            Ok(folder) => folder,
            Err(reason) => return skip("sdk js", &reason),
        };
        let arguments = ["--test", "--test-concurrency=5", "--test-reporter=spec"];
        let output = against(cloud, "node", &folder).args(arguments).output().unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        let count = |what: &str| said.lines().rev().find_map(|line| line.split_once(what)).map(|(_, n)| n.trim());
        tell(&format!("sdk js: {} tests passed", count(" pass ").unwrap_or("?")));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_python_sdks_find_every_feature() {
        let (cloud, _peace) = shared().await;
        let packages = Command::new("python3").args(["-c", "import cent, centrifuge, pytest"]).output();
        if !packages.is_ok_and(|output| output.status.success()) {
            return skip("sdk python", "python3 has no cent, centrifuge-python or pytest");
        }
        let arguments = ["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"];
        let output = against(cloud, "python3", &folder("python")).args(arguments).output().unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        tell(&format!("sdk python: {}", said.trim_end().lines().last().unwrap_or_default()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn clients_that_are_dropped_at_once_recover_without_loss() {
        let (cloud, _peace) = alone().await;
        script(cloud, "storm.mjs");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tabs_of_a_browser_each_get_everything() {
        let (cloud, _peace) = alone().await;
        script(cloud, "tabs.mjs");
    }
}
