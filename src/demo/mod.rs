//! `grove demo`: the whole story on this machine.
//!
//! A publisher with a plain static web server, a tracker, an ad server with three campaigns, and five viewers on slow lines. Everything
//! but the web server is a real process of this program, started as a person would start it; the demo only watches. It opens nothing but
//! loopback, on ports that are free. Not for: measuring (`make bench`), or any logic that a command does not have by itself.

mod child;
mod summary;
mod timeline;
mod viewers;
mod web;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ad_server_mock::report::Report;
use ad_splicer::conditioning::Conditioner;
use ad_splicer::creatives::{Cache, FetchLimits, Profile};
use anyhow::Context as _;
use indicatif::MultiProgress;
use serde::Deserialize;
use serde_json::Value;

use child::Process;
use summary::{CreativeRow, Summary};
use timeline::{AdMark, PieceSource, Timeline};
use viewers::{Finished, Terms, Viewer};
use web::WebServer;

const EPISODE: &str = "episode.mp3";
/// How many of the fixture's cues the publisher marks: in music and in pauses.
const BREAKS: usize = 3;
/// What the ad server is asked at each cue: the macros are filled by the viewer.
const AD_TAG: &str =
    "/vast?show=harbour&episode=[CONTENTID]&break=[CONTENTPLAYHEAD]&max=30&ads=1&download=[GROVE_DOWNLOAD]";

/// What a person asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the files, report.html and timeline.svg in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Where the episode, the creatives and the campaigns are (`make fixtures` makes them)
    #[arg(long, value_name = "DIR", env = "GROVE_FIXTURES", default_value = ".fixtures")]
    fixtures: PathBuf,
}

/// The part of fixtures.json that the demo reads.
#[derive(Deserialize)]
struct Fixtures {
    episode: Episode,
}

#[derive(Deserialize)]
struct Episode {
    cues: Vec<Cue>,
}

#[derive(Deserialize)]
struct Cue {
    /// Seconds of content time.
    time: f64,
    /// `pause` or `music`.
    kind: String,
}

/// The folders of one run.
struct Folders {
    web: PathBuf,
    results: PathBuf,
    state: PathBuf,
    logs: PathBuf,
}

impl Folders {
    fn create(root: &Path) -> anyhow::Result<Self> {
        let folder = |name: &str| -> anyhow::Result<PathBuf> {
            let path = root.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
            Ok(path)
        };
        Ok(Self {
            web: folder("web")?,
            results: folder("results")?,
            state: folder("state")?,
            logs: folder("logs")?,
        })
    }
}

/// Runs the demo; says each step on standard error, and the result on standard output.
pub(crate) async fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let fixtures = read_fixtures(&args.fixtures)?;
    let scratch = tempfile::tempdir().context("making a folder for the demo")?;
    let root = args.keep.clone().unwrap_or_else(|| scratch.path().to_owned());
    let folders = Folders::create(&root)?;

    let story = Story::begin(&args.fixtures, &fixtures, &folders).await?;
    let viewers = story.watch().await?;
    let summary = story.end(&viewers).await?;

    if args.keep.is_some() {
        let mut rows = Vec::new();
        for viewer in &viewers {
            rows.push(picture_row(viewer, &folders).await?);
        }
        let picture = timeline::svg(&rows);
        write(&root.join("timeline.svg"), &picture)?;
        write(
            &root.join("report.html"),
            &summary::html(&summary, &viewers, &picture),
        )?;
        eprintln!(
            "kept in {}: report.html, timeline.svg, results/, web/, logs/",
            root.display()
        );
    }
    if json {
        crate::output::print_json(&summary);
    } else {
        print!("{}", summary::text(&summary, &viewers));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn read_fixtures(folder: &Path) -> anyhow::Result<Fixtures> {
    let path = folder.join("fixtures.json");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "reading the demo's media in {} (hint: `make fixtures` makes them)",
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))
}

/// The servers of the demo, once they run and the episode is published.
struct Story<'a> {
    folders: &'a Folders,
    web: WebServer,
    tracker: Process,
    ads: Process,
}

impl<'a> Story<'a> {
    async fn begin(media: &Path, fixtures: &Fixtures, folders: &'a Folders) -> anyhow::Result<Self> {
        let episode = folders.web.join(EPISODE);
        std::fs::copy(media.join(EPISODE), &episode)
            .with_context(|| format!("copying {EPISODE} to the web server's folder"))?;

        eprintln!("1. A publisher's plain web server, a tracker, and an ad server with three campaigns.");
        let web = WebServer::start(folders.web.clone(), &format!("/{EPISODE}")).await?;
        let mut tracker = Process::start(
            "tracker",
            &folders.logs,
            args(["tracker", "--http", "127.0.0.1:0", "--json"]),
        )?;
        let tracker_url = format!(
            "http://{}/announce",
            address(&tracker.wait_for("listening").await?)?
        );
        let mut ad_args = args(["adserver", "serve", "--http", "127.0.0.1:0", "--json", "--db"]);
        ad_args.push(folders.state.join("adserver.db").into_os_string());
        ad_args.push("--load".into());
        ad_args.push(media.join("ads.toml").into_os_string());
        let mut ads = Process::start("adserver", &folders.logs, ad_args)?;
        let ads_url = format!("http://{}", address(&ads.wait_for("listening").await?)?);

        eprintln!("2. The publisher marks {BREAKS} cue points and publishes.");
        let mut publish = args(["publish", "--json", "--allow-private"]);
        publish.push(episode.into_os_string());
        publish.extend(["--origin".into(), web.url(EPISODE).into()]);
        publish.extend(["--tracker".into(), tracker_url.into()]);
        publish.extend(["--ads".into(), format!("{ads_url}{AD_TAG}").into()]);
        for cue in chosen(&fixtures.episode.cues) {
            publish.extend(["--cue".into(), format!("{:.3}", cue.time).into()]);
        }
        publish.extend([
            "--key".into(),
            folders.state.join("publisher.key").into_os_string(),
        ]);
        publish.extend(["--data".into(), folders.state.join("publisher").into_os_string()]);
        child::run("publish", &folders.logs, publish).await?;
        web.reset();
        Ok(Self {
            folders,
            web,
            tracker,
            ads,
        })
    }

