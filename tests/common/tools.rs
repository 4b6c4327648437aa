//! Outside programs that tests lean on as judges and partners. One that is missing fails the test, with how to install it.
//!
//! Not for: `grove` itself.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a program is; `package` is the Debian package that has it.
#[track_caller]
pub fn tool(program: &str, package: &str) -> PathBuf {
    // Servers are often not on an ordinary user's path.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| {
            panic!("{program} is not installed\nhint: apt-get install {package} (or `make setup`)")
        })
}

/// What a program says on stdout and on stderr; it must succeed.
#[track_caller]
pub fn ask<S: AsRef<OsStr>>(
    program: &str,
    package: &str,
    args: impl IntoIterator<Item = S>,
) -> (Vec<u8>, String) {
    let mut command = Command::new(tool(program, package));
    let output = command
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success(),
        "{command:?}\nstatus: {}\n{stderr}",
        output.status
    );
    (output.stdout, stderr)
}

/// What ffmpeg or ffprobe prints; it must find nothing to complain about.
#[track_caller]
pub fn printed(program: &str, args: &[&str]) -> Vec<u8> {
    let (stdout, said) = ask(program, "ffmpeg", ["-v", "error"].iter().chain(args));
    assert!(said.is_empty(), "{program} {args:?}: {said}");
    stdout
}

/// Has ffmpeg make a file of generated inputs, coded like this.
#[track_caller]
pub fn generate(path: &Path, inputs: &[String], coding: &str) {
    let inputs = inputs.iter().flat_map(|input| ["-f", "lavfi", "-i", input]);
    let quiet = ["-nostdin", "-v", "error"].into_iter();
    let args = quiet.chain(inputs).chain(coding.split_whitespace());
    let args = args.map(OsStr::new).chain([path.as_os_str()]);
    ask("ffmpeg", "ffmpeg", args);
}

/// Gated loudness of a part of a file, as ffmpeg measures it.
pub fn loudness(file: &Path, start: f64, duration: f64) -> f64 {
    let filter = format!("atrim=start={start}:duration={duration},ebur128=framelog=verbose");
    let args = ["-nostats", "-i"].map(PathBuf::from);
    let rest = ["-map", "0:a", "-af", &filter, "-f", "null", "-"].map(PathBuf::from);
    let (_, said) = ask(
        "ffmpeg",
        "ffmpeg",
        args.into_iter().chain([file.to_owned()]).chain(rest),
    );
    said.rsplit("I:")
        .next()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("ffmpeg told no loudness: {said}"))
}

/// The true peak of a part of a file in dBTP, as ffmpeg measures it.
pub fn true_peak(file: &Path, start: f64, duration: f64) -> f64 {
    let filter = format!("atrim=start={start}:duration={duration},ebur128=framelog=verbose:peak=true");
    let args = ["-nostats", "-i"].map(PathBuf::from);
    let rest = ["-map", "0:a", "-af", &filter, "-f", "null", "-"].map(PathBuf::from);
    let all = args.into_iter().chain([file.to_owned()]).chain(rest);
    let (_, said) = ask("ffmpeg", "ffmpeg", all);
    said.rsplit("Peak:")
        .next()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_else(|| panic!("ffmpeg told no peak: {said}"))
}
