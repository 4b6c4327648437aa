//! The command line as data: what may be written, not what it does. One file per command does it.
//!
//! A command that does not exist yet is not here, so that the help tells the truth.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ad_splicer::cues::{BreakLoudness, Position};
use ad_splicer::time::ContentTime;
use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use engine::cue_sheet::Budget;
use engine::magnet::{MagnetError, PeerAddress};
use url::Url;

use crate::units::{parse_budget, parse_rate, parse_ratio, parse_span, parse_validity};

const EXAMPLES: &str = "\
Examples:
  grove publish ep1.mp3 --origin https://example.org/shows/ --tracker https://example.org/announce --cue 10:00
  grove inspect https://example.org/shows/ep1.mp3
  grove get https://example.org/shows/ep1.mp3 -o ep1.mp3
  grove play https://example.org/feed.xml --episode latest
  grove seed ep1.mp3.torrent --from .
  grove node
  grove send holiday/ --tracker https://example.org/announce
  grove ads resolve https://ads.example.org/vast

A SOURCE is a .torrent file or URL, a magnet link, a media URL (its .torrent is looked for beside it), or a feed with --episode.";

/// Verified podcasts from viewer to viewer, with ads decided when they are played.
#[derive(Debug, Parser)]
#[command(name = "grove", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// One JSON object (or one a line while it streams) on stdout, and nothing else there
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more (repeat for still more); RUST_LOG is heard too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands that exist.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The ad server: campaigns, VAST, beacons, reports (the same as `ad-server-mock`)
    Adserver(Box<ad_server_mock::cli::Args>),
    /// Make a .torrent for a file on your web server
    Publish(PublishArgs),
    /// Show a source's metainfo and cue sheet, and check all of it
    Inspect(InspectArgs),
    /// Download through the swarm, with freshly decided ads spliced in
    Get(GetArgs),
    /// Play while it downloads, with freshly decided ads
    Play(PlayArgs),
    /// Give a file or folder to somebody by a secret link, and stay until it has arrived
    Send(SendArgs),
    /// Check files that are here, and serve them until stopped
    Seed(SeedArgs),
    /// Stay: let any player or podcast app on this machine play through the swarm, and give others what is here
    Node(NodeArgs),
    /// Forget what the data folder keeps of a source
    Remove(RemoveArgs),
    /// Splice creatives into a local file, without any network
    Splice(SpliceArgs),
    /// Look at ad responses as the client does
    Ads(AdsArgs),
    /// List the marks in a file, and which of them are cue points
    Cues(CuesArgs),
    /// Run a tracker, where peers find each other
    Tracker(TrackerArgs),
    /// The whole story on this machine: publish, five viewers, ads, reports
    Demo(crate::demo::Args),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// What every command that opens a socket takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct NetArgs {
    /// Address to listen on and to speak from (repeat for IPv4 and IPv6); port 0 lets the system choose
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Folder for state: keys, partial downloads, decisions and beacons
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Accept private, link-local and loopback addresses that come out of a .torrent, a tracker or an ad response
    #[arg(long)]
    pub(crate) allow_private: bool,
    /// Upload at most this many bytes per second (k, M, G, KiB, MiB …)
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) up: Option<u64>,
    /// Download at most this many bytes per second
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) down: Option<u64>,
    /// Join the DHT through this node (repeat for more; default: the public BitTorrent DHT)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) dht: Vec<String>,
    /// Find peers through trackers, links and other peers alone: no DHT, no local network, no port asked of the router
    #[arg(long, env = "GROVE_NO_DISCOVERY", value_parser = clap::builder::FalseyValueParser::new(), action = ArgAction::SetTrue)]
    pub(crate) no_discovery: bool,
}

/// A peer that a person names. Unlike in a link, an IPv6 address may have a zone, which only means something on this machine.
fn parse_peer(text: &str) -> Result<PeerAddress, String> {
    match text.parse() {
        Ok(SocketAddr::V6(address)) if address.scope_id() != 0 && address.port() != 0 => Ok(PeerAddress {
            host: format!("{}%{}", address.ip(), address.scope_id()),
            port: address.port(),
        }),
        _ => text.parse().map_err(|error: MagnetError| error.to_string()),
    }
}

