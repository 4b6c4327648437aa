//! What every command says and how it ends: exit status, error sentence with a hint, JSON on stdout, progress on stderr.
//!
//! Invariants: data goes to stdout and everything else to stderr; with `--json` stdout holds JSON and nothing else; an error is one line,
//! then at most one `hint:` line.
//!
//! Not for: what a command's data means (each command formats its own).

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use ad_splicer::beacons::{OpenError, QueueError};
use ad_splicer::splice::SpliceError;
use engine::library::LibraryError;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::io::Errno;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::files::abandon;
use crate::plain::{Logged, plain};

/// A progress bar; sizes in powers of 1000, as everywhere.
const BAR: &str = "{prefix} {bar:32} {decimal_bytes}/{decimal_total_bytes} {wide_msg}";

/// How a command ended, as scripts see it; of several the greatest is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ExitStatus {
    /// 0: what was asked for is done.
    Done,
    /// 1: it failed on the way.
    Failed,
    /// 2: what was given (a file, an argument) is no good.
    BadInput,
    /// 130: the person stopped it.
    Interrupted,
    /// 141: who read its stdout has had enough, as for a program that SIGPIPE ends.
    ReaderGone,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        match status {
            ExitStatus::Done => ExitCode::SUCCESS,
            ExitStatus::Failed => ExitCode::from(1),
            ExitStatus::BadInput => ExitCode::from(2),
            ExitStatus::Interrupted => ExitCode::from(130),
            ExitStatus::ReaderGone => ExitCode::from(141),
        }
    }
}

/// What a command returns.
pub(crate) type Outcome = anyhow::Result<ExitStatus>;

/// An error that knows its exit status and what the person can do about it. It travels inside [`anyhow::Error`].
#[derive(Debug)]
pub(crate) struct Failure {
    status: ExitStatus,
    message: Option<String>,
    hint: Option<String>,
    source: Option<anyhow::Error>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.message, &self.source) {
            (Some(message), _) => f.write_str(message),
            (None, Some(source)) => write!(f, "{source}"),
            (None, None) => f.write_str("it failed"),
        }
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source: &(dyn StdError + 'static) = self.source.as_ref()?.as_ref();
        if self.message.is_some() {
            Some(source)
        } else {
            source.source()
        }
    }
}

/// An error with exit status 2 that says what is wrong with the input.
pub(crate) fn bad_input(message: impl Into<String>) -> anyhow::Error {
    Failure {
        status: ExitStatus::BadInput,
        message: Some(message.into()),
        hint: None,
        source: None,
    }
    .into()
}

/// An error with exit status 130 that says what the person stopped.
pub(crate) fn stopped(message: impl Into<String>) -> anyhow::Error {
    Failure {
        status: ExitStatus::Interrupted,
        message: Some(message.into()),
        hint: None,
        source: None,
    }
    .into()
}

/// What went wrong with writing to stdout: nothing to talk about when nobody reads it any more.
pub(crate) fn reader_gone(error: anyhow::Error) -> anyhow::Error {
    let kind = |cause: &(dyn StdError + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
    if !error
        .chain()
        .any(|cause| kind(cause) == Some(io::ErrorKind::BrokenPipe))
    {
        return error;
    }
    Failure {
        status: ExitStatus::ReaderGone,
        message: None,
        hint: None,
        source: Some(error),
    }
    .into()
}

/// The error with what there is to do about it.
pub(crate) fn with_hint(error: anyhow::Error, hint: impl Into<String>) -> anyhow::Error {
    let status = status_of(&error);
    Failure {
        status,
        message: None,
        hint: Some(hint.into()),
        source: Some(error),
    }
    .into()
}

/// Adds what a person needs to know to an error on its way up.
pub(crate) trait Explain<T> {
    /// The input was bad (exit status 2): says which.
    fn or_bad_input(self, what: impl FnOnce() -> String) -> anyhow::Result<T>;
    /// What there is to do about it.
    fn hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Explain<T> for Result<T, E> {
    fn or_bad_input(self, what: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| {
            let source = Some(error.into());
            Failure {
                status: ExitStatus::BadInput,
                message: Some(what()),
                hint: None,
                source,
            }
            .into()
        })
    }

    fn hint(self, hint: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| with_hint(error.into(), hint()))
    }
}

/// The exit status that belongs to an error. Content that is wrong is bad input, whoever found it so.
pub(crate) fn status_of(error: &anyhow::Error) -> ExitStatus {
    let otherwise = if cause(error).is_some_and(SpliceError::is_of_input) {
        ExitStatus::BadInput
    } else {
        ExitStatus::Failed
    };
    failures(error)
        .map(|failure| failure.status)
        .find(|status| *status != ExitStatus::Failed)
        .unwrap_or(otherwise)
}

