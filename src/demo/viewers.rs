//! The demo's viewers: `grove get` processes, their progress bars, and what each of them reports at the end.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::Value;

use super::child::Process;

/// One spliced ad, as `grove get --json` reports it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct AdRow {
    pub(crate) cue: f64,
    pub(crate) start: f64,
    pub(crate) duration: f64,
    pub(crate) ad_id: String,
    pub(crate) gain_db: f64,
    pub(crate) limited_db: f64,
    #[serde(default)]
    pub(crate) advertiser: Option<String>,
}

/// What the demo reads out of the `complete` object of `grove get`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Complete {
    pub(crate) path: PathBuf,
    pub(crate) content_bytes: u64,
    pub(crate) from_origin: u64,
    pub(crate) from_peers: u64,
    pub(crate) wasted: u64,
    pub(crate) seconds: f64,
    pub(crate) ads: Vec<AdRow>,
    /// Runs of pieces by source: number of pieces, and `origin`, `peer` or `disk`.
    #[serde(default)]
    pub(crate) sources: Vec<(u32, String)>,
}

/// A viewer that has been started.
pub(crate) struct Viewer {
    pub(crate) name: String,
    process: Process,
    bar: ProgressBar,
}

/// A viewer that has its result, and may still be seeding.
pub(crate) struct Seeding {
    result: Finished,
    process: Process,
}

/// What is left of a viewer when it is gone.
pub(crate) struct Finished {
    pub(crate) name: String,
    pub(crate) complete: Complete,
    /// The whole `complete` object, for `--json`.
    pub(crate) raw: Value,
}

/// What every viewer of the demo is told.
pub(crate) struct Terms<'a> {
    pub(crate) source: &'a str,
    pub(crate) state: &'a Path,
    pub(crate) results: &'a Path,
    pub(crate) logs: &'a Path,
    pub(crate) seed_for: Option<&'a str>,
}

impl Viewer {
    /// Starts `grove get` for a viewer with a home line of 8 Mbit/s down and 4 Mbit/s up.
    pub(crate) fn start(name: &str, terms: &Terms<'_>, bars: &MultiProgress) -> anyhow::Result<Self> {
        let mut args: Vec<OsString> = [
            "get",
            terms.source,
            "--json",
            "--allow-private",
            "--down",
            "1M",
            "--up",
            "500k",
        ]
        .into_iter()
        .map(OsString::from)
        .collect();
        args.extend(["--listen".into(), "127.0.0.1:0".into()]);
        args.extend(["--data".into(), terms.state.join(name).into_os_string()]);
        args.extend([
            "-o".into(),
            terms.results.join(format!("{name}.mp3")).into_os_string(),
        ]);
        if let Some(time) = terms.seed_for {
            args.extend(["--seed-for".into(), time.into()]);
        }
        let process = Process::start(name, terms.logs, args)?;
        let bar = bars.add(ProgressBar::new(1));
        // The template is a constant; a mistake in it shows in the first run.
        if let Ok(style) = ProgressStyle::with_template(
            "{prefix:>10} {bar:32} {decimal_bytes:>9}/{decimal_total_bytes:9} {msg}",
        ) {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        Ok(Self {
            name: name.to_owned(),
            process,
            bar,
        })
    }

    /// Follows the viewer until its file is whole, verified and spliced.
    pub(crate) async fn complete(mut self) -> anyhow::Result<Seeding> {
        while let Some(value) = self.process.next().await? {
            let number = |key: &str| value[key].as_u64().unwrap_or(0);
            match value["event"].as_str() {
                Some("progress") => {
                    self.bar.set_length(number("content_bytes").max(1));
                    self.bar.set_position(number("have_bytes"));
                    self.bar
                        .set_message(sources(number("from_origin"), number("from_peers")));
                }
                Some("complete") => {
                    let complete: Complete = serde_json::from_value(value.clone())
                        .with_context(|| format!("reading the complete object of {}", self.name))?;
                    self.bar.set_length(complete.content_bytes);
                    self.bar.set_position(complete.content_bytes);
                    self.bar
                        .finish_with_message(sources(complete.from_origin, complete.from_peers));
                    let result = Finished {
                        name: self.name,
                        complete,
                        raw: value,
                    };
                    return Ok(Seeding {
                        result,
                        process: self.process,
                    });
                }
                _ => {}
            }
        }
        Err(self.process.failure().await)
    }
}

fn sources(origin: u64, peers: u64) -> String {
    format!(
        "origin {} · peers {}",
        indicatif::DecimalBytes(origin),
        indicatif::DecimalBytes(peers)
    )
}

impl Seeding {
    /// Waits until a viewer that does not seed has ended by itself.
    pub(crate) async fn gone(mut self) -> anyhow::Result<Finished> {
        self.process.wait_for("done").await?;
        self.leave().await
    }

    /// Ends the viewer, which may still be seeding.
    pub(crate) async fn leave(self) -> anyhow::Result<Finished> {
        self.process.stop().await?;
        Ok(self.result)
    }
}