/// A place to write to; what leads to our stdout means the same as `-`.
fn output_parser() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(crate::files::or_stdout)
}

/// Which item of a feed is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct EpisodeArgs {
    /// When the source is a feed: the episode's GUID, `latest`, or its number (1 is the first in the feed)
    #[arg(long, value_name = "GUID|latest|N")]
    pub(crate) episode: Option<String>,
}

/// `grove publish`
#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    /// The files to publish
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where the file is (or will be) served: its URL, or its folder's URL ending in `/`
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Url,
    /// A tracker's announce URL
    #[arg(long, value_name = "URL")]
    pub(crate) tracker: Vec<Url>,
    /// A cue point: `TIME[+REPLACE][,max=SEC][,ads=N][,loudness=LUFS]`, where TIME is SS, MM:SS, HH:MM:SS, start, end or n% (repeat for more, in any order)
    #[arg(long, value_name = "CUE")]
    pub(crate) cue: Vec<String>,
    /// A file whose marks become cue points (repeat for more): VMAP, labels, chapters, HLS, SCTE-35, as `grove cues` lists them;
    /// those without ads ask the tag of --ads
    #[arg(long, value_name = "FILE")]
    pub(crate) cues: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) marks: MarkArgs,
    #[command(flatten)]
    pub(crate) snap: SnapArgs,
    /// The ad tag (a VAST URL) that is asked at each cue
    #[arg(long, value_name = "URL")]
    pub(crate) ads: Option<String>,
    /// A creative at a cue, with no ad server: TIME=FILE or TIME=URL
    #[arg(long, value_name = "TIME=CREATIVE")]
    pub(crate) ad: Vec<OsString>,
    /// How loud ads are to be where their cue point does not say: LUFS, `as-is` (reads that were mixed with the programme), or
    /// `content` [default: content, as loud as what is around the cue]
    #[arg(long, value_name = "LUFS", allow_hyphen_values = true)]
    pub(crate) loudness: Option<BreakLoudness>,
    /// The publisher's key; it is made on first use
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// A podcast feed: a copy with the .torrent beside the enclosure is written
    #[arg(long, value_name = "FEED.xml")]
    pub(crate) feed: Option<PathBuf>,
    /// Folder for what is written (default: beside each file)
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// What all viewers together may ask of the origin in a second: bytes, and requests if they are to be fewer than one for
    /// each 64 KiB, as in `2M` or `2M,20`; it is signed in the cue sheet
    #[arg(long, value_name = "BYTES[,REQUESTS]", value_parser = parse_budget)]
    pub(crate) origin_budget: Option<Budget>,
    /// How long the cue sheet is valid
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = parse_validity)]
    pub(crate) valid_for: Duration,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// How marks are understood.
#[derive(Args, Clone, Debug)]
pub(crate) struct MarkArgs {
    /// Labels and chapters whose title matches are cue points (a regular expression; case does not matter) [default: ^(ad|break)\b]
    #[arg(long = "match", value_name = "REGEX")]
    pub(crate) pattern: Option<String>,
    /// The first timestamp of the stream that SCTE-35 messages belong to, in 90 kHz ticks (33 bits)
    #[arg(long, value_name = "TICKS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 33))]
    pub(crate) first_pts: u64,
}

/// `grove cues`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  grove cues labels.txt                     an audio editor's label track
  grove cues chapters.json --match '^werbung'
  grove cues episode.mp3                    the chapters in it
  grove cues stream.m3u8 --json
  grove cues episode.mp3 --suggest=3        three places for breaks, in pauses

A label or chapter is a cue point only when its title says so; a region label replaces what it spans, all others insert.")]
pub(crate) struct CuesArgs {
    /// VMAP, labels, JSON chapters, an HLS media playlist, SCTE-35 messages (one a line, or in an MPEG transport
    /// stream), or media with chapters: ID3, MP4, Matroska, or the tags of FLAC, Opus and Vorbis
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) marks: MarkArgs,
    /// Propose breaks in natural pauses of this audio file: so many, or one for each ten minutes
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, value_parser = clap::value_parser!(u16).range(1..=512))]
    #[allow(
        clippy::option_option,
        reason = "how clap has an option whose value may be left out"
    )]
    pub(crate) suggest: Option<Option<u16>>,
}