/// The [`Failure`]s in an error's chain, also those that are only wrappers with a hint.
fn failures(error: &anyhow::Error) -> impl Iterator<Item = &Failure> {
    let mut next = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    std::iter::from_fn(move || {
        let this = next?;
        next = this
            .source
            .as_ref()
            .and_then(|source| source.chain().find_map(|cause| cause.downcast_ref::<Failure>()));
        Some(this)
    })
}

/// The first cause of this kind, also behind a hint.
pub(crate) fn cause<T: StdError + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&T> {
    causes(error).next()
}

/// The causes of this kind, also behind a hint.
fn causes<T: StdError + Send + Sync + 'static>(error: &anyhow::Error) -> impl Iterator<Item = &T> {
    let behind = failures(error).filter_map(|failure| failure.source.as_ref());
    let all = std::iter::once(error).chain(behind);
    all.flat_map(anyhow::Error::chain)
        .filter_map(|cause| cause.downcast_ref())
}

/// One sentence: the causes in order, without those that the sentence before already tells.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = without_full_stop(&text).replace('\n', " ");
        if told.is_empty() {
            told = text;
        } else if !told.contains(&text) {
            told.push_str(": ");
            told.push_str(&text);
        }
    }
    told
}

/// A sentence without what ends it. The dots of a name, as of the folder `.`, are its own.
fn without_full_stop(text: &str) -> &str {
    let ends_a_word =
        |rest: &&str| rest.ends_with(|end: char| end.is_alphanumeric() || ")\"'`”".contains(end));
    text.strip_suffix('.').filter(ends_a_word).unwrap_or(text)
}

/// Prints an error as the house does, and gives the exit status that belongs to it.
pub(crate) fn report_error(error: &anyhow::Error, json: bool) -> ExitStatus {
    let status = status_of(error);
    if status == ExitStatus::ReaderGone {
        return status;
    }
    let said = sentence(error);
    let hint = failures(error).find_map(|failure| failure.hint.clone());
    let hint = hint.or_else(|| is_full(error).then(|| ROOM.to_owned()));
    let hint = hint.or_else(|| is_unwritable(error).then(|| WRITABLE.to_owned()));
    if json {
        print_error(&said, hint.as_deref(), status);
    }
    eprintln!("error: {said}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
    status
}

/// What there is to do about a full disk, where whoever failed knows no more: not every command goes on where it stopped.
const ROOM: &str = "make room on that disk, then run the same command again";

/// Whether there was no room for something that was to be written.
pub(crate) fn is_full(error: &anyhow::Error) -> bool {
    causes(error).any(disk::is_full)
        || matches!(cause(error), Some(LibraryError::Full { .. }))
        || matches!(cause(error), Some(QueueError::Open(OpenError::Full { .. })))
}

/// What there is to do about a data folder that is closed.
pub(crate) const WRITABLE: &str = "make it writable, or name another folder with --data DIR";

fn is_unwritable(error: &anyhow::Error) -> bool {
    matches!(cause(error), Some(LibraryError::Unwritable { .. }))
        || matches!(cause(error), Some(QueueError::Open(OpenError::Unwritable { .. })))
}

fn print_error(said: &str, hint: Option<&str>, status: ExitStatus) {
    let code = match status {
        ExitStatus::BadInput => 2,
        ExitStatus::Interrupted => 130,
        _ => 1,
    };
    print_json(&serde_json::json!({ "event": "error", "error": said, "hint": hint, "status": code }));
}

/// Prints what is wrong with the arguments, or the help that they ask for, and gives the exit status that belongs to it.
pub(crate) fn report_usage(error: &clap::Error, mut args: impl Iterator<Item = OsString>) -> ExitStatus {
    // There is nobody else to tell when neither stdout nor stderr can be written to.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitStatus::Done;
    }
    let json = args.find(|arg| arg == "--json" || arg == "--");
    if json.is_some_and(|arg| arg == "--json") {
        let (said, hint) = usage(&error.render().to_string());
        print_error(&said, Some(&hint), ExitStatus::BadInput);
    }
    ExitStatus::BadInput
}

/// The sentence and the hint of what clap says over many lines.
fn usage(text: &str) -> (String, String) {
    let joined = |paragraph: &str| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().and_then(|first| first.strip_prefix("error: "));
    // Without an error it is the help, for who says nothing else.
    let said = first.map_or_else(|| "a command is missing".to_owned(), joined);
    let tip = paragraphs.find_map(|paragraph| paragraph.trim_start().strip_prefix("tip: "));
    let hint = tip.map_or_else(|| "--help says what may be written".to_owned(), joined);
    (said, hint)
}

/// One JSON value on a line of stdout, flushed, so that who reads line by line sees it at once.
pub(crate) fn print_json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => print_line(&text),
        Err(error) => note_unprinted(error.into()),
    }
}

