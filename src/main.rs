//! The `grove` command: parses the command line, runs one command, and turns its end into an exit status.
//!
//! Not for: what a command does; each has its own file.

/// Says something on stderr. That nobody can read it is no reason to die, as it is for the standard library's.
macro_rules! eprintln {
    ($($what:tt)*) => {
        $crate::output::say(format_args!($($what)*))
    };
}

mod ads;
mod again;
mod allocator;
mod asking;
mod beacons;
mod beforehand;
mod breaks;
mod cli;
mod completions;
mod context;
mod cues;
mod decided;
mod demo;
mod documents;
mod feed;
mod files;
mod gateway;
mod get;
mod identity;
mod inspect;
mod joining;
mod media_type;
mod node;
mod origin_check;
mod output;
mod partial;
mod pausing;
mod placeable;
mod placing;
mod plain;
mod play;
mod publish;
mod quiet;
mod remove;
mod rendition;
mod results;
mod scratch;
mod seed;
mod selection;
mod send;
mod snap;
mod source;
mod splice;
mod starting;
mod tracker;
mod trust;
mod unanswered;
mod units;
mod validator;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::output::{ExitStatus, Outcome};

/// How long work that cannot be stopped gets at the end.
const LAST_WORK: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // Creatives are decoded, and bridges coded, in children of this program, which do nothing else.
    if ad_splicer::is_child(std::env::args_os()) {
        return ad_splicer::child_main(std::env::args_os());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::report_usage(&error, std::env::args_os()).into(),
    };
    output::start_logging(cli.verbose);
    match ad_splicer::this_program() {
        Ok(program) => ad_splicer::bridge::in_children_of(program),
        Err(error) => {
            tracing::warn!(%error, "this program cannot be started again: what is decoded and encoded is not shut in");
        }
    }
    gate::install_crypto_provider();
    if matches!(cli.command, Command::Splice(_)) {
        allocator::return_large();
    }

    let json = cli.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitStatus::Failed.into();
        }
    };
    let status = runtime.block_on(async {
        pausing::survive_signals();
        match cli.command {
            // The ad server is a program of its own, with exit statuses of its own.
            Command::Adserver(args) => ad_server_mock::cli::run(*args).await,
            Command::Publish(args) => {
                let outcome = publish::run(&args, json).await;
                drain(&args.net).await;
                end(outcome, json)
            }
            Command::Inspect(args) => end(inspect::run(&args, json).await, json),
            Command::Get(args) => end(get::run(&args, json).await, json),
            Command::Play(args) => end(play::run(&args, json).await, json),
            Command::Send(args) => {
                let outcome = send::run(&args, json).await;
                drain(&args.net).await;
                end(outcome, json)
            }
            Command::Remove(args) => end(remove::run(&args, json).await, json),
            Command::Seed(args) => {
                let outcome = seed::run(&args, json).await;
                drain(&args.net).await;
                end(outcome, json)
            }
            Command::Node(args) => end(Box::pin(node::run(&args, json)).await, json),
            Command::Splice(args) => end(splice::run(&args, json).await, json),
            Command::Ads(args) => {
                let outcome = ads::run(&args, json).await;
                drain(args.net()).await;
                end(outcome, json)
            }
            Command::Cues(args) => end(cues::run(&args, json), json),
            Command::Tracker(args) => end(tracker::run(&args, json).await, json),
            Command::Demo(args) => end(demo::run(&args, json).await.map(|()| ExitStatus::Done), json),
            Command::Completions(args) => end(completions::run(&args), json),
        }
    });
    // Who still writes into a pipe that nobody reads, or works something out, may never end: that holds nobody up.
    runtime.shutdown_timeout(LAST_WORK);
    files::abandon();
    status
}

/// Sends what earlier commands could not report. (`inspect`, `get` and `play` do that by themselves, each at its time.)
async fn drain(net: &cli::NetArgs) {
    if let Ok(context) = context::Context::new(net) {
        beacons::drain(&context).await;
    }
}

fn end(outcome: Outcome, json: bool) -> ExitCode {
    let printed = |status| output::check_printed().map(|()| status);
    match outcome.and_then(printed) {
        Ok(status) => status.into(),
        Err(error) => output::report_error(&error, json).into(),
    }
}