/// `grove inspect`
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// A .torrent file or URL, a magnet link, a media URL or a feed
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Then join the swarm without fetching anything, and show who is there until stopped
    #[arg(long)]
    pub(crate) live: bool,
    /// Stop looking at the swarm after so long
    #[arg(long, value_name = "TIME", value_parser = parse_span, requires = "live")]
    pub(crate) watch: Option<Duration>,
    /// A peer to dial (repeat for more)
    #[arg(long, value_name = "HOST:PORT", requires = "live", value_parser = parse_peer)]
    pub(crate) peer: Vec<PeerAddress>,
    #[command(flatten)]
    pub(crate) episode: EpisodeArgs,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// How much the origin may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OriginPolicy {
    /// Draw from the origin only what no peer has
    Thrifty,
    /// Use the origin whenever it makes the download faster
    Fast,
}

/// How a download may go about it: common to `get`, `play` and `node`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SwarmArgs {
    /// Take and give the master without ads
    #[arg(long)]
    pub(crate) no_ads: bool,
    /// Let ad servers know this device again, by a random number that is made for it (default: nothing identifies it)
    #[arg(long, conflicts_with = "no_ads")]
    pub(crate) allow_ad_id: bool,
    /// Never ask the origin (the web server) for content
    #[arg(long)]
    pub(crate) no_origin: bool,
    /// Never speak with peers
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// A peer to dial (repeat for more)
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_peer)]
    pub(crate) peer: Vec<PeerAddress>,
    /// A further web seed
    #[arg(long, value_name = "URL")]
    pub(crate) web_seed: Vec<Url>,
    /// How much the origin may be used
    #[arg(long, value_enum, default_value = "thrifty")]
    pub(crate) origin_policy: OriginPolicy,
}

/// `grove get`
#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// What to download (repeat for more)
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,
    /// Where to write: a file, a folder, or `-` for stdout (default: the file's name, here)
    #[arg(short, long, value_name = "PATH", value_parser = output_parser())]
    pub(crate) output: Option<PathBuf>,
    /// Of several files fetch only these: a name, a pattern such as `*.mp3` or `extras/**`, or a number of `grove inspect`
    /// (repeat for more)
    #[arg(long, value_name = "NAME|PATTERN|N")]
    pub(crate) file: Vec<String>,
    #[command(flatten)]
    pub(crate) episode: EpisodeArgs,
    #[command(flatten)]
    pub(crate) swarm: SwarmArgs,
    /// Keep serving for so long after the file is complete
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub(crate) seed_for: Option<Duration>,
    /// Keep serving until so many times the file's size was uploaded
    #[arg(long, value_name = "N", value_parser = parse_ratio)]
    pub(crate) seed_ratio: Option<f64>,
    /// Hash what is here already once more before it counts
    #[arg(long)]
    pub(crate) recheck: bool,
    /// Decide ads for at most so long; breaks that are not ready then stay empty
    #[arg(long, value_name = "TIME", default_value = "8", value_parser = crate::units::parse_time)]
    pub(crate) freeze: Duration,
    /// Name the ads in the list of chapters, when the file has one in ID3 or MP4
    #[arg(long)]
    pub(crate) ad_chapters: bool,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// Where the sound goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlaySink {
    /// The machine's sound output, and a window
    Auto,
    /// Nowhere, at the speed of listening; for tests, as it counts as played
    Null,
}

/// `grove play`
#[derive(Args, Debug)]
pub(crate) struct PlayArgs {
    /// What to play
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    #[command(flatten)]
    pub(crate) episode: EpisodeArgs,
    #[command(flatten)]
    pub(crate) swarm: SwarmArgs,
    /// Where to begin, in the content's own time, whatever ads stand before it: SS, MM:SS, HH:MM:SS, start, end or n%
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = crate::units::parse_position)]
    pub(crate) start: Position,
    /// Begin where it was left the last time
    #[arg(long, conflicts_with = "start")]
    pub(crate) resume: bool,
    /// Where sound and pictures go
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) sink: PlaySink,
    /// Decide ads for at most so long; breaks that are not ready then stay empty
    #[arg(long, value_name = "TIME", default_value = "8", value_parser = crate::units::parse_time)]
    pub(crate) freeze: Duration,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

