//! The state directory: who holds it, what it left behind, what is in it.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{StartError, process::Recorded};

/// Marks a directory as ours: `--fresh` removes no other.
const MARKER: &str = "signalbox-state";
/// How long what a killed predecessor left may take to stop by itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// The state directory, held for as long as this lives.
#[derive(Debug)]
pub(crate) struct State {
    dir: PathBuf,
    _lock: File,
}

impl State {
    /// Takes the directory, stops what a killed predecessor left behind and, when asked, empties it.
    pub(crate) fn open(dir: &Path, fresh: bool) -> Result<Self, StartError> {
        let trouble = |error: io::Error| {
            StartError::new(format!("{} cannot be used: {error}", dir.display()), "choose another with --dir")
        };
        if dir.exists() && !dir.join(MARKER).exists() && fs::read_dir(dir).map_err(trouble)?.next().is_some() {
            return Err(StartError::new(
                format!("{} is not empty and not a state directory of cargo local", dir.display()),
                "choose another with --dir",
            ));
        }
        fs::create_dir_all(dir).map_err(trouble)?;
        let dir = &dir.canonicalize().map_err(trouble)?;
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(dir.join("lock"))
            .map_err(trouble)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                return Err(StartError::new(
                    format!("already running in {} (pid {})", dir.display(), holder.trim()),
                    "stop it, or choose another --dir and --port-base",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(trouble(error)),
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(trouble)?;
        let state = Self { dir: dir.clone(), _lock: lock };
        state.end_leftovers();
        if fresh {
            state.empty().map_err(trouble)?;
        }
        fs::write(dir.join(MARKER), "State of `cargo local`; `cargo local --fresh` begins anew.\n").map_err(trouble)?;
        let _ = fs::remove_file(state.path("endpoints.json"));
        let _ = fs::remove_dir_all(state.path("tmp"));
        for name in ["logs", "build", "tmp", "ministack"] {
            fs::create_dir_all(state.path(name)).map_err(trouble)?;
        }
        Ok(state)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    /// Opens a log to append to; a start begins a new one, the previous is kept as `.1`.
    pub(crate) fn begin_log(&self, name: &str) -> Result<File, StartError> {
        let path = self.log(name);
        let _ = fs::rename(&path, path.with_extension("log.1"));
        File::create(&path).map_err(|error| StartError::failed(&format!("writing {}", path.display()), error))
    }

    /// Writes down a process, so that the next start finds it should we be killed.
    pub(crate) fn record(&self, name: &str, pid: u32) {
        let mut all = self.recorded();
        all.retain(|process| process.name != name);
        all.extend(Recorded::of(name, pid));
        let _ = self.write_json("processes.json", &all);
    }

    fn recorded(&self) -> Vec<Recorded> {
        self.read_json("processes.json").unwrap_or_default()
    }

    fn end_leftovers(&self) {
        for process in self.recorded() {
            process.end(PATIENCE);
        }
        let _ = fs::remove_file(self.path("processes.json"));
    }

    /// Removes everything but the lock, and what Postgres had to put elsewhere.
    fn empty(&self) -> io::Result<()> {
        if let Ok(elsewhere) = fs::read_to_string(self.path("postgres-is-at")) {
            match fs::remove_dir_all(elsewhere.trim()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name() == "lock" {
                continue;
            }
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
        Ok(())
    }

    pub(crate) fn read_json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path(name)).ok()?).ok()
    }

    /// Replaces a file whole: a reader sees the old one or the new one.
    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        write_atomically(&self.path(name), &serde_json::to_vec_pretty(value)?)
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.path("endpoints.json"));
        let _ = fs::remove_file(self.path("processes.json"));
    }
}

/// Replaces a file whole. Only we may read it: some hold secrets.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("tmp");
    let _ = fs::remove_file(&temporary);
    File::options().create_new(true).write(true).mode(0o600).open(&temporary)?.write_all(content)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("signalbox-state-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn the_same_directory_twice_is_refused_with_the_holders_number() {
        let dir = scratch("twice");
        let first = State::open(&dir, false).unwrap();
        let error = State::open(&dir, false).unwrap_err().to_string();
        assert!(
            error.contains(&format!("already running in {} (pid {})", first.dir().display(), std::process::id())),
            "{error}"
        );
        drop(first);
        State::open(&dir, false).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_directory_of_somebody_else_is_not_touched() {
        let dir = scratch("foreign");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("thesis.txt"), "years").unwrap();
        for fresh in [false, true] {
            assert!(State::open(&dir, fresh).unwrap_err().to_string().contains("not a state directory"));
        }
        assert_eq!(fs::read_to_string(dir.join("thesis.txt")).unwrap(), "years");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn fresh_empties_and_an_ordinary_start_keeps() {
        let dir = scratch("fresh");
        drop(State::open(&dir, true).unwrap());
        fs::write(dir.join("kept"), "").unwrap();
        drop(State::open(&dir, false).unwrap());
        assert!(dir.join("kept").exists());
        drop(State::open(&dir, true).unwrap());
        assert!(!dir.join("kept").exists());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_a_killed_predecessor_left_running_is_stopped() {
        let dir = scratch("leftover");
        let state = State::open(&dir, false).unwrap();
        let mut left = Command::new("sleep").arg("60").spawn().unwrap();
        state.record("sleep", left.id());
        let recorded = state.recorded();
        // As after a SIGKILL: nothing is tidied up.
        let processes = fs::read(state.path("processes.json")).unwrap();
        drop(state);
        fs::write(dir.join("processes.json"), processes).unwrap();
        recorded[0].end(Duration::from_millis(50));
        assert!(left.wait().unwrap().code().is_none(), "ended by a signal");
        let state = State::open(&dir, false).unwrap();
        assert!(state.recorded().is_empty());
        drop(state);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn endpoints_of_an_earlier_run_do_not_survive_a_start() {
        let dir = scratch("endpoints");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(MARKER), "").unwrap();
        fs::write(dir.join("endpoints.json"), "{}").unwrap();
        let _state = State::open(&dir, false).unwrap();
        assert!(!dir.join("endpoints.json").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
