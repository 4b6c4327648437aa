//! Headless Chromium, driven over its debugging pipe: as much as the desk's test needs.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

/// How long the browser may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub(crate) struct Browser {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: String,
    next: u64,
    _profile: tempfile::TempDir,
}

fn read(from: ChildStdout) -> Receiver<Value> {
    let (to, receiver) = channel();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut message = Vec::new();
        while from.read_until(0, &mut message).is_ok_and(|n| n > 0) {
            message.pop();
            if let Ok(value) = serde_json::from_slice(&message)
                && to.send(value).is_err()
            {
                break;
            }
            message.clear();
        }
    });
    receiver
}

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        // The browser speaks on descriptors 3 and 4; the shell makes them out of standard input and output.
        let mut process = Command::new("sh")
            .args(["-c", "exec chromium \"$@\" 3<&0 4>&1 >/dev/null </dev/null", "sh"])
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
                "--lang=en",
                "about:blank",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let from = read(process.stdout.take().expect("a pipe"));
        let to = process.stdin.take().expect("a pipe");
        let mut browser = Self {
            process,
            to,
            from,
            session: String::new(),
            next: 0,
            _profile: profile,
        };
        let made = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attached = browser.call(
            "Target.attachToTarget",
            &json!({"targetId": made["targetId"], "flatten": true}),
        );
        attached["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        browser.call("Page.enable", &json!({}));
        browser.call("Log.enable", &json!({}));
        // The desk must be whole without scripts.
        browser.call("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
        browser.size(1200, 1000);
        browser
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let sent = self.to.write_all(format!("{message}\0").as_bytes());
        sent.unwrap_or_else(|e| {
            panic!(
                "chromium does not answer: {e}; hint: apt-get install chromium (fixtures/setup.sh does it)"
            )
        });
        loop {
            let answer = self.wait(method);
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    fn wait(&mut self, what: &str) -> Value {
        self.from.recv_timeout(PATIENCE).unwrap_or_else(|e| {
            panic!("chromium, {what}: {e}; hint: apt-get install chromium (fixtures/setup.sh does it)")
        })
    }

    fn wait_for(&mut self, event: &str) {
        while self.wait(event)["method"] != event {}
    }

    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Goes to a page, and waits until it is loaded.
    pub(crate) fn go(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
        self.wait_for("Page.loadEventFired");
    }

    /// What an expression is, told by the debugger (scripts of the page are off).
    pub(crate) fn ask(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The page as people read it.
    pub(crate) fn text(&mut self) -> String {
        self.ask("document.body.innerText")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Does something that leads to another page, and waits for it.
    pub(crate) fn follow(&mut self, expression: &str) {
        self.ask(expression);
        self.wait_for("Page.loadEventFired");
    }

    /// Puts a file into a field.
    pub(crate) fn choose(&mut self, selector: &str, file: &Path) {
        let document = self.call("DOM.getDocument", &json!({}));
        let query = json!({"nodeId": document["root"]["nodeId"], "selector": selector});
        let node = self.call("DOM.querySelector", &query);
        let files = json!({"nodeId": node["nodeId"], "files": [file]});
        self.call("DOM.setFileInputFiles", &files);
    }

    /// The whole page as a PNG.
    pub(crate) fn screenshot(&mut self) -> Vec<u8> {
        let answer = self.call("Page.captureScreenshot", &json!({"captureBeyondViewport": true}));
        let data = answer["data"].as_str().expect("an image");
        base64::engine::general_purpose::STANDARD
            .decode(data)
            .expect("base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with all its processes when it is told so; then it is waited for.
        let close = json!({"id": 0, "method": "Browser.close"});
        let _ = self.to.write_all(format!("{close}\0").as_bytes());
        let _ = self.process.wait();
    }
}
