//! The command line: `ad-server-mock serve|load|report`, and the same as `grove adserver …`.
//!
//! Data goes to stdout, progress and logs to stderr. Exit status: 0 done, 1 failed, 2 bad input, 130 interrupted.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use serde_json::json;

use crate::clock::{Clock as _, SystemClock};
use crate::http::fresh_token;
use crate::load::LoadError;
use crate::report::Filter;
use crate::server::{Config, Error, load_files, serve};
use crate::store::tokens::Role;
use crate::store::{Db, Location, StoreError};
use crate::traffic::Networks;
use crate::traffic::rate::Limits;

/// A small ad server: campaigns, VAST 4.2, creatives, signed beacons, reports.
#[derive(Debug, Parser)]
#[command(
    name = "ad-server-mock",
    version,
    after_help = "Examples:\n  ad-server-mock serve --http 127.0.0.1:8090 --db ads.db --load ads.toml\n  \
                  curl 'http://127.0.0.1:8090/vast?break=1&max=30&ads=2'\n  ad-server-mock report --db ads.db --csv"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Database: a path, sqlite:PATH, or postgres://USER:PASSWORD@HOST/NAME [default: adserver.db in the data folder]
    #[arg(long, global = true, value_name = "URL|PATH")]
    db: Option<String>,
    /// Data folder, for the database and what is uploaded, unless --db names another place [default: the platform's]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// One JSON object (or one a line) on stdout, nothing else
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer for ads, serve creatives, take beacons, until stopped
    Serve {
        /// Address to listen on; port 0 takes a free one
        #[arg(
            long,
            visible_alias = "listen",
            value_name = "IP:PORT",
            default_value = "127.0.0.1:8090"
        )]
        http: SocketAddr,
        /// TOML file to load first; may be repeated
        #[arg(long, value_name = "FILE.toml")]
        load: Vec<PathBuf>,
        /// Our URL as clients know it, when it is not the host that they ask for
        #[arg(long, value_name = "URL")]
        public_url: Option<url::Url>,
        /// Seconds for which a decision may be played
        #[arg(long, value_name = "SECONDS", default_value_t = 3600,
              value_parser = clap::value_parser!(u32).range(1..=604_800))]
        expires: u32,
        /// Networks that no listener is in, one a line, such as 192.0.2.0/24; asked from there, the answer is without ads
        #[arg(long, value_name = "FILE")]
        data_centres: Option<PathBuf>,
        /// Questions a minute that one address may ask; what one listener, token or reporter may is in proportion. More is
        /// answered without ads and shown as invalid traffic; 0 is without limits
        #[arg(long, value_name = "QUESTIONS", default_value_t = 600)]
        most_a_minute: u32,
        /// Believe the last address of X-Forwarded-For, which a proxy of yours writes
        #[arg(long)]
        behind_proxy: bool,
        /// Tracker where viewers find others who have a creative that was uploaded; may be repeated
        #[arg(long, value_name = "URL")]
        tracker: Vec<url::Url>,
        /// Folder of uploaded creatives; servers on one database share it [default: beside the SQLite file; with PostgreSQL in the temporary folder]
        #[arg(long, value_name = "DIR")]
        uploads: Option<PathBuf>,
    },
    /// Make a token for the API and the desk (/desk); it is shown this once
    Token {
        /// Whose it is
        #[arg(long, value_name = "NAME")]
        name: String,
        /// What it may do
        #[arg(long, value_parser = ["admin", "advertiser", "publisher", "reader"], default_value = "admin")]
        role: String,
        /// The advertiser or publisher that it is for
        #[arg(long, value_name = "ID", required_if_eq_any([("role", "advertiser"), ("role", "publisher")]))]
        scope: Option<String>,
    },
    /// Load advertisers, campaigns, flights and creatives; what is there already is brought up to date
    Load {
        /// TOML files
        #[arg(value_name = "FILE.toml", required = true)]
        files: Vec<PathBuf>,
    },
    /// Decisions, impressions by basis, quartiles, errors and spend for each creative
    Report {
        /// Rows as CSV
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
}

/// What was given to a command is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct BadInput(String);

/// How a command ended when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did what was asked, or was told to end (SIGTERM).
    Done,
    /// Ctrl-C.
    Interrupted,
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Done => Self::SUCCESS,
            Ended::Interrupted => Self::from(130),
        }
    }
}

/// Runs a command, and prints what went wrong if something did. The status is for the process to exit with.
pub async fn run(args: Args) -> ExitCode {
    match execute(args).await {
        Ok(ended) => ended.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(hint) = hint(&error) {
                eprintln!("hint: {hint}");
            }
            status(&error)
        }
    }
}

/// Exit status of a failure: 2 for bad input, 1 for the rest.
pub fn status(error: &anyhow::Error) -> ExitCode {
    let bad_input = match error.downcast_ref::<Error>() {
        Some(Error::Load(_) | Error::PublicUrl(_) | Error::Store(StoreError::Kind(_))) => true,
        _ => {
            error.is::<BadInput>() || matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Kind(_)))
        }
    };
    ExitCode::from(if bad_input { 2 } else { 1 })
}