/// A line of data on stdout.
pub(crate) fn print_line(text: &str) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{}", plain(text)).and_then(|()| out.flush()) {
        note_unprinted(error);
    }
}

/// A line for people on stderr, if anybody can read it.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    // Of a terminal that is gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{}", plain(&what.to_string()));
}

/// Whether the terminal was closed.
static HUNG_UP: AtomicBool = AtomicBool::new(false);

/// Why something of the data did not get to stdout, when it did not.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// A reader that went away is no reason to fail: the work is what was asked for.
fn note_unprinted(error: io::Error) {
    if error.kind() != io::ErrorKind::BrokenPipe {
        // The first is told.
        let _ = UNPRINTED.set(error);
    }
}

/// That data was lost on its way out, if it was (a disk that is full, say; not where the reader is a terminal that was closed).
pub(crate) fn check_printed() -> anyhow::Result<()> {
    let closed = HUNG_UP
        .load(Ordering::Relaxed)
        .then_some(Errno::IO.raw_os_error());
    match UNPRINTED.get() {
        Some(error) if closed.is_some() && error.raw_os_error() == closed => Ok(()),
        Some(error) => Err(anyhow::anyhow!("cannot write to stdout: {error}")),
        None => Ok(()),
    }
}

/// Starts logging to stderr: `RUST_LOG` when set, else warnings, and more for each `-v`.
pub(crate) fn start_logging(verbose: u8) {
    let default = match verbose {
        0 => "error",
        1 => "warn,grove=info,engine=info,gate=info,ad_splicer=info,ad_server_mock=info",
        2 => "info,grove=debug,engine=debug,gate=debug,ad_splicer=debug,ad_server_mock=debug",
        _ => "debug,grove=trace,engine=trace,gate=trace,ad_splicer=trace,ad_server_mock=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Logged(io::stderr()))
        // Which panics where stderr is closed.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// How long farewells may take.
const FAREWELLS: Duration = Duration::from_secs(3);

/// A signal that comes so soon after the first is the same wish: a group of processes hears it from the terminal, and from its head.
const SAME_WISH: Duration = Duration::from_secs(1);

/// Resolves when the person (Ctrl-C, a terminal that is closed) or the system (SIGTERM) asks the process to stop, or has asked since the first call: from that call
/// on no signal is missed, and none ends the process by itself. Who asks once more does not want to wait for farewells: then it ends
/// at once.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    static ASKED: LazyLock<watch::Sender<bool>> = LazyLock::new(|| {
        let mut signals = Signals::listen();
        // It lives as long as the process.
        tokio::spawn(async move {
            signals.next().await;
            ASKED.send_replace(true);
            tokio::time::sleep(SAME_WISH).await;
            Signals::listen().next().await;
            abandon();
            std::process::exit(130);
        });
        watch::Sender::new(false)
    });
    let mut asked = ASKED.subscribe();
    async move {
        // It is never closed.
        let _ = asked.wait_for(|asked| *asked).await;
    }
}

/// Resolves some time after [`interrupted`]: what does not listen, or is not done with its farewells by then, is left.
pub(crate) async fn long_interrupted() {
    interrupted().await;
    tokio::time::sleep(FAREWELLS).await;
}

/// Whether whoever started the process has it outlive its terminal (`nohup`): looked at once, before anything listens.
fn is_hangup_ignored() -> bool {
    static IGNORED: LazyLock<bool> = LazyLock::new(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        // The lowest bit is of signal 1, which is SIGHUP.
        ignored.is_some_and(|mask| mask & 1 == 1)
    });
    *IGNORED
}

/// The signals that ask a process to stop, as far as the system lets them be heard.
struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    fn listen() -> Self {
        let hangup = (!is_hangup_ignored()).then(SignalKind::hangup);
        let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
        let kinds = kinds.into_iter().chain(hangup);
        Self(
            kinds
                .filter_map(|kind| Some((kind, signal(kind).ok()?)))
                .collect(),
        )
    }

    async fn next(&mut self) {
        poll_fn(|context| {
            let came = |(kind, signal): &mut (SignalKind, Signal)| signal.poll_recv(context).map(|_| *kind);
            let Some(Poll::Ready(kind)) = self.0.iter_mut().map(came).find(Poll::is_ready) else {
                return Poll::Pending;
            };
            if kind == SignalKind::hangup() {
                HUNG_UP.store(true, Ordering::Relaxed);
            }
            Poll::Ready(())
        })
        .await;
    }
}

/// How far a job is: a bar on a terminal, a plain line every two seconds elsewhere, nothing with `--json` (which has its own lines).
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    plain: bool,
    label: String,
    last: Mutex<Option<Instant>>,
}

