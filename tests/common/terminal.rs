//! `grove` at a terminal: util-linux's `script` makes one, and passes keys on.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;

/// What was shown so far, and whether there may be more.
#[derive(Default)]
struct Screen {
    shown: Mutex<(String, bool)>,
    more: Condvar,
}

/// A command at a terminal; killed when dropped.
pub struct Terminal {
    child: Child,
    screen: Arc<Screen>,
}

impl Terminal {
    /// Starts a command line without words that a shell would change.
    pub fn start(command: &Command) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<&str> = words.map(|word| word.to_str().expect("UTF-8")).collect();
        // The terminal that `script` makes has no width of its own.
        let line = format!("stty columns 150 rows 40; exec {}", words.join(" "));
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
        for (name, value) in command.get_envs() {
            script.env(name, value.expect("nothing is removed"));
        }
        let folder = command.get_current_dir().expect("a folder was named");
        let mut child = script
            .current_dir(folder)
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("script cannot be started ({error}); it is in Debian's bsdutils"));
        let screen = Arc::new(Screen::default());
        let (keep, mut stdout) = (Arc::clone(&screen), child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                keep.shown.lock().expect("not poisoned").0.push_str(&text);
                keep.more.notify_all();
            }
            keep.shown.lock().expect("not poisoned").1 = true;
            keep.more.notify_all();
        });
        Self { child, screen }
    }

    /// Waits until these words are shown, counting what was shown before.
    #[track_caller]
    pub fn wait_for(&self, words: &str) {
        let shown = self.screen.shown.lock().expect("not poisoned");
        let (shown, _) = self
            .screen
            .more
            .wait_timeout_while(shown, PATIENCE, |(text, over)| !text.contains(words) && !*over)
            .expect("not poisoned");
        assert!(shown.0.contains(words), "{words:?} is not shown:\n{}", shown.0);
    }

    pub fn press(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        stdin.write_all(keys.as_bytes()).expect("it takes keys");
    }

    /// Waits for its end; gives the exit status of the command.
    #[track_caller]
    pub fn finish(mut self) -> Option<i32> {
        let shown = self.screen.shown.lock().expect("not poisoned");
        let (shown, timeout) = self
            .screen
            .more
            .wait_timeout_while(shown, PATIENCE, |(_, over)| !*over)
            .expect("not poisoned");
        assert!(!timeout.timed_out(), "it does not end:\n{}", shown.0);
        drop(shown);
        self.child.wait().expect("a child can be waited for").code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
