//! Coding in processes of their own: decoders and encoders are large, and content is a stranger's file.
//!
//! The program starts itself again ([`in_children_of`]), once for each kind of coding, when something is to be coded; such a child loads what it needs, shuts itself in as those do that condition creatives,
//! and does what it is asked, some things at a time, until nothing was asked for a while or nobody is there to ask. A child that is gone is started anew, and what it was doing is done by one of its own: so what
//! crashes a decoder fails alone. Results are the same as in this process.
//!
//! A child is believed nothing, as a stranger's file may have taken it over: answers are as long as can come of the task at most, one that answers what it was not asked, does not take what it is given, or
//! closes its output is killed, and nothing is waited for longer than a task may take.
//!
//! Lock order: each lock is held alone.

use std::collections::HashMap;
use std::io::{BufReader, BufWriter};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::task::{Kind, Media, Task};
use super::turns::Turns;
use super::wire::{self, Most};
use super::{BridgeError, child};
use crate::splice::Codec;
use crate::this_program;

/// How long one task may take, whatever it is.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Bytes that go through a pipe at once.
pub(super) const AT_ONCE: usize = 64 << 10;
/// How many children may be gone before a task is given to them.
const TRIES: usize = 3;
/// How many children there may be at once that have one task each.
const ALONE: usize = 2;
/// The hidden first argument of a child.
pub(crate) const MARK: &str = "code-for-bridges";

static CHILDREN: OnceLock<Children> = OnceLock::new();

/// From now on everything is coded by children of `program`: an executable that calls [`crate::child_main`] first when [`crate::is_child`] says so. Without it, it is done in this process.
pub fn in_children_of(program: PathBuf) {
    // Who said so first said the same.
    let _ = CHILDREN.set(Children::of(move || this_program::command(&program), LONGEST));
}

/// Starts the child that will code sound of this kind, without waiting for it.
pub fn get_ready(codec: Codec) {
    let kind = match codec {
        Codec::Adts | Codec::M4a | Codec::Mp4 => Kind::Aac,
        Codec::OggOpus | Codec::WebmOpus | Codec::WebmVp9 => Kind::Opus,
        Codec::OggVorbis => Kind::Vorbis,
        Codec::Mp3 | Codec::Wav | Codec::Flac => return,
    };
    if let Some(children) = children() {
        // What fails now does so again when it is needed.
        let _ = children.shared(kind);
    }
}

pub(super) fn children() -> Option<&'static Children> {
    CHILDREN.get()
}

/// What a child says of a task that it did not do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    WrongLength {
        got: usize,
        expected: usize,
    },
    /// It may never be able to do anything again.
    Stalled(String),
    Failed(String),
    /// Nothing can be done in this child.
    Setup(String),
}

/// The children of this process.
pub(super) struct Children {
    /// What starts one, but for its arguments.
    command: Box<dyn Fn() -> Command + Send + Sync>,
    /// How long one task may take.
    longest: Duration,
    running: Mutex<HashMap<Kind, Arc<Running>>>,
    alone: Turns,
}