impl PlayArgs {
    /// The time at which to begin, where one is named.
    pub(crate) fn start_time(&self) -> Duration {
        match self.start {
            Position::Time(time) => time.since(ContentTime::ZERO),
            _ => Duration::ZERO,
        }
    }
}

/// How long a sender stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until a receiver has all of it.
    Delivered,
    /// For so long, whoever comes.
    Time(Duration),
}

fn parse_until(text: &str) -> Result<Until, String> {
    match text {
        "delivered" => Ok(Until::Delivered),
        _ => parse_span(text)
            .map(Until::Time)
            .map_err(|why| format!("{why}, or `delivered`")),
    }
}

/// `grove send`
#[derive(Args, Debug)]
pub(crate) struct SendArgs {
    /// The file or folder
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Stay until one receiver has all of it, or for so long (exit status 1 if nobody has all of it then)
    #[arg(long, value_name = "delivered|TIME", default_value = "delivered", value_parser = parse_until)]
    pub(crate) until: Until,
    /// A tracker where both sides find each other (repeat, or separate with commas in GROVE_TRACKER)
    #[arg(long, value_name = "URL", env = "GROVE_TRACKER", value_delimiter = ',')]
    pub(crate) tracker: Vec<Url>,
    /// A further address of this machine for the link, such as one that a router forwards (repeat for more)
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) address: Vec<PeerAddress>,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// `grove seed`
#[derive(Args, Debug)]
pub(crate) struct SeedArgs {
    /// What to serve (repeat for more)
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,
    /// Folder of the content (default: beside a local .torrent, else here)
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// A peer to dial (repeat for more)
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_peer)]
    pub(crate) peer: Vec<PeerAddress>,
    /// Stop after so long
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub(crate) seed_for: Option<Duration>,
    /// Stop once so many times the content has been sent, of every source
    #[arg(long, value_name = "N", value_parser = parse_ratio)]
    pub(crate) seed_ratio: Option<f64>,
    #[command(flatten)]
    pub(crate) episode: EpisodeArgs,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// `grove node`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  grove node
  ffplay http://127.0.0.1:4768/https://example.org/ep1.mp3
  http://127.0.0.1:4768/feed/https://example.org/feed.xml     the feed to subscribe to in a podcast app

A player gets what `grove get` would write, any range of it. The first request for an episode decides its ads, and all further ones
from the same address get the same bytes, until nobody has asked for --keep.")]
pub(crate) struct NodeArgs {
    /// What to fetch whole and give to others (repeat for more); players can open anything else too
    #[arg(value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,
    #[command(flatten)]
    pub(crate) episode: EpisodeArgs,
    /// Port, or address, for players and podcast apps; port 0 takes a free one. Others than loopback are open to whoever reaches them
    #[arg(long, value_name = "[IP:]PORT", default_value = "127.0.0.1:4768", value_parser = parse_http)]
    pub(crate) http: SocketAddr,
    /// Decide ads for at most so long before the first byte; breaks that are not ready then stay empty
    #[arg(long, value_name = "TIME", default_value = "2", value_parser = crate::units::parse_time)]
    pub(crate) freeze: Duration,
    /// How long an episode keeps its ads after it was last asked for
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = parse_span)]
    pub(crate) keep: Duration,
    /// How long an answer that has begun waits for what does not come, before it breaks off
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = parse_span)]
    pub(crate) wait: Duration,
    #[command(flatten)]
    pub(crate) swarm: SwarmArgs,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// `grove remove`
#[derive(Args, Debug)]
pub(crate) struct RemoveArgs {
    /// What to forget: a source, or a v2 info hash (repeat for more)
    #[arg(required = true, value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,
    #[command(flatten)]
    pub(crate) episode: EpisodeArgs,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

/// `grove splice`
#[derive(Args, Debug)]
pub(crate) struct SpliceArgs {
    /// The file to splice into
    #[arg(value_name = "CONTENT")]
    pub(crate) content: PathBuf,
    /// A creative and its place: TIME=FILE (repeat for more)
    #[arg(long, required = true, value_name = "TIME=CREATIVE")]
    pub(crate) ad: Vec<OsString>,
    /// Write only so much content on both sides of each break, with about half a second of silence between breaks
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "10", value_parser = crate::units::parse_time)]
    pub(crate) preview: Option<Duration>,
    /// Name the ads in the list of chapters, when the file has one in ID3 or MP4
    #[arg(long)]
    pub(crate) ad_chapters: bool,
    #[command(flatten)]
    pub(crate) snap: SnapArgs,
    /// Folder for state: creatives that were made ready, for the next time
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where to write; `-` for stdout
    #[arg(short, long, value_name = "OUT", value_parser = output_parser())]
    pub(crate) output: PathBuf,
}

