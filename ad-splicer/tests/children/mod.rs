//! What tests share that start themselves again as the children that condition creatives.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ad_splicer::conditioning::{ConditionError, Conditioner, Limits};
use ad_splicer::creatives::{Cache, Creative, FetchLimits, Profile};
use ad_splicer::{child_main, is_child};

/// The whole life of such a program: of a child, or of what runs the tests whose names have one of the arguments in them.
pub(crate) fn main(tests: &[(&str, fn())]) -> ExitCode {
    if is_child(std::env::args_os()) {
        return child_main(std::env::args_os());
    }
    if std::env::args().any(|a| a == "--list") {
        for (name, _) in tests {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let mut failed = 0;
    for (name, test) in tests {
        if !wanted.is_empty() && !wanted.iter().any(|w| name.contains(w.as_str())) {
            continue;
        }
        let began = std::time::Instant::now();
        let result = std::panic::catch_unwind(test);
        let outcome = if result.is_ok() { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {outcome} ({:.1} s)",
            began.elapsed().as_secs_f64()
        );
        failed += usize::from(result.is_err());
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A folder for creatives, a cache beside them, and a conditioner that starts this program.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) cache: Cache,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) conditioner: Conditioner,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::open(dir.path().join("creatives"), Cache::DEFAULT_MAX_BYTES).expect("a cache");
        let program = std::env::current_exe().expect("this program has a path");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            dir,
            cache,
            runtime,
            conditioner: Conditioner::new(program).with_limits(limits),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a creative: `input` is ffmpeg's arguments up to the output.
    pub(crate) fn make(&self, name: &str, input: &[&str]) -> PathBuf {
        let path = self.path(name);
        ffmpeg(input, &path);
        path
    }

    pub(crate) fn condition(&self, path: &Path, profile: Profile) -> Result<Creative, ConditionError> {
        let original = self
            .cache
            .import(path, FetchLimits::default())
            .expect("a readable file");
        self.runtime
            .block_on(self.conditioner.condition(&self.cache, &original, profile))
    }
}

pub(crate) fn ffmpeg(input: &[&str], output: &Path) {
    let result = std::process::Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-y", "-loglevel", "error"])
        .args(input)
        .arg(output)
        .output()
        .expect("ffmpeg is needed: apt-get install ffmpeg");
    let said = String::from_utf8_lossy(&result.stderr);
    assert!(
        result.status.success(),
        "ffmpeg {input:?} {}: {said}",
        output.display()
    );
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
