//! `grove completions`: a completion script for a shell, on stdout.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};
use crate::output::{ExitStatus, Outcome};

/// Prints the script.
#[expect(clippy::unnecessary_wraps, reason = "every command ends like this")]
pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    clap_complete::generate(args.shell, &mut Cli::command(), "grove", &mut std::io::stdout());
    Ok(ExitStatus::Done)
}
