use std::{fmt, path::PathBuf};

/// Why the local cloud did not start. `Display` is one line: what is wrong, and what to do about it; and one more for each thing
/// that is to be mended.
#[derive(Debug, Clone)]
pub struct StartError {
    what: String,
    remedy: String,
    log: Option<PathBuf>,
    mistakes: Vec<String>,
}

impl StartError {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into(), log: None, mistakes: Vec::new() }
    }

    /// What failed for a reason we did not foresee.
    pub(crate) fn failed(doing: &str, error: impl fmt::Display) -> Self {
        Self::new(format!("{doing} failed: {error}"), "")
    }

    pub(crate) fn with_log(mut self, log: impl Into<PathBuf>) -> Self {
        self.log = Some(log.into());
        self
    }

    pub(crate) fn with_mistakes(mut self, mistakes: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        self.mistakes = mistakes.into_iter().map(|mistake| one_line(&mistake.to_string())).collect();
        self
    }

    pub(crate) fn interrupted() -> Self {
        Self::new("stopped before it was ready", "")
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Messages come from tools that like to break lines.
        let mut line = one_line(&self.what);
        if !self.remedy.is_empty() {
            line.push_str("; ");
            line.push_str(&one_line(&self.remedy));
        }
        if let Some(log) = &self.log {
            line.push_str(" (log: ");
            line.push_str(&log.display().to_string());
            line.push(')');
        }
        for mistake in &self.mistakes {
            line.push('\n');
            line.push_str(mistake);
        }
        f.write_str(&line)
    }
}

impl std::error::Error for StartError {}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_that_says_what_and_what_to_do() {
        let error =
            StartError::new("port 4560\nis in use", "choose others:\n  --port-base 5000").with_log("/s/logs/x.log");
        assert_eq!(error.to_string(), "port 4560 is in use; choose others: --port-base 5000 (log: /s/logs/x.log)");
        assert_eq!(StartError::new("no", "").with_mistakes(["a:\n b", "c"]).to_string(), "no\na: b\nc");
    }
}