/// Why nothing came back.
enum Gone {
    /// The child had ended before, or by itself with nothing to do.
    Before(String),
    /// It died, or was killed.
    Died(String),
    Late,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Children {
    fn of(command: impl Fn() -> Command + Send + Sync + 'static, longest: Duration) -> Self {
        Self {
            command: Box::new(command),
            longest,
            running: Mutex::default(),
            alone: Turns::new(ALONE),
        }
    }

    /// Has a child do it.
    pub(super) fn ask(&self, task: &Task, media: &Media<'_>) -> Result<Media<'static>, BridgeError> {
        let kind = task.kind();
        for _ in 0..TRIES {
            let running = self.shared(kind)?;
            let answer = running.ask(task, media, self.longest);
            if matches!(answer, Ok(Err(Refusal::Stalled(_))) | Err(_)) {
                self.forget(kind, &running);
            }
            match answer {
                Ok(answer) => return answer.map_err(BridgeError::from),
                Err(Gone::Before(_)) => {}
                Err(Gone::Late) => return Err(BridgeError::Late),
                Err(Gone::Died(_)) => break,
            }
        }
        // It may have been another task's fault.
        let _turn = self.alone.take();
        match self.start(kind)?.ask(task, media, self.longest) {
            Ok(answer) => answer.map_err(BridgeError::from),
            Err(Gone::Died(how) | Gone::Before(how)) => Err(BridgeError::Crashed(how)),
            Err(Gone::Late) => Err(BridgeError::Late),
        }
    }

    /// The child that all tasks of a kind are given to.
    fn shared(&self, kind: Kind) -> Result<Arc<Running>, BridgeError> {
        let mut running = lock(&self.running);
        if let Some(running) = running.get(&kind) {
            return Ok(Arc::clone(running));
        }
        let started = Arc::new(self.start(kind)?);
        running.insert(kind, Arc::clone(&started));
        Ok(started)
    }

    /// Gives a child nothing more to do: it is killed when nobody waits for it any more.
    fn forget(&self, kind: Kind, gone: &Arc<Running>) {
        let mut running = lock(&self.running);
        let is_shared = running
            .get(&kind)
            .is_some_and(|running| Arc::ptr_eq(running, gone));
        let forgotten = if is_shared { running.remove(&kind) } else { None };
        // Not under the lock, as the last one to let go of it waits for its end.
        drop(running);
        drop(forgotten);
    }

    fn start(&self, kind: Kind) -> Result<Running, BridgeError> {
        Running::start(&mut (self.command)(), kind).map_err(BridgeError::Child)
    }
}

/// Who waits for the answer to a task.
struct Waiting {
    tell: Sender<Result<Media<'static>, Refusal>>,
    most: Most,
}

/// What is known of a child.
#[derive(Default)]
struct State {
    waiting: HashMap<u64, Waiting>,
    /// How many tasks it was given.
    given: u64,
    /// Set when it is gone: whether it ended by itself, and how.
    ended: Option<(bool, String)>,
}

/// One child, until nobody holds it.
struct Running {
    /// As many as the child does at once: what waits for one was not given to it.
    turns: Turns,
    input: Mutex<BufWriter<ChildStdin>>,
    state: Arc<Mutex<State>>,
    child: Arc<Mutex<Child>>,
    hearing: Option<JoinHandle<()>>,
}

impl Running {
    fn start(command: &mut Command, kind: Kind) -> std::io::Result<Self> {
        let mut child = command
            .arg(MARK)
            .arg(serde_json::to_string(&kind)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let missing = || std::io::Error::other("a child without pipes");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let state: Arc<Mutex<State>> = Arc::default();
        let child = Arc::new(Mutex::new(child));
        let (known, heard) = (Arc::clone(&state), Arc::clone(&child));
        let hearing = std::thread::Builder::new()
            .name("bridges".into())
            .spawn(move || hear(output, &known, &heard))?;
        Ok(Self {
            turns: Turns::new(child::at_once()),
            input: Mutex::new(BufWriter::with_capacity(AT_ONCE, input)),
            state,
            child,
            hearing: Some(hearing),
        })
    }

    fn ask(
        &self,
        task: &Task,
        media: &Media<'_>,
        longest: Duration,
    ) -> Result<Result<Media<'static>, Refusal>, Gone> {
        // Who has one is done before long.
        let _turn = self.turns.take();
        let (tell, told) = channel();
        let most = task.most(media);
        let number = {
            let mut state = lock(&self.state);
            if let Some((_, how)) = &state.ended {
                return Err(Gone::Before(how.clone()));
            }
            state.given += 1;
            let number = state.given;
            state.waiting.insert(number, Waiting { tell, most });
            number
        };
        let late = Instant::now() + longest;
        let left = || late.saturating_duration_since(Instant::now());
        std::thread::scope(|scope| {
            let (tell_written, written) = channel();
            let write = move || {
                // What is not read goes to a child that is gone, or of no use.
                if wire::write(&mut *lock(&self.input), number, task, Some(media)).is_err() {
                    self.kill();
                }
                // Who does not wait any more has killed it.
                let _ = tell_written.send(());
            };
            let writing = std::thread::Builder::new().name("bridges".into());
            if let Err(error) = writing.spawn_scoped(scope, write) {
                lock(&self.state).waiting.remove(&number);
                return Err(Gone::Died(error.to_string()));
            }
            let answer = told.recv_timeout(left());
            // One may answer without having read all, and never read on.
            let is_late = matches!(answer, Err(RecvTimeoutError::Timeout))
                || written.recv_timeout(left()) == Err(RecvTimeoutError::Timeout);
            if is_late {
                // Nor is it written on then, for which this scope waits.
                self.kill();
                return Err(Gone::Late);
            }
            answer.map_err(|_| match &lock(&self.state).ended {
                Some((true, how)) => Gone::Before(how.clone()),
                Some((false, how)) => Gone::Died(how.clone()),
                None => Gone::Died("it did not answer".into()),
            })
        })
    }

    fn kill(&self) {
        // One that has ended is waited for where its end is heard.
        let _ = lock(&self.child).kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if let Some(hearing) = self.hearing.take() {
            // It does not panic, and nothing could be done about it here.
            let _ = hearing.join();
        }
    }
}

/// Hands on what a child says, until it is gone.
fn hear(output: ChildStdout, state: &Mutex<State>, child: &Mutex<Child>) {
    let mut output = BufReader::with_capacity(AT_ONCE, output);
    let mut said = None;
    let most = |number| match number {
        0 => Some(Most::NOTHING),
        _ => lock(state).waiting.get(&number).map(|waiting| waiting.most),
    };
    loop {
        match wire::read::<Option<Refusal>>(&mut output, most) {
            Ok(Some((0, Some(Refusal::Setup(reason)), _))) => said = Some(reason),
            Ok(Some((number, refusal, media))) => {
                let Some(waiting) = lock(state).waiting.remove(&number) else {
                    continue;
                };
                let answer = match (refusal, media) {
                    (Some(refusal), _) => Err(refusal),
                    (None, Some(media)) => Ok(media),
                    (None, None) => Err(Refusal::Failed("nothing came back".into())),
                };
                // Who does not wait any more needs no answer.
                let _ = waiting.tell.send(answer);
            }
            Ok(None) => break,
            Err(error) => {
                said = Some(error.to_string());
                break;
            }
        }
    }
    let mut child = lock(child);
    // What says something else than it should, or nothing any more, is not waited for. One that is ending already does so as it would have.
    let _ = child.kill();
    let status = child.wait();
    drop(child);
    let is_idle = said.is_none() && status.as_ref().is_ok_and(std::process::ExitStatus::success);
    let how = match (said, status) {
        (Some(said), _) => said,
        (None, Ok(status)) => status.to_string(),
        (None, Err(error)) => error.to_string(),
    };
    let mut state = lock(state);
    state.ended = Some((is_idle, how));
    // All who wait are told by it.
    state.waiting.clear();
}

impl From<Refusal> for BridgeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WrongLength { got, expected } => Self::WrongLength { got, expected },
            Refusal::Stalled(said) | Refusal::Failed(said) | Refusal::Setup(said) => Self::Said(said),
        }
    }
}

