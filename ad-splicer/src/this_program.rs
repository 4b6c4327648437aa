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

/// The environment that a child keeps: where libraries, plugins and the plugin registry are. Nothing else is passed on.
const KEPT_ENVIRONMENT: [&str; 9] = [
    "PATH",
    "HOME",
    "XDG_CACHE_HOME",
    "LD_LIBRARY_PATH",
    "GST_PLUGIN_PATH",
    "GST_PLUGIN_PATH_1_0",
    "GST_PLUGIN_SYSTEM_PATH",
    "GST_PLUGIN_SYSTEM_PATH_1_0",
    "GST_REGISTRY",
];

/// What starts a program as a child, with what it needs of the environment; this one under the name that it has.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    let kept = KEPT_ENVIRONMENT.iter();
    command
        .env_clear()
        .envs(kept.filter_map(|name| Some((name, std::env::var_os(name)?))))
        // The list of plugins is used as it is: a child starts no scanner.
        .env("GST_REGISTRY_UPDATE", "no")
        .env("GST_REGISTRY_FORK", "no")
        .env("GST_DEBUG", "0");
    if program == Path::new(RUNNING)
        && let Some(name) = std::env::args_os().next()
    {
        command.arg0(name);
    }
    command
}
