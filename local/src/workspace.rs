//! The checkout, and the tools of the machine that we cannot bring ourselves.

use std::{
    env,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use serde::Deserialize;

use crate::{Interrupt, StartError};

/// Where the sources and the build's results are.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    target_directory: PathBuf,
}

impl Workspace {
    /// Finds the checkout this was built from.
    pub(crate) fn find() -> Result<Self, StartError> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default();
        let output = cargo().args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(&root).output();
        let output =
            output.map_err(|_| StartError::new("cargo is not there", "install Rust from https://rustup.rs"))?;
        let metadata: Metadata = serde_json::from_slice(&output.stdout).map_err(|_| {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            StartError::failed("cargo metadata", crate::process::last_error_line(&text).unwrap_or("it said nothing"))
        })?;
        Ok(Self { root, target: metadata.target_directory })
    }

    /// Where what all stacks share is kept: Python environments, stamps, locks.
    pub(crate) fn cache(&self) -> PathBuf {
        self.target.join("signalbox")
    }

    /// Waits for the lock `name` of the cache. It is held until dropped.
    pub(crate) fn lock(&self, name: &str, interrupt: &Interrupt) -> Result<File, StartError> {
        let path = self.cache().join(name);
        let trouble = |error| StartError::failed(&format!("locking {}", path.display()), error);
        std::fs::create_dir_all(self.cache()).map_err(trouble)?;
        let file = File::create(&path).map_err(trouble)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if interrupt.is_raised() => return Err(StartError::interrupted()),
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(50)),
                Err(TryLockError::Error(error)) => return Err(trouble(error)),
            }
        }
    }
}

/// The cargo that runs us, without what `cargo run` and `cargo test` set for the program they run: build scripts that look
/// at such variables would run again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    clean_of_cargo(&mut command);
    command
}

/// Removes from a command's environment what cargo sets for the program it runs.
pub(crate) fn clean_of_cargo(command: &mut Command) {
    const PREFIXES: [&str; 7] =
        ["CARGO_PKG_", "CARGO_BIN_", "CARGO_MANIFEST_", "CARGO_CFG_", "CARGO_FEATURE_", "NEXTEST", "__CARGO"];
    const NAMES: [&str; 9] = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_TMPDIR",
        // Functions for another system would not run here.
        "CARGO_BUILD_TARGET",
        "CARGO_MAKEFLAGS",
        "OUT_DIR",
        "LD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
    ];
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        if NAMES.contains(&text) || PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// A Python of at least 3.10: `PYTHON`, or the first that is found.
pub(crate) fn find_python() -> Result<PathBuf, StartError> {
    const NAMES: [&str; 6] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
    let named = env::var_os("PYTHON").filter(|name| !name.is_empty()).map(PathBuf::from);
    let candidates = match &named {
        Some(named) => vec![named.clone()],
        None => NAMES.iter().map(PathBuf::from).collect(),
    };
    let mut seen = None;
    for candidate in candidates {
        let probe = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)";
        let Ok(output) = Command::new(&candidate).args(["-I", "-c", probe]).output() else { continue };
        let text = String::from_utf8_lossy(&output.stdout);
        let Some((version, path)) = text.trim().split_once(' ') else { continue };
        if at_least(version, [3, 10]) {
            return Ok(PathBuf::from(path));
        }
        seen = Some(version.to_owned());
    }
    let what = match (seen, named) {
        (Some(version), _) => format!("Python {version} is too old"),
        (None, Some(named)) => format!("PYTHON={} does not run", named.display()),
        (None, None) => "Python is not there".to_owned(),
    };
    Err(StartError::new(what, "install Python 3.10 or newer, or name one with PYTHON=/path/to/python3"))
}

/// Fails unless there are Node 20 or newer and npm.
pub(crate) fn check_node() -> Result<(), StartError> {
    let version = |name: &str| {
        let output = Command::new(name).arg("--version").output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned())
    };
    let remedy = "install Node 20 or newer with npm, or leave the board out with --no-web";
    match version("node") {
        None => Err(StartError::new("Node is not there", remedy)),
        Some(found) if !at_least(&found, [20, 0]) => Err(StartError::new(format!("Node {found} is too old"), remedy)),
        Some(_) if version("npm").is_none() => Err(StartError::new("npm is not there", remedy)),
        Some(_) => Ok(()),
    }
}

fn at_least(version: &str, wanted: [u32; 2]) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)] >= wanted
}

/// A program in `PATH`, or where systems keep those that only root is expected to run.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let also = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(also).map(|dir| dir.join(name)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(at_least("3.10", [3, 10]) && at_least("3.11.7", [3, 10]) && at_least("4.0", [3, 10]));
        assert!(!at_least("3.9", [3, 10]) && !at_least("2.7.18", [3, 10]) && !at_least("", [3, 10]));
        assert!(at_least("20.20.2", [20, 0]) && !at_least("18.19.1", [20, 0]));
    }
}