/// Whether cue points may be moved.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct SnapArgs {
    /// Move cue points that insert into the nearest pause, in video to the nearest key frame, when one is at most so far away, and say how far each was moved
    #[arg(long, value_name = "SECONDS", value_parser = parse_snap)]
    pub(crate) snap: Option<Duration>,
}

/// A tolerance that is still a pause near the cue.
fn parse_snap(text: &str) -> Result<Duration, String> {
    let tolerance = crate::units::parse_time(text)?;
    if tolerance > Duration::from_secs(60) {
        return Err("a cue point is moved by at most 60 s".into());
    }
    Ok(tolerance)
}

const ADS_EXAMPLES: &str = "\
Examples:
  grove ads resolve response.xml
  grove ads resolve 'https://ads.example.org/vast?break=[BREAKPOSITION]' --at 10:00 --json
  grove ads resolve schedule.vmap.xml --duration 45:00 --media audio

Nothing is played and nothing is reported. The exit status is 2 when the document is no VAST or VMAP, 1 when it cannot be fetched.";

/// `grove ads`
#[derive(Args, Debug)]
pub(crate) struct AdsArgs {
    #[command(subcommand)]
    pub(crate) command: AdsCommand,
}

impl AdsArgs {
    /// What every command that opens a socket takes.
    pub(crate) fn net(&self) -> &NetArgs {
        match &self.command {
            AdsCommand::Resolve(args) => &args.net,
        }
    }
}

/// What there is to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum AdsCommand {
    /// Resolve VAST or VMAP: wrappers, the pod in playing order, media files, what would be reported and when, errors
    Resolve(ResolveArgs),
}

/// What kind of media file suits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AdMedia {
    /// Sound alone when there is any, else picture and sound
    Any,
    /// As for a podcast
    Audio,
    /// As for a video
    Video,
}

/// `grove ads resolve`
#[derive(Args, Debug)]
#[command(after_help = ADS_EXAMPLES)]
pub(crate) struct ResolveArgs {
    /// A VAST or VMAP document: a file, - for standard input, or a URL, whose macros are filled
    #[arg(value_name = "URL|FILE")]
    pub(crate) source: String,
    /// The content time of the break, for macros; end and n% are of --duration
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = crate::units::parse_position)]
    pub(crate) at: Position,
    /// How long the content is, for `end` and percentages in VMAP
    #[arg(long, value_name = "TIME", value_parser = crate::units::parse_time)]
    pub(crate) duration: Option<Duration>,
    /// What the media file is for
    #[arg(long, value_enum, default_value = "any")]
    pub(crate) media: AdMedia,
    /// The picture's size that suits
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1280x720", value_parser = crate::units::parse_dimensions)]
    pub(crate) size: (u32, u32),
    /// The sound's bitrate that suits, in kbit/s
    #[arg(long, value_name = "KBPS", default_value_t = 192)]
    pub(crate) bitrate: u32,
    #[command(flatten)]
    pub(crate) net: NetArgs,
}

fn parse_ports(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let range = text
        .split_once('-')
        .and_then(|(from, to)| Some(from.trim().parse::<u16>().ok()?..=to.trim().parse::<u16>().ok()?));
    range
        .filter(|range| *range.start() > 0 && !range.is_empty())
        .ok_or_else(|| format!("`{text}` is no range of ports: write FROM-TO, as in 40000-40063"))
}

/// Where to listen for HTTP: a port alone is one of this machine.
fn parse_http(text: &str) -> Result<SocketAddr, String> {
    let here = text.strip_prefix("localhost:").unwrap_or(text);
    if let Ok(port) = here.parse::<u16>() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_| {
        format!("`{text}` is no address: write a port, as in 4768, or IP:PORT, as in 127.0.0.1:4768")
    })
}

