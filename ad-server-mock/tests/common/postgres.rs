//! A PostgreSQL of its own for a test: a cluster in a temporary folder, reached through a socket in that folder.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it and its files are gone when this is dropped.
pub(crate) struct Postgres {
    server: Child,
    folder: tempfile::TempDir,
}

/// Where Debian puts the programs of the newest PostgreSQL that is installed.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let mut versions: Vec<_> = versions
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path().join("bin")))
        .filter(|p| p.join("initdb").exists() && p.join("postgres").exists())
        .collect();
    versions.sort();
    versions
        .pop()
        .expect("no PostgreSQL is here; hint: apt-get install postgresql (fixtures/setup.sh does it)")
}

/// A command as this user, or as `nobody` when this user is root, which PostgreSQL refuses to run as.
fn as_user(program: &Path) -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
            .arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.trim_ascii() == b"0"
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let programs = programs();
        // Under /tmp: the path of a socket may have 107 bytes at most.
        let folder = tempfile::tempdir_in("/tmp").expect("a folder");
        let data = folder.path().join("data");
        if is_root() {
            let given = Command::new("chown")
                .arg("nobody:nogroup")
                .arg(folder.path())
                .status();
            assert!(
                given.expect("chown runs").success(),
                "cannot give the folder away"
            );
        }
        let made = as_user(&programs.join("initdb"))
            .args([
                "--auth=trust",
                "--username=grove",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "-D",
            ])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(
            made.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let server = as_user(&programs.join("postgres"))
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "max_connections=60"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("postgres runs");
        let mut postgres = Self { server, folder };
        postgres.wait(&programs);
        postgres
    }

    fn wait(&mut self, programs: &Path) {
        let began = Instant::now();
        loop {
            // It waits for an answer itself, for up to a second.
            let ready = Command::new(programs.join("pg_isready"))
                .args(["--timeout=1", "--quiet", "--username=grove", "--host"])
                .arg(self.folder.path())
                .status()
                .expect("pg_isready runs");
            if ready.success() {
                return;
            }
            let ended = self.server.try_wait().expect("a child");
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "postgres ended: {log}");
            assert!(began.elapsed() < PATIENCE, "postgres does not answer: {log}");
            std::thread::yield_now();
        }
    }

    /// The name of its database for `--db`.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgres://grove@localhost/postgres?host={}",
            self.folder.path().display()
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown, so that no process of it is left behind; it is a child of ours, and nobody else's.
        let pid = self.server.id().to_string();
        let _ = Command::new("kill").args(["-INT", &pid]).status();
        let _ = self.server.wait();
    }
}