    /// One viewer alone who leaves, three at once who stay, one more.
    async fn watch(&self) -> anyhow::Result<Vec<Finished>> {
        let source = self.web.url(&format!("{EPISODE}.torrent"));
        let bars = MultiProgress::new();
        // A line that is written between bars must not be drawn over by them.
        let say = |line: &str| bars.suspend(|| eprintln!("{line}"));
        let start = |name: &str, seed_for| {
            let Folders {
                state, results, logs, ..
            } = self.folders;
            Viewer::start(
                name,
                &Terms {
                    source: &source,
                    state,
                    results,
                    logs,
                    seed_for,
                },
                &bars,
            )
        };

        say("3. One viewer alone, then gone. Each line: 8 Mbit/s down, 4 Mbit/s up.");
        let alone = start("viewer-1", None)?.complete().await?.gone().await?;

        say("4. Three viewers at once, who stay.");
        let three = ["viewer-2", "viewer-3", "viewer-4"]
            .map(|name| start(name, Some("10:00")).map(Viewer::complete))
            .into_iter()
            .collect::<anyhow::Result<Vec<_>>>()?;
        let staying = futures_util::future::try_join_all(three).await?;

        say("5. One more viewer.");
        let last = start("viewer-5", None)?.complete().await?.gone().await?;

        let mut all = vec![alone];
        for viewer in staying {
            all.push(viewer.leave().await?);
        }
        all.push(last);
        Ok(all)
    }

    /// Ends the servers and adds everything up.
    async fn end(self, viewers: &[Finished]) -> anyhow::Result<Summary> {
        let report = report(self.folders).await?;
        self.ads.stop().await?;
        self.tracker.stop().await?;
        Ok(Summary::new(viewers, self.web.sent(), report))
    }
}

fn args<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.into_iter().map(OsString::from).collect()
}

/// The address out of a server's `listening` event.
fn address(event: &Value) -> anyhow::Result<&str> {
    event["http"]
        .as_str()
        .with_context(|| format!("the server did not say its address: {event}"))
}

/// Cues in pauses and in music by turns, with room between them.
fn chosen(cues: &[Cue]) -> Vec<&Cue> {
    const APART: f64 = 30.0;
    let mut chosen: Vec<&Cue> = Vec::new();
    for cue in cues {
        if chosen
            .last()
            .is_none_or(|last| last.kind != cue.kind && cue.time - last.time >= APART)
        {
            chosen.push(cue);
        }
    }
    chosen.truncate(BREAKS);
    chosen
}

/// What the ad server counted, by its own report.
async fn report(folders: &Folders) -> anyhow::Result<Vec<CreativeRow>> {
    let mut words = args(["adserver", "report", "--json", "--db"]);
    words.push(folders.state.join("adserver.db").into_os_string());
    let report = child::run("adserver-report", &folders.logs, words).await?;
    let report: Report = serde_json::from_value(report).context("reading the ad server's report")?;
    Ok(report
        .rows
        .into_iter()
        .map(|row| CreativeRow {
            creative: row.title,
            advertiser: row.advertiser,
            delivered: row.counts.impressions.delivered,
            played: row.counts.impressions.played,
        })
        .collect())
}

/// One viewer's row of the picture: the result is decoded again, so that the waveform is of what was really written.
async fn picture_row(viewer: &Finished, folders: &Folders) -> anyhow::Result<Timeline> {
    let complete = &viewer.complete;
    let peaks = peaks(&complete.path, &folders.state.join("waveforms"))
        .await
        .with_context(|| format!("drawing {}", complete.path.display()))?;
    let sources: Vec<PieceSource> = complete
        .sources
        .iter()
        .flat_map(|(count, source)| std::iter::repeat_n(PieceSource::named(source), *count as usize))
        .collect();
    Ok(Timeline {
        title: format!("{} · {} ads", viewer.name, complete.ads.len()),
        duration: peaks.seconds,
        peaks: peaks.values,
        ads: complete
            .ads
            .iter()
            .map(|ad| AdMark {
                start: ad.start,
                duration: ad.duration,
                label: ad.advertiser.clone().unwrap_or_else(|| ad.ad_id.clone()),
            })
            .collect(),
        cues: complete.ads.iter().map(|ad| ad.start).collect(),
        pieces: sources,
    })
}

/// Peaks of a file in equal slices.
struct Peaks {
    seconds: f64,
    values: Vec<f32>,
}

async fn peaks(path: &Path, cache: &Path) -> anyhow::Result<Peaks> {
    const PROFILE: Profile = Profile {
        sample_rate: 8_000,
        channels: 1,
    };
    const SLICES: usize = 600;
    let cache = Cache::open(cache, Cache::DEFAULT_MAX_BYTES)?;
    let original = cache.import(path, FetchLimits::default())?;
    let conditioner = Conditioner::new(ad_splicer::this_program().context("finding the grove program")?);
    let decoded = conditioner.condition(&cache, &original, PROFILE).await?;
    let samples = decoded.pcm(1.0);
    let samples = samples.samples()?;
    let slice = samples.len().div_ceil(SLICES).max(1);
    let values = samples
        .chunks(slice)
        .map(|chunk| chunk.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs())))
        .collect();
    Ok(Peaks {
        seconds: decoded.duration().as_secs_f64(),
        values,
    })
}
