//! What the person at the terminal sees while it starts.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Instant,
};

/// One line per step on standard error, with the time it took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    quiet: bool,
    began: Instant,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, began: Instant::now() }
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// Does `work` as the step `name`.
    pub(crate) fn step<T, E>(self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let terminal = stderr().is_terminal();
        if !self.quiet {
            let end = if terminal { "" } else { "\n" };
            let _ = write!(stderr(), "  · {name} …{end}").and_then(|()| stderr().flush());
        }
        let began = Instant::now();
        let result = work();
        self.finished(name, result.is_ok(), began);
        result
    }

    /// Does `work`, which writes to the terminal itself, as the step `name`.
    pub(crate) fn long_step<T, E>(self, name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let began = Instant::now();
        let result = work();
        self.finished(name, result.is_ok(), began);
        result
    }

    fn finished(self, name: &str, done: bool, began: Instant) {
        if !self.quiet {
            let mark = if done { '✓' } else { '✗' };
            let start = if stderr().is_terminal() { "\r\x1b[2K" } else { "" };
            let _ = writeln!(stderr(), "{start}  {mark} {name:<58} {:>6.1} s", began.elapsed().as_secs_f64());
        }
    }

    /// All is ready.
    pub(crate) fn done(self) {
        if !self.quiet {
            let _ = writeln!(stderr(), "  ready after {:.1} s", self.began.elapsed().as_secs_f64());
        }
    }

    /// Something the person should know.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            let start = if stderr().is_terminal() { "\r\x1b[2K" } else { "" };
            let _ = writeln!(stderr(), "{start}  ! {text}");
        }
    }
}
