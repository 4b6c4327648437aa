//! The demo's processes: each is a real `grove` command, told to print JSON, and stopped as a person would stop it.
//!
//! Invariant: no process outlives the demo; each is killed when its handle is dropped. Not for: what the commands do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long a process may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running `grove` command whose standard output is JSON, one object a line.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Process {
    /// Starts `grove ARGS…`; what it writes to standard error goes to `NAME.log` in `logs`.
    pub(crate) fn start(name: &str, logs: &Path, args: Vec<OsString>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding the grove program to start it again")?;
        let log = logs.join(format!("{name}.log"));
        let errors = std::fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut child = Command::new(&program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {} for {name}", program.display()))?;
        let stdout = child
            .stdout
            .take()
            .context("the process has no standard output")?;
        Ok(Self {
            name: name.to_owned(),
            child,
            lines: BufReader::new(stdout).lines(),
            log,
        })
    }

    /// The next JSON object, or `None` at the end of the output.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        let Some(line) = self
            .lines
            .next_line()
            .await
            .with_context(|| format!("reading from {}", self.name))?
        else {
            return Ok(None);
        };
        let value = serde_json::from_str(&line)
            .with_context(|| format!("{} printed what is not JSON: {line}", self.name))?;
        Ok(Some(value))
    }

    /// Reads until the object whose `event` is `event`; the end of the output before that is an error with the process's own words.
    pub(crate) async fn wait_for(&mut self, event: &str) -> anyhow::Result<Value> {
        while let Some(value) = self.next().await? {
            if value["event"] == event {
                return Ok(value);
            }
        }
        Err(self.failure().await)
    }

    /// Why the process ended, in its own words.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        let status = self
            .child
            .wait()
            .await
            .map_or_else(|error| error.to_string(), |status| status.to_string());
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = said.lines().rev().take(5).collect();
        let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
        anyhow::anyhow!("{} ended early ({status}): {tail}", self.name)
    }

    /// Asks the process to stop, as Ctrl-C does, and waits until it has.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            // It may have ended by itself in this moment; then there is nothing to signal.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
        }
        let drained = async {
            while self.lines.next_line().await?.is_some() {}
            self.child.wait().await
        };
        match tokio::time::timeout(PATIENCE, drained).await {
            Ok(result) => result
                .map(drop)
                .with_context(|| format!("waiting for {}", self.name)),
            Err(_) => bail!("{} did not stop within {} s", self.name, PATIENCE.as_secs()),
        }
    }
}

/// Runs a command that prints one JSON object and ends, such as `publish`.
pub(crate) async fn run(name: &str, logs: &Path, args: Vec<OsString>) -> anyhow::Result<Value> {
    let mut process = Process::start(name, logs, args)?;
    let mut last = None;
    while let Some(value) = process.next().await? {
        last = Some(value);
    }
    let status = process.child.wait().await?;
    match last {
        Some(value) if status.success() => Ok(value),
        _ => Err(process.failure().await),
    }
}
