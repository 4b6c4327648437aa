//! Single keys from the terminal, without a line being entered.
//!
//! Invariants: only a terminal is read from, and only in the foreground, since a shell stops who reads from it in the background; its settings
//! are as before when [`Keys`] is dropped; signals (Ctrl-C, Ctrl-Z) work as ever.
//!
//! Not for: what a key does.

use std::io::{IsTerminal as _, Read as _};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};
use tokio::sync::mpsc;

use crate::output::{ExitStatus, interrupted};

/// How often it is looked whether the terminal is ours again.
const IN_BACKGROUND: Duration = Duration::from_millis(100);

/// What a person asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Skip,
    ClickThrough,
    Pause,
    Mute,
    Forward,
    Back,
    Quit,
}

impl Key {
    fn of(byte: u8) -> Option<Self> {
        match byte {
            b's' | b'S' => Some(Key::Skip),
            b'c' | b'C' => Some(Key::ClickThrough),
            b' ' | b'p' | b'P' => Some(Key::Pause),
            b'm' | b'M' => Some(Key::Mute),
            b'q' | b'Q' => Some(Key::Quit),
            _ => None,
        }
    }
}

/// Bytes of the terminal, of which arrows have several (`ESC [ C`).
#[derive(Debug, Default)]
struct Parser {
    escape: u8,
}

impl Parser {
    fn push(&mut self, byte: u8) -> Option<Key> {
        match (std::mem::take(&mut self.escape), byte) {
            (_, 0x1B) => self.escape = 1,
            (1, b'[' | b'O') => self.escape = 2,
            (2, b'C') => return Some(Key::Forward),
            (2, b'D') => return Some(Key::Back),
            // Another sequence, none of whose bytes is a key by itself.
            (2, _) => {}
            _ => return Key::of(byte),
        }
        None
    }
}

/// The terminal's keys, for as long as it lives.
pub(crate) struct Keys {
    inbox: mpsc::Receiver<Key>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    before: Termios,
}

impl Keys {
    /// Starts reading; `None` when stdin is no terminal, or one that another command has now.
    pub(crate) fn open() -> anyhow::Result<Option<Self>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || !is_foreground(&stdin) {
            return Ok(None);
        }
        let doing = "cannot read keys from the terminal";
        let before = tcgetattr(&stdin).context(doing)?;
        let mut settings = before.clone();
        settings.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        // A read ends after a tenth of a second without a key, so that the thread can be ended.
        settings.special_codes[SpecialCodeIndex::VMIN] = 0;
        settings.special_codes[SpecialCodeIndex::VTIME] = 1;
        tcsetattr(&stdin, OptionalActions::Now, &settings).context(doing)?;
        let (outbox, inbox) = mpsc::channel(16);
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let mut keys = Keys {
            inbox,
            over,
            thread: None,
            before,
        };
        let reading = move || {
            let mut stdin = std::io::stdin().lock();
            let mut byte = [0];
            let mut parser = Parser::default();
            while !told.load(Ordering::Relaxed) {
                if !is_foreground(&stdin) {
                    std::thread::sleep(IN_BACKGROUND);
                    continue;
                }
                match stdin.read(&mut byte) {
                    Ok(_) if byte == [0] => {}
                    Ok(_) => {
                        // Keys that nobody takes in time are dropped, as is everything after the end.
                        if let Some(key) = parser.push(std::mem::take(&mut byte[0])) {
                            let _ = outbox.try_send(key);
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        };
        keys.thread = Some(
            std::thread::Builder::new()
                .name("keys".into())
                .spawn(reading)
                .context(doing)?,
        );
        Ok(Some(keys))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed already.
            let _ = thread.join();
        }
        // A terminal that is gone needs nothing back. From the background this would stop us; then the shell has set its own.
        if !is_foreground(std::io::stdin()) {
            return;
        }
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether the terminal's input is for us, and not for another command of its shell.
fn is_foreground(stdin: impl AsFd) -> bool {
    tcgetpgrp(stdin).is_ok_and(|group| group == getpgrp())
}

/// The next key; never, when there are none.
pub(crate) async fn next_key(keys: &mut Option<Keys>) -> Key {
    if let Some(keys) = keys
        && let Some(key) = keys.inbox.recv().await
    {
        return key;
    }
    std::future::pending().await
}

/// Resolves when the person leaves, by key or by signal, while no other key means anything yet; with what that is to its caller.
pub(super) async fn left(keys: &mut Option<Keys>) -> ExitStatus {
    let quits = async { while next_key(keys).await != Key::Quit {} };
    tokio::select! {
        () = quits => ExitStatus::Done,
        () = interrupted() => ExitStatus::Interrupted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_are_one_key_each() {
        let mut parser = Parser::default();
        let keys: Vec<Key> = b"s\x1b[C\x1b[A\x1bOD\x1bqm"
            .iter()
            .filter_map(|byte| parser.push(*byte))
            .collect();
        assert_eq!(keys, [Key::Skip, Key::Forward, Key::Back, Key::Quit, Key::Mute]);
    }
}
