//! `grove get`: downloads through the swarm, splices freshly decided ads in, and may go on serving.
//!
//! A torrent's life here: resolve the source, judge its cue sheet, join the swarm, and at once decide ads while content arrives; write the
//! rendition; report; seed as long as was asked.
//!
//! Not for: how ads are made ready (`breaks`), or how content and ads are joined (`rendition`).

mod folder;
pub(crate) mod plain;
mod report;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ad_splicer::content::Content;
use anyhow::Context as _;
use engine::metainfo::{File, Metainfo};
use engine::node::{AddOptions, Node, State, Torrent};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::beacons;
use crate::breaks::{self, Swarm};
use crate::cli::GetArgs;
use crate::context::Context;
use crate::decided::{Decided, Wish, decide};
use crate::files::{
    Kept as _, can_write, is_on_one_disk, is_same_file, make_executable, place_file, tell_new_folder,
};
use crate::joining::{swarm_options, trust_typed};
use crate::media_type;
use crate::output::{
    ExitStatus, Explain, Outcome, Progress, bad_input, interrupted, long_interrupted, print_json,
    report_error, status_of,
};
use crate::pausing::{Pausing, Running};
use crate::placing::Placing;
use crate::quiet::{Quiet, RelayTold};
use crate::rendition::{self, Arriving, Destination, Made};
use crate::results::{Results, check_name};
use crate::selection::select;
use crate::source::{self, Resolved};
use crate::units::human_bytes;
use plain::plain;
pub(crate) use report::of_ways;
use report::{ProgressLine, Report, state_name, tell, tell_quiet};

/// Gets every source in turn. What is whole is served beside the next, if that was asked for; a source that is wrong keeps none of the others.
pub(crate) async fn run(args: &GetArgs, json: bool) -> Outcome {
    let context = Context {
        no_peers: args.swarm.no_peers,
        ..Context::new(&args.net)?
    };
    let mut pausing = Pausing::listen(json);
    let to_stdout = args.output.as_deref() == Some(Path::new("-"));
    if to_stdout && (json || args.sources.len() > 1) {
        return Err(bad_input(
            "with -o - the file itself goes to stdout, so there is room for one source and no --json",
        ));
    }
    if args.sources.len() > 1 && args.output.as_deref().is_some_and(|path| !is_folder(path)) {
        return Err(bad_input("several sources cannot all be written to one file"))
            .hint(|| "give a folder with -o".into());
    }
    if let Some(output) = args.output.as_deref().filter(|output| output.is_file())
        && let Some(source) = args
            .sources
            .iter()
            .find(|source| is_same_file(Path::new(source), output))
    {
        return Err(bad_input(format!(
            "{source} would be overwritten by what it leads to"
        )))
        .hint(|| "name another file with -o".into());
    }
    trust_typed(&context, &args.swarm).await?;
    let node = Arc::new(crate::starting::start(&context, json && !to_stdout).await?);
    let creatives = (!args.swarm.no_peers).then(|| Swarm::new(&context, Arc::clone(&node)));
    // What earlier commands could not report goes now, beside the download.
    let draining = beacons::Draining::begin(&context);
    let job = Job {
        context: &context,
        node: &node,
        creatives: creatives.clone(),
        args,
        json,
        unused: tokio::sync::Mutex::default(),
        running: Running::default(),
    };
    let outcome = tokio::select! {
        outcome = job.all() => outcome,
        never = pausing.obey_all(&job.running) => match never {},
    };
    // However it ended: others are told that we leave, and nothing of the creatives stays.
    if let Some(creatives) = &creatives {
        creatives.end().await;
    }
    node.stop().await;
    draining.end().await;
    outcome
}

struct Job<'a> {
    context: &'a Context,
    node: &'a Node,
    /// Where published creatives are fetched from.
    creatives: Option<Arc<Swarm>>,
    args: &'a GetArgs,
    json: bool,
    /// What was made ready and is not delivered.
    unused: tokio::sync::Mutex<Option<Decided>>,
    running: Running,
}

/// How the fetching of one source ended.
enum Fetched {
    /// All of it is here and in its place.
    Whole(Box<Whole>),
    Not(ExitStatus),
}

struct Whole {
    torrent: Torrent,
    report: Report,
    started: Instant,
}

