//! Where this program is, for starting it again as one that decodes or encodes.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The program that runs, as the kernel knows it: what was put in its place since is another one.
const RUNNING: &str = "/proc/self/exe";

/// A path by which this program is started again, the same one even after an upgrade wrote another where it was (on Linux, with `/proc`).
///
/// # Errors
/// When the system does not tell.
pub fn this_program() -> io::Result<PathBuf> {
    if std::fs::metadata(RUNNING).is_ok_and(|found| found.is_file()) {
        return Ok(RUNNING.into());
    }
    std::env::current_exe()
}

/// What starts a program; this one under the name that it has.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    if program == Path::new(RUNNING)
        && let Some(name) = std::env::args_os().next()
    {
        command.arg0(name);
    }
    command
}