/// What to do about a failure, where there is something.
pub fn hint(error: &anyhow::Error) -> Option<&'static str> {
    match error.downcast_ref::<Error>()? {
        Error::Load(LoadError::Bad { reason, .. }) if reason.starts_with("file:") => {
            Some("files are looked for in the folder of the TOML file that names them")
        }
        Error::Load(_) => Some("nothing was loaded; correct the file and load it again"),
        Error::Listen { .. } => Some("choose another address with --http; port 0 takes a free one"),
        Error::Store(StoreError::Migrate { .. }) => {
            Some("the database was written by another version, or by another program; choose one with --db")
        }
        _ => None,
    }
}

/// Runs a command.
pub async fn execute(args: Args) -> anyhow::Result<Ended> {
    let db = match args.db {
        Some(db) => db,
        None => default_db(args.data)?,
    };
    match args.command {
        Command::Serve {
            http,
            load,
            public_url,
            expires,
            data_centres,
            most_a_minute,
            behind_proxy,
            tracker,
            uploads,
        } => {
            let not_listeners = match data_centres {
                None => Networks::default(),
                Some(path) => {
                    let text = std::fs::read_to_string(&path)
                        .map_err(|e| BadInput(format!("cannot read {}: {e}", path.display())))?;
                    Networks::parse(&text)
                        .map_err(|e| BadInput(format!("cannot use {}: {e}", path.display())))?
                }
            };
            let expires = Duration::from_secs(expires.into());
            let config = Config {
                http,
                load,
                public_url,
                expires,
                not_listeners,
                rate: Limits::for_address(most_a_minute),
                behind_proxy,
                trackers: tracker,
                uploads,
                ..Config::new(db)
            };
            serve_until_told(config, args.json).await
        }
        Command::Load { files } => {
            let store = open(&db).await?;
            load_files(&store, &files).await?;
            let creatives = store.creatives().await?;
            store.close().await;
            if args.json {
                print(&json!({"event": "loaded", "files": files.len(), "creatives": creatives}).to_string())?;
            } else {
                let s = if files.len() == 1 { "" } else { "s" };
                eprintln!(
                    "loaded {} file{s}; the database now has {creatives} creatives",
                    files.len()
                );
            }
            Ok(Ended::Done)
        }
        Command::Token { name, role, scope } => {
            let store = open(&db).await?;
            let role = Role::parse(&role).context("this is no role")?;
            let token = fresh_token();
            store
                .add_token(&token, &name, role, scope.as_deref(), SystemClock.now())
                .await?;
            store.close().await;
            if args.json {
                print(&json!({"token": token, "name": name, "role": role, "scope": scope}).to_string())?;
            } else {
                print(&token)?;
            }
            Ok(Ended::Done)
        }
        Command::Report { csv } => {
            if let Location::Sqlite(path) = Location::parse(&db)?
                && !path.exists()
            {
                let why = format!("cannot report: there is no database at {}", path.display());
                return Err(BadInput(why).into());
            }
            let store = open(&db).await?;
            let report = store.report(&Filter::default(), SystemClock.now()).await?;
            store.close().await;
            let text = match (args.json, csv) {
                (true, _) => serde_json::to_string(&report)?,
                (_, true) => report.to_csv().trim_end().to_owned(),
                _ => report.to_table().trim_end().to_owned(),
            };
            print(&text)?;
            Ok(Ended::Done)
        }
    }
}

async fn open(db: &str) -> Result<Db, Error> {
    Ok(Db::open(&Location::parse(db)?).await?)
}

fn default_db(data: Option<PathBuf>) -> anyhow::Result<String> {
    let data = match data {
        Some(data) => data,
        None => directories::ProjectDirs::from("", "", "grove")
            .context("cannot find this platform's data folder: give --data DIR or --db PATH")?
            .data_dir()
            .to_owned(),
    };
    let path = data.join("adserver.db");
    Ok(path
        .to_str()
        .context("the data folder's path is not UTF-8: give --db PATH")?
        .to_owned())
}

fn print(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("cannot write to stdout")
}

async fn serve_until_told(config: Config, as_json: bool) -> anyhow::Result<Ended> {
    let db = config.db.clone();
    let mut running = serve(config).await?;
    if as_json {
        print(
            &json!({
                "event": "listening",
                "http": running.addr().to_string(),
                "url": running.url(),
                "vast": format!("{}/vast", running.url()),
                "db": db,
            })
            .to_string(),
        )?;
    } else {
        eprintln!(
            "Grove Ads listens on {}; ads at {}/vast; database {db}",
            running.addr(),
            running.url()
        );
    }
    let ended = tokio::select! {
        error = running.failed() => return Err(error.into()),
        told = told_to_end() => told?,
    };
    running.stop().await?;
    Ok(ended)
}

/// Waits for Ctrl-C or SIGTERM.
async fn told_to_end() -> anyhow::Result<Ended> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        tokio::select! {
            done = tokio::signal::ctrl_c() => done.context("cannot listen for Ctrl-C").map(|()| Ended::Interrupted),
            _ = terminate.recv() => Ok(Ended::Done),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c()
        .await
        .context("cannot listen for Ctrl-C")
        .map(|()| Ended::Interrupted)
}
