//! The SDKs that applications use, unchanged, against the cloud of this binary: every feature, a storm of reconnects, tabs of a
//! browser. The tests themselves are in `tests/sdk`, in the SDKs' languages, and so are the cloud's namespaces.
//!
//! Where Node, Python, their packages or a browser cannot be had that is said and counts as skipped;
//! `SIGNALBOX_REQUIRE_BROWSER=true` (CI) makes it a failure.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use signalbox_local::Cloud;

use crate::cloud::alone;

/// What a script ends with where there is no browser.
const NO_BROWSER: i32 = 77;

/// One line that is seen whatever the harness does with output.
#[expect(clippy::explicit_write, reason = "the harness keeps what the macros print")]
fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

fn skip(name: &str, reason: &str) {
    let required = std::env::var("SIGNALBOX_REQUIRE_BROWSER").is_ok_and(|value| value == "true");
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
fn against(cloud: &Cloud, program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env("SIGNALBOX_ENDPOINTS", cloud.endpoints().state_dir.join("endpoints.json"));
    command
}

/// Runs something that prepares; what went wrong if it did.
fn prepare(what: &str, command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{what}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(format!("{what} failed: {}", said(&output).trim_end())) }
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
            prepare("npm ci", Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder))?;
            fs::write(installed, wanted).map_err(trouble)?;
        }
        Ok(folder)
    };
    PACKAGES.get_or_init(install).clone()
}

/// A Python with the SDKs, in an environment of its own; or why that cannot be.
fn python() -> Result<PathBuf, String> {
    let trouble = |error: std::io::Error| format!("python: {error}");
    let requirements = folder("python").join("requirements.txt");
    let wanted = fs::read(&requirements).map_err(trouble)?;
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-python");
    let python = home.join("bin/python");
    let installed = home.join("signalbox-packages");
    if fs::read(&installed).ok().as_ref() != Some(&wanted) {
        let system = std::env::var_os("PYTHON").filter(|name| !name.is_empty()).unwrap_or_else(|| "python3".into());
        prepare("python -m venv", Command::new(system).args(["-I", "-m", "venv", "--clear"]).arg(&home))?;
        let pip = ["-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile", "-r"];
        prepare("pip install", Command::new(&python).args(pip).arg(&requirements))?;
        fs::write(installed, wanted).map_err(trouble)?;
    }
    Ok(python)
}

/// Runs a script that ends with one line of its result.
async fn script(name: &str) {
    let folder = match javascript() {
        Ok(folder) => folder,
        Err(reason) => return skip(name, &reason),
    };
    let (cloud, _peace) = alone().await;
    let output = against(cloud, "node", &folder).arg(name).output().unwrap();
    let said = said(&output);
    if output.status.code() == Some(NO_BROWSER) {
        return skip(name, "no browser was found");
    }
    assert!(output.status.success(), "{said}");
    tell(said.trim_end().lines().last().unwrap_or_default());
}

/// Part of the end-to-end tests: nextest would start a cloud for each.
mod end_to_end {
    use super::{against, folder, javascript, python, said, script, skip, tell};
    use crate::cloud::shared;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_javascript_sdk_finds_every_feature() {
        let folder = match javascript() {
            Ok(folder) => folder,
            Err(reason) => return skip("sdk js", &reason),
        };
        let (cloud, _peace) = shared().await;
        let arguments = ["--test", "--test-concurrency=3", "--test-reporter=spec"];
        let output = against(cloud, "node", &folder).args(arguments).output().unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        let passed = said.lines().rev().find_map(|line| line.split_once(" pass ")).map(|(_, count)| count.trim());
        let passed = passed.and_then(|count| count.parse::<u32>().ok()).filter(|count| *count > 0);
        tell(&format!("sdk js: {} passed", passed.unwrap_or_else(|| panic!("no test ran: {said}"))));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_python_sdks_find_every_feature() {
        let python = match python() {
            Ok(python) => python,
            Err(reason) => return skip("sdk python", &reason),
        };
        let (cloud, _peace) = shared().await;
        let arguments = ["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"];
        let output = against(cloud, python, &folder("python")).args(arguments).output().unwrap();
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        tell(&format!("sdk python: {}", said.trim_end().lines().last().unwrap_or_default()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn clients_that_are_dropped_at_once_recover_without_loss() {
        script("storm.mjs").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn tabs_of_a_browser_each_get_everything() {
        script("tabs.mjs").await;
    }
}