/// `grove tracker`
#[derive(Args, Debug)]
pub(crate) struct TrackerArgs {
    /// Port, or address, to listen on; port 0 takes a free one
    #[arg(long, value_name = "[IP:]PORT", default_value = "127.0.0.1:6969", value_parser = parse_http)]
    pub(crate) http: SocketAddr,
    /// Carry what two ends of `grove send` say, when they cannot reach each other; it stays encrypted between them
    #[arg(long)]
    pub(crate) relay: bool,
    /// Carry at most this many bytes per second, all transfers together
    #[arg(long, value_name = "RATE", default_value = "10M", value_parser = parse_rate, requires = "relay")]
    pub(crate) relay_rate: u64,
    /// Transfers at a time
    #[arg(long, value_name = "N", default_value = "64", requires = "relay")]
    pub(crate) relay_sessions: usize,
    /// Bytes of one transfer, both ways together
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = crate::units::parse_rate, requires = "relay")]
    pub(crate) relay_bytes: u64,
    /// A transfer of which nothing is heard for so long ends
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = parse_span, requires = "relay")]
    pub(crate) relay_idle: Duration,
    /// UDP ports for transfers, one each: FROM-TO (default: any)
    #[arg(long, value_name = "FROM-TO", value_parser = parse_ports, requires = "relay")]
    pub(crate) relay_ports: Option<std::ops::RangeInclusive<u16>>,
    /// Answer UDP announces (BEP 15) at this address too (repeat for IPv4 and IPv6); port 0 takes a free one
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) udp: Vec<SocketAddr>,
    /// Let peers behind routers meet over QUIC on this UDP address (repeat for IPv4 and IPv6); port 0 takes a free one
    #[arg(long, visible_alias = "quic", value_name = "IP:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Folder for state, as other commands have it: a tracker keeps all that it knows in memory, and nothing there
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// As for other commands: a tracker dials nobody, so that there is nothing to accept
    #[arg(long)]
    pub(crate) allow_private: bool,
    /// As --relay-rate, if that is more: what is carried goes out as fast as it comes in
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) up: Option<u64>,
    /// The same
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub(crate) down: Option<u64>,
    /// How often peers shall announce again
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = parse_span)]
    pub(crate) interval: Duration,
}

/// `grove completions`
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn a_port_is_an_address_of_this_machine() {
        for (text, address) in [
            ("4791", "127.0.0.1:4791"),
            ("localhost:4791", "127.0.0.1:4791"),
            ("0", "127.0.0.1:0"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(
                parse_http(text),
                Ok(address.parse().expect("an address")),
                "{text}"
            );
        }
        for wrong in ["", "localhost", "127.0.0.1", "70000", "host.example:80", ":80"] {
            let why = parse_http(wrong).expect_err(wrong);
            assert!(why.contains("a port, as in 4768"), "{why}");
        }
    }

    #[test]
    fn a_peer_is_a_name_or_an_address_with_a_port() {
        for text in [
            "friend.example.org:4711",
            "192.0.2.1:4711",
            "[2001:db8::1]:4711",
            "[fe80::1%2]:4711",
        ] {
            let peer = parse_peer(text).expect(text);
            assert_eq!((peer.to_string().as_str(), peer.port), (text, 4711));
        }
        for wrong in [
            "",
            "friend.example.org",
            ":4711",
            "friend:0",
            "192.0.2.1:70000",
            "a b:1",
        ] {
            let why = parse_peer(wrong).expect_err(wrong);
            assert!(why.contains("host:port"), "{why}");
        }
    }

    #[test]
    fn every_command_with_a_socket_takes_the_same_options() {
        let mut all = Cli::command();
        all.build();
        for path in [
            &["publish"][..],
            &["inspect"],
            &["get"],
            &["play"],
            &["send"],
            &["seed"],
            &["node"],
            &["tracker"],
            &["ads", "resolve"],
        ] {
            let command = path
                .iter()
                .try_fold(&all, |command, name| command.find_subcommand(name))
                .unwrap_or_else(|| panic!("there is no {path:?}"));
            for option in ["listen", "data", "allow-private", "up", "down"] {
                let has_it = command.get_arguments().any(|arg| arg.get_long() == Some(option));
                assert!(has_it, "{path:?} does not take --{option}");
            }
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
