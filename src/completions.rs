//! `grove completions`: a completion script for a shell, on stdout.

use std::io::{ErrorKind, Write as _};

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::output::{ExitStatus, Outcome};

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "grove", &mut script);
    match std::io::stdout().write_all(&script) {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitStatus::Done),
    }
}