impl From<BridgeError> for Refusal {
    fn from(error: BridgeError) -> Self {
        match error {
            BridgeError::WrongLength { got, expected } => Self::WrongLength { got, expected },
            stalled @ BridgeError::Stalled { .. } => Self::Stalled(stalled.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks a child for something that is longer than what a pipe holds.
    fn ask(children: &Children) -> Result<Media<'static>, BridgeError> {
        let task = Task::VorbisEncode {
            rate: 48_000,
            channels: 1,
        };
        children.ask(&task, &Media::clip(&vec![0.5; 100_000]))
    }

    /// What that ends in when the child is this program.
    fn asked(program: &'static str) -> BridgeError {
        ask(&Children::of(move || Command::new(program), LONGEST)).unwrap_err()
    }

    /// Children that are a script of the shell.
    fn scripted(script: String, longest: Duration) -> Children {
        let command = move || {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(&script);
            shell
        };
        Children::of(command, longest)
    }

    /// What in a script waits for a task and says this of the first.
    fn answers(described: &str, media: &str) -> String {
        let len = format!("\\{:03o}", described.len());
        let zeros = "\\000".repeat(7);
        format!("head -c 1 >/dev/null; printf '\\001{zeros}{len}{zeros}{described}{media}'; ")
    }

    #[test]
    fn a_program_that_does_not_code_is_an_error_whatever_it_does() {
        assert!(matches!(asked("/nonexistent/program"), BridgeError::Child(_)));
        // One that fails, one that ends, and one that talks.
        assert!(matches!(asked("/bin/false"), BridgeError::Crashed(how) if how.contains("exit status: 1")));
        assert!(matches!(asked("/bin/true"), BridgeError::Crashed(_)));
        assert!(matches!(asked("/bin/echo"), BridgeError::Crashed(_)));
    }

    #[test]
    fn a_child_that_does_not_end_is_killed() {
        let soon = Duration::from_millis(200);
        let early = answers(r#"{"what":null,"shape":"Nothing"}"#, "") + "exec sleep 1000";
        for script in ["exec sleep 1000", "cat >/dev/null; exec sleep 1000", &early] {
            let late = ask(&scripted(script.into(), soon));
            assert!(matches!(late, Err(BridgeError::Late)), "{script}: {late:?}");
        }
        // At once, when it cannot answer any more, or be asked.
        for script in ["exec >&-; exec sleep 1000", "exec <&-; exec sleep 1000"] {
            let killed = ask(&scripted(script.into(), LONGEST));
            assert!(
                matches!(&killed, Err(BridgeError::Crashed(how)) if how.contains("signal: 9")),
                "{script}: {killed:?}"
            );
        }
    }

    #[test]
    fn a_child_says_no_more_than_can_come_of_what_it_was_asked() {
        let whole = r#"{"what":null,"shape":{"Packets":[3,2]}}"#;
        let script = answers(whole, "abcde") + "exec cat >/dev/null";
        let made = ask(&scripted(script, LONGEST)).unwrap();
        assert_eq!(made, Media::of(&[b"abc".to_vec(), b"de".to_vec()]));
        let more = r#"{"what":null,"shape":{"Samples":[1000000000]}}"#;
        let script = answers(more, "") + "exec cat >/dev/null";
        let refused = ask(&scripted(script, LONGEST));
        assert!(
            matches!(&refused, Err(BridgeError::Crashed(how)) if how.contains("too long")),
            "{refused:?}"
        );
    }

    #[test]
    fn what_a_child_died_of_is_tried_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("first").display().to_string();
        let dies = format!("if mkdir '{first}' 2>/dev/null; then head -c 1 >/dev/null; kill -9 $$; fi; ");
        let whole = answers(r#"{"what":null,"shape":{"Packets":[1]}}"#, "a");
        let children = scripted(dies + &whole + "exec cat >/dev/null", LONGEST);
        assert_eq!(ask(&children).unwrap(), Media::of(&[b"a".to_vec()]));
        assert!(
            lock(&children.running).is_empty(),
            "the one that died is forgotten"
        );
    }
}