impl Progress {
    /// A progress display for `total` bytes.
    pub(crate) fn bytes(label: &str, total: u64, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !quiet).then(|| {
            let bar = ProgressBar::new(total);
            // The template is a constant that is tested; falling back to the default bar would be no harm either.
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                bar.set_style(style);
            }
            bar.set_prefix(plain(label).into_owned());
            bar
        });
        Progress {
            bar,
            plain: !terminal && !quiet,
            label: label.to_owned(),
            last: Mutex::new(None),
        }
    }

    /// Says where the job is.
    pub(crate) fn set(&self, done: u64, total: u64, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(plain(message).into_owned());
        }
        if self.plain {
            let mut last = self
                .last
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let now = Instant::now();
            if last.is_none_or(|last| now.duration_since(last) >= Duration::from_secs(2)) {
                *last = Some(now);
                let percent = (done * 100).checked_div(total).unwrap_or(0);
                eprintln!(
                    "{} {percent}% of {} {message}",
                    self.label,
                    crate::units::human_bytes(total)
                );
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use clap::Parser as _;

    /// In a process of its own, which the signal is for.
    #[tokio::test]
    async fn a_signal_before_anybody_waits_is_not_missed() {
        const ALONE: &str = "GROVE_TEST_SIGNAL";
        if std::env::var_os(ALONE).is_none() {
            let mut alone = std::process::Command::new(std::env::current_exe().expect("the tests' path"));
            alone.args([
                "--exact",
                "output::tests::a_signal_before_anybody_waits_is_not_missed",
            ]);
            let ended = alone.env(ALONE, "1").output().expect("the tests run again");
            let said = String::from_utf8_lossy(&ended.stdout);
            assert!(ended.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let first = interrupted();
        let me = std::process::id().to_string();
        let sent = std::process::Command::new("kill").args(["-INT", &me]).status();
        assert!(sent.is_ok_and(|status| status.success()));
        first.await;
        interrupted().await;
    }

    #[test]
    fn an_error_is_one_sentence_with_its_status_and_hint() {
        let io = std::io::Error::other("no such file");
        let error = Err::<(), _>(io)
            .or_bad_input(|| "cannot read a.torrent".into())
            .hint(|| "give a file".into())
            .context("inspecting a.torrent")
            .unwrap_err();
        assert_eq!(
            sentence(&error),
            "inspecting a.torrent: cannot read a.torrent: no such file"
        );
        assert_eq!(status_of(&error), ExitStatus::BadInput);
        assert_eq!(
            failures(&error).find_map(|f| f.hint.clone()).as_deref(),
            Some("give a file")
        );
    }

    #[test]
    fn a_cause_is_found_behind_hints_and_sentences() {
        let io = || std::io::Error::other("refused");
        let plain = anyhow::Error::from(io()).context("connecting");
        let hinted = with_hint(io().into(), "try again").context("connecting");
        let told = Err::<(), _>(io()).or_bad_input(|| "bad".into()).unwrap_err();
        for error in [plain, hinted, told] {
            assert!(cause::<std::io::Error>(&error).is_some(), "{error:?}");
            assert!(cause::<fmt::Error>(&error).is_none(), "{error:?}");
        }
    }

    #[test]
    fn a_cause_that_is_already_told_is_not_told_twice() {
        let inner = std::io::Error::other("refused");
        let error = anyhow::Error::from(inner).context("cannot connect: refused");
        assert_eq!(sentence(&error), "cannot connect: refused");
        assert_eq!(status_of(&error), ExitStatus::Failed);
    }

    #[test]
    fn the_folder_that_is_a_dot_is_named() {
        for (text, said) in [
            ("cannot write .", "cannot write ."),
            ("cannot read ../..", "cannot read ../.."),
            ("It is locked.", "It is locked"),
            ("it waits (for you).", "it waits (for you)"),
        ] {
            assert_eq!(sentence(&anyhow::anyhow!("{text}")), said);
        }
    }

    #[test]
    fn what_clap_says_is_one_sentence_and_a_hint() {
        let wrong = |args: &[&str]| {
            let error = crate::cli::Cli::try_parse_from(args).expect_err("it is wrong");
            usage(&error.render().to_string())
        };
        let (said, hint) = wrong(&["grove", "get"]);
        assert_eq!(
            said,
            "the following required arguments were not provided: <SOURCE>..."
        );
        assert_eq!(hint, "--help says what may be written");
        let (said, hint) = wrong(&["grove", "inspct", "a.torrent"]);
        assert_eq!(said, "unrecognized subcommand 'inspct'");
        assert_eq!(hint, "a similar subcommand exists: 'inspect'");
        assert_eq!(wrong(&["grove"]).0, "a command is missing");
    }

    #[test]
    fn the_bar_template_is_valid() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
    }
}
