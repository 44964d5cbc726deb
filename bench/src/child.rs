//! This program again, in a role of its own process.

use std::process::Stdio;

use anyhow::Context as _;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child as Process, ChildStdin, ChildStdout, Command},
};

/// A role that runs. Its standard input ends with this process, however that ends, and a server ends with its input.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
    input: Option<ChildStdin>,
}

impl Child {
    pub(crate) fn start(arguments: &[&str], environment: &[(&str, String)]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where this program is")?;
        let mut command = Command::new(program);
        command.arg("role").args(arguments);
        Self::spawn(command, environment)
    }

    pub(crate) fn spawn(mut command: Command, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("start {command:?}"))?;
        let output = process.stdout.take().context("its output")?;
        let input = process.stdin.take();
        Ok(Self { process, lines: BufReader::new(output).lines(), input })
    }

    /// A line of JSON for it.
    pub(crate) async fn tell(&mut self, order: &Value) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("its input")?;
        input.write_all(format!("{order}\n").as_bytes()).await?;
        Ok(input.flush().await?)
    }

    /// Its next line of JSON; other lines are logs and passed on.
    pub(crate) async fn answer(&mut self) -> anyhow::Result<Value> {
        while let Some(line) = self.lines.next_line().await? {
            match line.strip_prefix("=> ") {
                Some(json) => return Ok(serde_json::from_str(json)?),
                None => crate::meter::say(&format!("  | {line}")),
            }
        }
        anyhow::bail!("a role ended without an answer: {}", self.process.wait().await?)
    }
}

/// The other side of [`Child::answer`].
pub(crate) fn answer(value: &Value) {
    crate::meter::say(&format!("=> {value}"));
}

/// Comes back when the process that started this role is gone.
pub(crate) async fn parent_gone() {
    let mut nothing = [0; 1];
    // an end, an error: either way nobody is there
    let _ = tokio::io::AsyncReadExt::read(&mut tokio::io::stdin(), &mut nothing).await;
}
