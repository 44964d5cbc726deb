//! Child processes that never outlive us.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::{Interrupt, StartError};

const POLL: Duration = Duration::from_millis(20);

/// A child in a process group of its own, so that the terminal's Ctrl-C reaches us alone and we stop things in order.
///
/// Its standard input is a pipe that we hold: when we end, however that happens, it reads the end of the file and stops
/// (`local/python/guard.py`, `ministack_launcher.py`). Dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    pipe: Option<ChildStdin>,
    group: Pid,
}

impl Guarded {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut child = command.stdin(Stdio::piped()).process_group(0).spawn()?;
        let pipe = child.stdin.take();
        let group = Pid::from_child(&child);
        Ok(Self { child, pipe, group })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it ended?
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to stop, waits for that at most `bound`, then kills what is left of its group.
    pub(crate) fn stop(&mut self, bound: Duration) {
        drop(self.pipe.take());
        let deadline = Instant::now() + bound;
        while self.ended().is_none() && Instant::now() < deadline {
            sleep(POLL);
        }
        self.kill();
    }

    fn kill(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// When the start is given up; it is stopped then.
    pub(crate) fn wait(&mut self, interrupt: &Interrupt) -> Result<ExitStatus, StartError> {
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if interrupt.is_raised() {
                self.stop(Duration::from_secs(5));
                return Err(StartError::interrupted());
            }
            sleep(POLL);
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where the Python side of this crate is, and which Python runs it.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) python: PathBuf,
    pub(crate) script: PathBuf,
}

impl Guard {
    /// A command that ends when we do. `arguments` are the guard's own, see `guard.py`.
    pub(crate) fn command(
        &self,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        program: impl AsRef<OsStr>,
    ) -> Command {
        let mut command = Command::new(&self.python);
        command.arg("-I").arg(&self.script).args(arguments).arg("--").arg(program);
        command
    }
}

/// Runs a command to its end; its output goes to `log`, which is emptied before.
///
/// # Errors
/// When it cannot be started, fails, or the start is given up.
pub(crate) fn run(command: &mut Command, doing: &str, log: &Path, interrupt: &Interrupt) -> Result<(), StartError> {
    let output = File::create(log).map_err(|error| StartError::failed(&format!("writing {}", log.display()), error))?;
    let errors = output.try_clone().map_err(|error| StartError::failed(doing, error))?;
    let status = Guarded::spawn(command.stdout(output).stderr(errors))
        .map_err(|error| StartError::failed(doing, error))?
        .wait(interrupt)?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let reason = last_error_line(&text).unwrap_or("it said nothing");
    Err(StartError::failed(doing, reason).with_log(log))
}

/// The last line that speaks of an error, or else the last line with anything in it.
pub(crate) fn last_error_line(text: &str) -> Option<&str> {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty()).rev();
    lines().find(|line| line.to_ascii_lowercase().contains("error")).or_else(|| lines().next())
}

/// A process as it can be recognised later, when its number may be somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) began: String,
}

impl Recorded {
    pub(crate) fn of(name: &str, pid: u32) -> Option<Self> {
        Some(Self { name: name.to_owned(), pid, began: began(pid)? })
    }

    pub(crate) fn is_alive(&self) -> bool {
        began(self.pid).as_ref() == Some(&self.began)
    }

    /// Waits for it to stop by itself (it does so when its starter is gone), asks it to, and finally kills its group.
    pub(crate) fn end(&self, patience: Duration) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let gone_within = |bound| {
            let deadline = Instant::now() + bound;
            while self.is_alive() {
                if Instant::now() > deadline {
                    return false;
                }
                sleep(POLL);
            }
            true
        };
        if gone_within(patience) {
            return;
        }
        let _ = kill_process(pid, Signal::TERM);
        if !gone_within(patience) {
            let _ = kill_process_group(pid, Signal::KILL);
            gone_within(Duration::from_secs(2));
        }
    }
}

/// When a process began, in whatever form this system tells it; `None` when there is no such process.
fn began(pid: u32) -> Option<String> {
    if Path::new("/proc/self/stat").exists() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; state is the first field after it, the start time the twentieth.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        return fields.nth(18).map(str::to_owned);
    }
    test_kill_process(i32::try_from(pid).ok().and_then(Pid::from_raw)?).ok()?;
    let output = Command::new("ps").args(["-o", "lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Processes whose program is `program`, killed at once. How many.
pub(crate) fn kill_by_program(program: &Path) -> io::Result<usize> {
    let mut killed = 0;
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        if std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program)
            && kill_process(pid, Signal::KILL).is_ok()
        {
            killed += 1;
        }
    }
    Ok(killed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Guarded {
        Guarded::spawn(Command::new("sleep").arg("60")).unwrap()
    }

    #[test]
    fn a_recorded_process_is_recognised_and_ended() {
        let mut child = sleeper();
        let recorded = Recorded::of("sleep", child.id()).unwrap();
        assert!(recorded.is_alive());
        recorded.end(Duration::from_millis(50));
        assert!(!recorded.is_alive());
        assert!(child.ended().is_some());
    }

    #[test]
    fn a_number_that_now_belongs_to_somebody_else_is_left_alone() {
        let mut child = sleeper();
        let stale = Recorded { began: "1".to_owned(), ..Recorded::of("sleep", child.id()).unwrap() };
        assert!(!stale.is_alive());
        stale.end(Duration::from_millis(50));
        assert!(child.ended().is_none());
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let child = sleeper();
        let recorded = Recorded::of("sleep", child.id()).unwrap();
        drop(child);
        assert!(!recorded.is_alive());
    }

    #[test]
    fn raising_the_interrupt_ends_the_wait_and_the_child() {
        // Like the guard it ends with its standard input.
        let mut child = Guarded::spawn(Command::new("cat").stdout(Stdio::null())).unwrap();
        let interrupt = Interrupt::default();
        interrupt.raise();
        let recorded = Recorded::of("sleep", child.id()).unwrap();
        let waiter = std::thread::spawn(move || child.wait(&interrupt).is_err());
        assert!(waiter.join().unwrap());
        assert!(!recorded.is_alive());
    }

    #[test]
    fn the_reason_of_a_failure_is_its_last_line_about_an_error() {
        assert_eq!(
            last_error_line("Error: first\nERROR: no such package\n\nhint: check\n"),
            Some("ERROR: no such package")
        );
        assert_eq!(last_error_line("one\ntwo\n\n"), Some("two"));
        assert_eq!(last_error_line("\n"), None);
    }
}