impl Job<'_> {
    async fn all(&self) -> Outcome {
        let sources = &self.args.sources;
        let (whole, mut came) = mpsc::channel(sources.len().max(1));
        let fetching = async move {
            let mut worst = ExitStatus::Done;
            for text in sources {
                let status = match self.one(text).await {
                    Ok(Fetched::Whole(fetched)) if self.seeds() => {
                        // Its other end is there until this one goes.
                        let _ = whole.send(fetched).await;
                        continue;
                    }
                    Ok(Fetched::Whole(fetched)) => self.serve(*fetched).await,
                    Ok(Fetched::Not(status)) => status,
                    Err(error) if sources.len() > 1 && status_of(&error) != ExitStatus::Interrupted => {
                        report_error(&error, self.json)
                    }
                    Err(error) => return Err(error),
                };
                worst = worst.max(status);
                if status == ExitStatus::Interrupted {
                    break;
                }
            }
            Ok(worst)
        };
        let serving = async {
            let mut worst = ExitStatus::Done;
            let (mut served, mut more) = (FuturesUnordered::new(), true);
            while more || !served.is_empty() {
                tokio::select! {
                    next = came.recv(), if more => match next {
                        Some(fetched) => served.push(self.serve(*fetched)),
                        None => more = false,
                    },
                    Some(status) = served.next() => worst = worst.max(status),
                }
            }
            worst
        };
        let (fetched, served) = tokio::join!(fetching, serving);
        Ok(fetched?.max(served))
    }

    async fn one(&self, text: &str) -> anyhow::Result<Fetched> {
        let episode = self.args.episode.episode.as_deref();
        let resolved = source::resolve(
            self.context,
            Some(self.node),
            &self.args.swarm.peer,
            text,
            episode,
        );
        let resolved = tokio::select! {
            resolved = resolved => resolved?,
            () = long_interrupted() => return Ok(Fetched::Not(ExitStatus::Interrupted)),
        };
        match resolved {
            Resolved::Torrent(found) => self.torrent(&found).await,
            Resolved::Plain(_) if self.args.swarm.no_origin && self.args.swarm.no_peers => Err(bad_input(
                "with --no-origin and --no-peers there is nobody left to ask",
            )),
            Resolved::Plain(bare) => plain(self.context, self.args, &self.running, &bare, self.json)
                .await
                .map(Fetched::Not),
        }
    }

    /// The download ends before it is whole: its ads are not used. Going on with it later decides again.
    async fn leave(&self) {
        if let Some(unused) = self.unused.lock().await.take() {
            unused.leave().await;
        }
    }

    async fn torrent(&self, found: &source::Torrent) -> anyhow::Result<Fetched> {
        let started = Instant::now();
        let metainfo = &found.metainfo;
        if self.running.has(metainfo.info_hash_v2()) {
            eprintln!("note: {} is served already", metainfo.name());
            return Ok(Fetched::Not(ExitStatus::Done));
        }
        let files = select(metainfo, &self.args.file)?;
        match metainfo.links() {
            0 => {}
            1 => eprintln!("note: a symbolic link of {} is not made", metainfo.name()),
            links => eprintln!("note: {links} symbolic links of {} are not made", metainfo.name()),
        }
        let info_hash = metainfo.info_hash_v2().to_string();
        let results = Results::of(self.context, &info_hash);
        let destination = tokio::task::block_in_place(|| self.destination(&results, metainfo));
        if let Destination::File(path) = &destination {
            tokio::task::block_in_place(|| self.may_write(&results, metainfo, files.as_deref(), path))?;
            tell_place(path, metainfo.is_single_file().then(|| metainfo.name()));
            if metainfo.is_single_file() {
                can_write(path)?;
            }
        }
        let options = AddOptions {
            files: files.clone(),
            recheck: self.args.recheck,
            ..swarm_options(self.context, &self.args.swarm, found).await?
        };
        let folder = if metainfo.is_single_file() {
            None
        } else {
            Some(folder::Folder::new(metainfo, files, &destination)?)
        };
        let added = self.node.add(metainfo.clone(), options).await;
        let torrent = added.map_err(crate::starting::explain)?;
        self.running.begin(&torrent);
        let progress = Progress::bytes(
            metainfo.name(),
            torrent.stats().total_bytes,
            self.json || matches!(destination, Destination::Stdout),
        );

        let placing = Placing::default();
        let ended = {
            let mut work = pin!(async {
                if let Some(folder) = &folder {
                    return folder.deliver(&torrent, &placing).await;
                }
                let made = self.deliver(found, &torrent, &destination, &placing).await?;
                let is_program = metainfo.files().first().is_some_and(File::is_executable);
                if let (true, Destination::File(path)) = (is_program, &destination) {
                    tokio::task::block_in_place(|| (&torrent, 0).touch(&mut || make_executable(path)));
                }
                Ok(made)
            });
            tokio::select! {
                made = &mut work => made.map(Some),
                never = self.show(&torrent, &progress, &info_hash) => match never {},
                () = interrupted() => if placing.stop() {
                    Ok(None)
                } else {
                    work.await.map(Some)
                },
            }
        };
        progress.finish();
        let made = match ended {
            Ok(Some(made)) => made,
            Ok(None) => {
                self.leave().await;
                self.running.end(&torrent);
                let stats = torrent.stop().await;
                eprintln!(
                    "stopped with {} of {} here; the same command goes on from there",
                    human_bytes(stats.have_bytes),
                    human_bytes(stats.total_bytes)
                );
                return Ok(Fetched::Not(ExitStatus::Interrupted));
            }
            Err(error) => {
                self.leave().await;
                self.running.end(&torrent);
                let problems = torrent.stop().await.problems;
                for problem in problems.iter().rev().take(3) {
                    tracing::warn!("{problem}");
                }
                return Err(error)
                    .hint(|| "what was fetched is kept: the same command goes on from there".into());
            }
        };
        let path = match &destination {
            Destination::File(path) => Some(path.clone()),
            Destination::Stdout => None,
        };
        let mut report = Report::complete(&torrent.stats(), made, path, info_hash, started);
        match &folder {
            Some(folder) => results.wrote(folder.paths()),
            None if report.ads.is_empty() => results.wrote(report.path.as_deref()),
            None => {
                if let Some(path) = &report.path {
                    tokio::task::block_in_place(|| results.made(path));
                }
            }
        }
        report.files = folder.map(folder::Folder::written);
        self.tell(&report);
        if found.secret.is_some() && torrent.holds_all() {
            report.noted = Some(noted(&torrent).await);
        }
        Ok(Fetched::Whole(Box::new(Whole {
            torrent,
            report,
            started,
        })))
    }

    /// Serves what is whole for as long as was asked, and tells of its end.
    async fn serve(&self, whole: Whole) -> ExitStatus {
        let Whole {
            torrent,
            mut report,
            started,
        } = whole;
        let (status, ()) = tokio::join!(
            self.seed(&torrent, report.content_bytes),
            beacons::drain(self.context)
        );
        self.running.end(&torrent);
        let stats = torrent.stop().await;
        if self.seeds() {
            // The ad server may have come back meanwhile.
            beacons::drain(self.context).await;
        }
        report.event = "done";
        report.uploaded = stats.uploaded;
        report.peers = stats.peers_seen;
        report.ways = stats.ways;
        report.seconds = started.elapsed().as_secs_f64();
        if self.json {
            print_json(&report);
        }
        status
    }

    /// Where the result goes. A folder that was made for it by an earlier run of the same command is that place again, and no folder
    /// of a person's to put another one into.
    fn destination(&self, results: &Results, metainfo: &Metainfo) -> Destination {
        let output = self.args.output.as_deref();
        match output.filter(|root| !metainfo.is_single_file() && results.are_in(root, metainfo)) {
            Some(root) => Destination::File(root.to_owned()),
            None => destination(output, metainfo.name()),
        }
    }

    /// Whether the result may go there. A place that a person named is written to whatever is there.
    fn may_write(
        &self,
        results: &Results,
        metainfo: &Metainfo,
        files: Option<&[usize]>,
        to: &Path,
    ) -> anyhow::Result<()> {
        let named = self.args.output.as_deref() == Some(to);
        if !named {
            check_name(metainfo.name())?;
        }
        if !metainfo.is_single_file() {
            let all = metainfo.files().iter().enumerate();
            let wanted = all.filter(|(place, _)| files.is_none_or(|files| files.contains(place)));
            return results.may_fill(to, metainfo, wanted.map(|(_, file)| file));
        }
        if named {
            return Ok(());
        }
        let ads = !self.args.swarm.no_ads && metainfo.cue_sheet().is_some();
        results.may_be(to, metainfo, ads)
    }

    /// Decides ads while content arrives, then writes the rendition once everything in it is verified.
    async fn deliver(
        &self,
        found: &source::Torrent,
        torrent: &Torrent,
        destination: &Destination,
        placing: &Placing,
    ) -> anyhow::Result<Made> {
        let (mut prepared, decided) = decide(Wish {
            context: self.context,
            swarm: &self.args.swarm,
            found,
            torrent,
            content: Arc::new(Arriving::new(torrent)),
            creatives: self.creatives.clone(),
            freeze: self.args.freeze,
        })
        .await?;
        prepared.ad_chapters = self.args.ad_chapters;
        let mut unused = self.unused.lock().await;
        let decided = unused.insert(decided);
        let made = match destination {
            Destination::File(path) if prepared.ready.is_empty() => {
                without_ads(torrent, prepared, path, placing).await?
            }
            _ => {
                let content: Arc<dyn Content> = Arc::new(Arriving::new(torrent));
                let (to, placing) = (destination.clone(), placing.clone());
                let writing =
                    tokio::task::spawn_blocking(move || rendition::write(&content, prepared, &to, &placing));
                written(torrent, writing).await?
            }
        };
        decided.failed(&made.failures).await;
        decided.delivered(&made.delivered).await;
        // What is not in the rendition was told to be an error.
        *unused = None;
        Ok(made)
    }

    async fn show(
        &self,
        torrent: &Torrent,
        progress: &Progress,
        info_hash: &str,
    ) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(Duration::from_millis(if self.json { 1000 } else { 250 }));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut paused = false;
        let (mut quiet, mut came) = (Quiet::new(), Instant::now());
        let mut relay = RelayTold::default();
        loop {
            tick.tick().await;
            let stats = torrent.stats();
            if self.json {
                print_json(&ProgressLine {
                    event: "progress",
                    info_hash: Some(info_hash),
                    have_bytes: stats.have_bytes,
                    kept_bytes: None,
                    content_bytes: stats.total_bytes,
                    from_origin: stats.from_origin,
                    from_peers: stats.from_peers,
                    wasted: stats.wasted,
                    uploaded: stats.uploaded,
                    peers: stats.peers,
                    ways: stats.ways,
                    down_rate: stats.down_rate,
                    relay_refuses: stats.relay_refuses.as_deref(),
                    state: state_name(&stats.state),
                });
            }
            if let Some(why) = relay.now(stats.relay_refuses.as_deref(), stats.peers) {
                eprintln!("note: {why}");
            }
            if let (State::Paused(why), false) = (&stats.state, paused) {
                eprintln!("paused: {why}");
            }
            paused = matches!(stats.state, State::Paused(_));
            if stats.state != State::Downloading || stats.down_rate > 0 || stats.is_complete() {
                came = Instant::now();
            }
            if quiet.is_told(came.elapsed()) {
                tell_quiet(torrent.metainfo().name(), &stats);
            }
            let message = format!(
                "{}/s · origin {} · peers {} ({})",
                human_bytes(stats.down_rate),
                human_bytes(stats.from_origin),
                human_bytes(stats.from_peers),
                stats.peers
            );
            progress.set(stats.have_bytes, stats.total_bytes, &message);
        }
    }

    fn tell(&self, report: &Report) {
        if self.json {
            print_json(report);
        } else {
            tell(report);
        }
    }

    /// Whether it goes on serving when the file is complete.
    fn seeds(&self) -> bool {
        self.args.seed_for.is_some() || self.args.seed_ratio.is_some()
    }

    /// Serves for as long as was asked.
    async fn seed(&self, torrent: &Torrent, length: u64) -> ExitStatus {
        if !self.seeds() {
            return ExitStatus::Done;
        }
        tokio::select! {
            () = long_enough(self.args.seed_for) => ExitStatus::Done,
            () = enough(torrent, length, self.args.seed_ratio) => ExitStatus::Done,
            () = interrupted() => ExitStatus::Interrupted,
            status = served_no_more(torrent) => status,
        }
    }
}

