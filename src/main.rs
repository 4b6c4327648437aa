//! The `grove` command: parses the command line, runs one command, and turns its end into an exit status.
//!
//! Not for: what a command does; each has its own file.

mod cli;
mod completions;
mod feed;
mod output;
mod units;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::output::{ExitStatus, Outcome};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitStatus::BadInput.into()
            } else {
                ExitStatus::Done.into()
            };
        }
    };
    output::start_logging(cli.verbose);

    let json = cli.json;
    match run(cli) {
        Ok(status) => status.into(),
        Err(error) => output::report_error(&error, json).into(),
    }
}

fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Completions(args) => completions::run(&args),
    }
}
