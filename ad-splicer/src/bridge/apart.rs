//! Coding in processes of their own: decoders and encoders are large, and content is a stranger's file.
//!
//! The program starts itself again ([`in_children_of`]), once for each kind of coding, when something is to be coded; such a child loads what it needs, shuts itself in as those do that condition creatives,
//! and does what it is asked, some things at a time, until nothing was asked for a while or nobody is there to ask. A child that is gone is started anew, and what it was doing is done by one of its own: so what
//! crashes a decoder fails alone. Results are the same as in this process.
//!
//! Lock order: each lock is held alone.

use std::collections::HashMap;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::task::{Kind, Media, Task};
use super::{BridgeError, wire};
use crate::conditioning::environment;
use crate::splice::Codec;

/// How long one task may take, whatever it is.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Bytes that go through a pipe at once.
pub(super) const AT_ONCE: usize = 64 << 10;
/// How many children may end because nothing is to do, just when something is.
const TRIES: usize = 3;
/// The hidden first argument of a child.
pub(crate) const MARK: &str = "code-for-bridges";

static CHILDREN: OnceLock<Children> = OnceLock::new();

/// From now on everything is coded by children of `program`: an executable that calls [`crate::conditioning::child_main`] first when [`crate::conditioning::is_child`] says so. Without it, it is done in this process.
pub fn in_children_of(program: PathBuf) {
    // Who said so first said the same.
    let _ = CHILDREN.set(Children {
        program,
        running: Mutex::default(),
    });
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
    program: PathBuf,
    running: Mutex<HashMap<Kind, Arc<Running>>>,
}

/// Why nothing came back.
enum Gone {
    /// The child had ended by itself, with nothing to do.
    Idle,
    /// It died, or was killed.
    Died(String),
    Late,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Children {
    /// Has a child do it.
    pub(super) fn ask(&self, task: &Task, media: &Media<'_>) -> Result<Media<'static>, BridgeError> {
        let kind = task.kind();
        for _ in 0..TRIES {
            let running = self.shared(kind)?;
            match running.ask(task, media) {
                Ok(Err(stalled @ Refusal::Stalled(_))) => {
                    self.forget(kind, &running);
                    return Err(stalled.into());
                }
                Ok(answer) => return answer.map_err(BridgeError::from),
                Err(Gone::Idle) => self.forget(kind, &running),
                Err(Gone::Late) => {
                    self.forget(kind, &running);
                    running.kill();
                    return Err(BridgeError::Late);
                }
                Err(Gone::Died(_)) => {
                    self.forget(kind, &running);
                    break;
                }
            }
        }
        // It may have been another task's fault.
        match self.start(kind)?.ask(task, media) {
            Ok(answer) => answer.map_err(BridgeError::from),
            Err(Gone::Died(how)) => Err(BridgeError::Crashed(how)),
            Err(Gone::Idle) => Err(BridgeError::Crashed("it ended by itself".into())),
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
        Running::start(&self.program, kind).map_err(BridgeError::Child)
    }
}

/// Where the answer to a task goes.
type Waiting = Sender<Result<Media<'static>, Refusal>>;

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
    input: Mutex<BufWriter<ChildStdin>>,
    state: Arc<Mutex<State>>,
    child: Arc<Mutex<Child>>,
    hearing: Option<JoinHandle<()>>,
}

impl Running {
    fn start(program: &Path, kind: Kind) -> std::io::Result<Self> {
        let mut child = environment(&mut Command::new(program))
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
            input: Mutex::new(BufWriter::with_capacity(AT_ONCE, input)),
            state,
            child,
            hearing: Some(hearing),
        })
    }

    fn ask(&self, task: &Task, media: &Media<'_>) -> Result<Result<Media<'static>, Refusal>, Gone> {
        let (tell, told) = channel();
        let number = {
            let mut state = lock(&self.state);
            if let Some((is_idle, how)) = &state.ended {
                return Err(gone(*is_idle, how));
            }
            state.given += 1;
            let number = state.given;
            state.waiting.insert(number, tell);
            number
        };
        // A pipe that nobody reads is a child that is gone, which is heard at its other end.
        let _ = wire::write(&mut *lock(&self.input), number, task, Some(media));
        match told.recv_timeout(LONGEST) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => Err(Gone::Late),
            Err(RecvTimeoutError::Disconnected) => match &lock(&self.state).ended {
                Some((is_idle, how)) => Err(gone(*is_idle, how)),
                None => Err(gone(false, "it said something else than was asked")),
            },
        }
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

fn gone(is_idle: bool, how: &str) -> Gone {
    if is_idle {
        Gone::Idle
    } else {
        Gone::Died(how.to_owned())
    }
}

/// Hands on what a child says, until it is gone.
fn hear(output: ChildStdout, state: &Mutex<State>, child: &Mutex<Child>) {
    let mut output = BufReader::with_capacity(AT_ONCE, output);
    let mut said = None;
    loop {
        match wire::read::<Option<Refusal>>(&mut output) {
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
                let _ = waiting.send(answer);
            }
            Ok(None) => break,
            Err(error) => {
                said = Some(error.to_string());
                break;
            }
        }
    }
    let mut child = lock(child);
    // What says something else than it should is not waited for.
    let status = if said.is_some() {
        child.kill().and_then(|()| child.wait())
    } else {
        child.wait()
    };
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

    /// What asking a child for something ends in that is this program.
    fn asked(program: &str) -> BridgeError {
        let children = Children {
            program: program.into(),
            running: Mutex::default(),
        };
        let task = Task::VorbisEncode {
            rate: 48_000,
            channels: 1,
        };
        children
            .ask(&task, &Media::clip(&vec![0.5; 100_000]))
            .unwrap_err()
    }

    #[test]
    fn a_program_that_does_not_code_is_an_error_whatever_it_does() {
        assert!(matches!(asked("/nonexistent/program"), BridgeError::Child(_)));
        // One that fails, one that ends, and one that talks.
        assert!(matches!(asked("/bin/false"), BridgeError::Crashed(how) if how.contains("exit status: 1")));
        assert!(matches!(asked("/bin/true"), BridgeError::Crashed(_)));
        assert!(matches!(asked("/bin/echo"), BridgeError::Crashed(_)));
    }
}