/// Says why what is here can be served no more, as when somebody changed it on the disk; never ready as long as it can.
async fn served_no_more(torrent: &Torrent) -> ExitStatus {
    let mut stats = torrent.subscribe();
    let failed = stats.wait_for(|stats| matches!(stats.state, State::Failed(_)));
    match failed.await.map(|stats| stats.state.clone()) {
        Ok(State::Failed(why)) => {
            eprintln!("note: nothing more is served: {why}");
            ExitStatus::Done
        }
        // It was stopped.
        _ => std::future::pending().await,
    }
}

/// Ready after so long; never without a limit.
pub(crate) async fn long_enough(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// What has arrived at peers may wait to be read there, as with `--down`, and would be lost with the connection: so long it is waited for.
const LINGER: Duration = Duration::from_secs(10);

/// Ready once so many times this length has arrived at peers, and those who are connected hold everything, or have had ten seconds for it;
/// never without a limit.
pub(crate) async fn enough(torrent: &Torrent, length: u64, ratio: Option<f64>) {
    let Some(ratio) = ratio else {
        return std::future::pending().await;
    };
    let mut stats = torrent.subscribe();
    // An error means that the torrent is gone, and then there is nothing left to wait for.
    let _ = stats
        .wait_for(|stats| {
            matches!(stats.state, State::Failed(_)) || stats.arrived as f64 >= ratio * length as f64
        })
        .await;
    let held = stats.wait_for(|stats| stats.neighbours.iter().all(|neighbour| neighbour.complete));
    let _ = tokio::time::timeout(LINGER, held).await;
}

/// The content as it is, at this place: another name for what is kept, or else a copy that is written as it comes.
async fn without_ads(
    torrent: &Torrent,
    prepared: breaks::Prepared,
    to: &Path,
    placing: &Placing,
) -> anyhow::Result<Made> {
    let (place, placing) = (to.to_owned(), placing.clone());
    if is_on_one_disk(torrent.content_path(), to) {
        let bytes = torrent.completed().await?.total_bytes;
        let torrent = torrent.clone();
        let placing = tokio::task::spawn_blocking(move || place_file(&(&torrent, 0), &place, &placing));
        placing.await.context("writing the result")??;
        return Ok(Made::plain(bytes, prepared));
    }
    let content = Arriving::new(torrent);
    let writing = tokio::task::spawn_blocking(move || rendition::copy(&content, prepared, &place, &placing));
    written(torrent, writing).await
}

/// What a writer made, once the torrent is complete as well. What keeps it from writing is an error at once.
async fn written(torrent: &Torrent, mut writing: JoinHandle<anyhow::Result<Made>>) -> anyhow::Result<Made> {
    tokio::select! {
        // A download that cannot be completed ends both, as its readers fail: its own error is the one to tell.
        biased;
        completed = torrent.completed() => {
            completed?;
            writing.await.context("writing the result")?
        }
        made = &mut writing => {
            let made = made.context("writing the result")?;
            if made.is_ok() || matches!(torrent.stats().state, State::Failed(_)) {
                torrent.completed().await?;
            }
            made
        }
    }
}

/// Waits a moment for the sender to note that all has arrived.
async fn noted(torrent: &Torrent) -> bool {
    let mut stats = torrent.subscribe();
    let noted = stats.wait_for(|stats| stats.noted > 0);
    let noted = tokio::time::timeout(Duration::from_secs(10), noted)
        .await
        .is_ok_and(|noted| noted.is_ok());
    if !noted {
        eprintln!("note: the sender is not there to hear that all has arrived");
    }
    noted
}

/// Says what may surprise about where a result goes, and a file of this name.
fn tell_place(path: &Path, file: Option<&str>) {
    tell_new_folder(path);
    if let Some(name) = file {
        media_type::tell_misnamed(path, media_type::of_name(name));
    }
}

fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn destination(output: Option<&Path>, name: &str) -> Destination {
    match output {
        None => Destination::File(PathBuf::from(name)),
        Some(path) if path == Path::new("-") => Destination::Stdout,
        Some(path) if is_folder(path) => Destination::File(path.join(name)),
        Some(path) => Destination::File(path.to_owned()),
    }
}
