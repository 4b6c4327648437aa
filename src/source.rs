//! What a person named: a `.torrent` file or URL, a magnet link, a media URL, or a feed with an episode; and what it leads to.
//!
//! Invariant: hosts that the person typed are trusted at that port, hosts that come out of a document are not; and which document a cue
//! sheet came from is kept, because it decides whether the sheet counts.
//!
//! Not for: judging the cue sheet, or joining a swarm.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use engine::cue_sheet::PublicKey;
use engine::magnet::{Magnet, PeerAddress};
use engine::metainfo::{Metainfo, MetainfoError};
use engine::node::{AddOptions, Node, Search, Wanted};
use engine::personal::Secret;
use gate::{Forbidden, Gate, StatusCode};
use tokio::sync::watch;
use url::Url;

use crate::asking;
use crate::context::{Context, with_suffix};
use crate::documents::{self, Answer};
use crate::feed;
use crate::files::{check_regular, is_open_pipe};
use crate::output::{ExitStatus, Explain, bad_input, status_of, stopped, with_hint};
use crate::quiet::Quiet;

/// A feed larger than this is no feed that a podcast app would take.
pub(crate) const MAX_FEED: u64 = 32 << 20;
/// Longest wait for metainfo of peers while nothing comes.
const PEERS_TIMEOUT: Duration = Duration::from_secs(60);
/// The same of a personal link, and longest wait for its content: a sender who is restarted is waited for.
pub(crate) const SENDER_TIMEOUT: Duration = Duration::from_secs(300);

/// What there is to do about private addresses in a link.
const PRIVATE_HINT: &str =
    "--allow-private accepts private addresses of a link, and --peer HOST:PORT names a peer yourself";

/// Which document the metainfo came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// A `.torrent` file or URL that the person named.
    Named,
    /// A `.torrent` that a feed which the person named points at.
    Feed,
    /// The content's own host: the `.torrent` beside a media URL.
    ContentHost,
    /// A place that a magnet link points at (`xs`, or beside `ws`).
    Magnet,
}

/// A source with metainfo: it can be verified, and shared.
#[derive(Clone, Debug)]
pub(crate) struct Torrent {
    pub(crate) metainfo: Arc<Metainfo>,
    pub(crate) via: Via,
    /// The key that a link names (`x.pk`).
    pub(crate) link_key: Option<PublicKey>,
    /// Peers that a link names (`x.grove`), as `host:port`.
    pub(crate) peers: Vec<String>,
    /// Further trackers and web seeds, from a link.
    pub(crate) trackers: Vec<String>,
    pub(crate) web_seeds: Vec<String>,
    /// The secret of a personal link.
    pub(crate) secret: Option<Secret>,
    /// A program asked for it over HTTP, and no person named it: its publisher's key is not pinned.
    pub(crate) asked: bool,
}

impl Torrent {
    fn new(metainfo: Metainfo, via: Via) -> Self {
        Torrent {
            metainfo: Arc::new(metainfo),
            via,
            link_key: None,
            peers: Vec::new(),
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            secret: None,
            asked: false,
        }
    }

    /// Metainfo that was kept from before, wherever it came from: it vouches for nobody.
    pub(crate) fn remembered(metainfo: Metainfo) -> Self {
        Self {
            asked: true,
            ..Self::new(metainfo, Via::Magnet)
        }
    }

    /// The engine's options: the peers that were named here and by the link, the link's trackers and secret.
    pub(crate) fn options(&self, named: &[PeerAddress]) -> AddOptions {
        AddOptions {
            peers: named
                .iter()
                .map(ToString::to_string)
                .chain(self.peers.iter().cloned())
                .collect(),
            trackers: self.trackers.clone(),
            secret: self.secret,
            ..AddOptions::default()
        }
    }
}

/// What a source is.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    Torrent(Box<Torrent>),
    /// A media URL without a `.torrent` of use beside it: it is simply fetched, and nothing can be verified.
    Plain(Bare),
}

/// Media that nothing verifies. Shown, it says why.
#[derive(Clone, Debug)]
pub(crate) struct Bare {
    pub(crate) url: Url,
    /// Why the `.torrent` beside it is of no use; `None` when there is none.
    useless: Option<MetainfoError>,
}

impl fmt::Display for Bare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = gate::shown(&self.url);
        match &self.useless {
            None => write!(f, "there is no .torrent beside {url}"),
            Some(why) => write!(f, "the .torrent beside {url} is of no use here: {why}"),
        }
    }
}

/// Finds out what `text` is, fetching what is needed to know; metainfo that no server has comes from peers, through
/// this node or one that is made for it.
pub(crate) async fn resolve(
    context: &Context,
    node: Option<&Node>,
    peers: &[PeerAddress],
    text: &str,
    episode: Option<&str>,
) -> anyhow::Result<Resolved> {
    let gate = &context.gate;
    let text = pasted(text);
    if is_magnet(text) {
        let magnet = parse_magnet(text)?;
        if magnet.secret.is_some() {
            // A personal link is from one person to another, who names it here: what is in it is as good as typed.
            for peer in &magnet.peers {
                gate.trust(&peer.host, peer.port);
            }
            for tracker in magnet.trackers.iter().filter_map(|tr| Url::parse(tr).ok()) {
                gate.trust_url(&tracker);
            }
        }
        return from_magnet(context, node, peers, &magnet).await;
    }
    let url = match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        Ok(url) if url.scheme().len() > 1 && !Path::new(text).exists() => return Err(no_scheme(text, &url)),
        _ => return from_file(context, text, episode).await,
    };
    gate.trust_url(&url);
    if let Some(episode) = episode {
        let xml = asking::fetch(gate, &url, MAX_FEED, context.patience).await?;
        return from_feed(context, (&gate::shown(&url), Some(&url)), &xml, episode).await;
    }
    if url.path().ends_with(".torrent") {
        let metainfo = at(context, &url, context.patience).await?;
        return Ok(torrent(metainfo, Via::Named));
    }
    if is_feed_name(url.path()) {
        return Err(no_episode(&gate::shown(&url)));
    }
    beside(context, &url).await
}

/// The same for what a program asks for over HTTP: no person typed it, so it names no files and no private links, none of its hosts is
/// trusted, and a `.torrent` vouches for a publisher only where it comes from the content's own host.
pub(crate) async fn resolve_asked(context: &Context, node: &Node, text: &str) -> anyhow::Result<Resolved> {
    if is_magnet(text) {
        let magnet = parse_magnet(text)?;
        if magnet.secret.is_some() {
            return Err(bad_input("this is a personal link, which is for one receiver"))
                .hint(|| "`grove get LINK` receives it".into());
        }
        let mut found = from_magnet(context, Some(node), &[], &magnet).await?;
        if let Resolved::Torrent(found) = &mut found {
            // Whoever wrote the link chose its key, and nobody here said that it counts.
            found.link_key = None;
            found.asked = true;
        }
        return Ok(found);
    }
    let url = Url::parse(text).or_bad_input(|| format!("{text} is no URL"))?;
    let mut found = if url.path().ends_with(".torrent") {
        let metainfo = at(context, &url, context.patience).await?;
        let is_host = |seed: &String| Url::parse(seed).is_ok_and(|seed| seed.origin() == url.origin());
        let via = if metainfo.web_seeds().iter().any(is_host) {
            Via::ContentHost
        } else {
            Via::Magnet
        };
        torrent(metainfo, via)
    } else {
        beside(context, &url).await?
    };
    if let Resolved::Torrent(found) = &mut found {
        found.asked = true;
    }
    Ok(found)
}

/// A scheme's case does not matter (RFC 3986 §3.1).
pub(crate) fn is_magnet(text: &str) -> bool {
    text.split_once(':')
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("magnet"))
}

/// What is wrong with a source whoever is asked, and whenever: `Ok` when only asking can tell.
pub(crate) fn check(text: &str) -> anyhow::Result<()> {
    let text = pasted(text);
    if is_magnet(text) {
        return parse_magnet(text).map(drop);
    }
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => {
            if is_feed_name(url.path()) {
                return Err(no_episode(&gate::shown(&url)));
            }
            Ok(())
        }
        Ok(url) if url.scheme().len() > 1 && !Path::new(text).exists() => Err(no_scheme(text, &url)),
        _ => read_file(text).map(drop),
    }
}

fn no_scheme(text: &str, url: &Url) -> anyhow::Error {
    with_hint(
        bad_input(format!(
            "cannot use {text}: {} is not a scheme for a source",
            url.scheme()
        )),
        "a source is a .torrent file, an http or https URL, or a magnet link",
    )
}

fn read_file(text: &str) -> anyhow::Result<Vec<u8>> {
    let path = Path::new(text);
    // What is open already (`/dev/stdin`, `<(…)` of a shell) somebody writes into.
    if !is_open_pipe(path) {
        check_regular(path, "read")?;
    }
    std::fs::read(path)
        .or_bad_input(|| format!("cannot read {text}"))
        .hint(|| "a source is a .torrent file, an http or https URL, or a magnet link".into())
}

async fn from_file(context: &Context, text: &str, episode: Option<&str>) -> anyhow::Result<Resolved> {
    let bytes = read_file(text)?;
    if let Some(episode) = episode {
        return from_feed(context, (text, None), &bytes, episode).await;
    }
    if is_feed_name(text) {
        return Err(no_episode(text));
    }
    // A .torrent is a dictionary in bencoding.
    if bytes.first() != Some(&b'd') && !text.ends_with(".torrent") {
        return Err(bad_input(format!("{text} is no .torrent"))).hint(|| {
            "a source says where the media is: its .torrent file, its http or https URL, or a magnet link"
                .into()
        });
    }
    parse(&bytes, text).map(|metainfo| torrent(metainfo, Via::Named))
}

fn is_feed_name(path: &str) -> bool {
    let extension = Path::new(path).extension().unwrap_or_default();
    ["xml", "rss"]
        .iter()
        .any(|feed| extension.eq_ignore_ascii_case(feed))
}

fn no_episode(text: &str) -> anyhow::Error {
    with_hint(
        bad_input(format!(
            "{text} looks like a feed, and no episode of it was named"
        )),
        "add --episode latest, --episode N or --episode GUID",
    )
}

/// `base` is where the feed came from, which what it names may be relative to.
async fn from_feed(
    context: &Context,
    (name, base): (&str, Option<&Url>),
    bytes: &[u8],
    episode: &str,
) -> anyhow::Result<Resolved> {
    let named = |url: &str| Url::options().base_url(base).parse(url);
    let text = feed::text_of(bytes).ok_or_else(|| {
        bad_input(format!(
            "the feed {name} is neither UTF-8 nor declared ISO-8859-1"
        ))
    })?;
    let items = feed::parse(&text).or_bad_input(|| format!("cannot read the feed {name}"))?;
    let item = feed::choose(&items, episode).or_bad_input(|| format!("in the feed {name}"))?;
    for torrent_url in &item.torrents {
        let Ok(url) = named(torrent_url) else {
            continue;
        };
        match documents::torrent(context, &url, context.patience).await? {
            Answer::Torrent(metainfo) => return Ok(torrent(*metainfo, Via::Feed)),
            Answer::Other(error, bytes) if is_other_kind(&error, &bytes) => {
                let shown = gate::shown(&url);
                eprintln!("note: {shown}, which the feed names, is of no use here: {error}");
            }
            other => return usable(&url, other).map(|metainfo| torrent(metainfo, Via::Feed)),
        }
    }
    let media = item
        .enclosure
        .as_deref()
        .ok_or_else(|| bad_input(format!("episode {episode} of {name} has no enclosure with a URL")))?;
    let media = named(media)
        .or_bad_input(|| format!("episode {episode} of {name} has an enclosure that is no URL"))?;
    let without_fragment = |url: &Url| url.as_str().split('#').next().map(str::to_owned);
    if base.is_some_and(|base| without_fragment(&media) == without_fragment(base)) {
        return Err(bad_input(format!(
            "the enclosure of episode {episode} of {name} is the feed itself"
        )));
    }
    beside(context, &media).await
}

/// The `.torrent` beside a media URL; without one the URL itself. Whether there is one must be known: without it the publisher's server would
/// have to give the whole file, to everybody who asked while it was in trouble.
async fn beside(context: &Context, media: &Url) -> anyhow::Result<Resolved> {
    let url = with_suffix(media, ".torrent");
    let shown = gate::shown(&url);
    match documents::torrent(context, &url, context.patience).await? {
        Answer::Torrent(metainfo) => Ok(torrent(*metainfo, Via::ContentHost)),
        // Many servers answer any name with a page and status 200: that is no torrent, rather than a broken one.
        Answer::Other(error, bytes) if bytes.first() != Some(&b'd') => {
            tracing::info!(url = shown, %error, "what lies beside the media is no .torrent");
            Ok(plain(media, None))
        }
        Answer::Other(error, bytes) if is_other_kind(&error, &bytes) => Ok(plain(media, Some(error))),
        Answer::Other(error, _) => Err(error).or_bad_input(|| format!("{shown} is not a valid .torrent")),
        Answer::None(status) => {
            if status == StatusCode::FORBIDDEN {
                eprintln!(
                    "note: for {shown} the server answered {status}, which is taken to mean that there is none, since many answer so for what they do not have"
                );
            }
            tracing::info!(url = shown, %status, "no .torrent beside the media");
            Ok(plain(media, None))
        }
    }
}

fn plain(media: &Url, useless: Option<MetainfoError>) -> Resolved {
    Resolved::Plain(Bare {
        url: media.clone(),
        useless,
    })
}

/// The key that every torrent with SHA-256 trees has (BEP 52), in bencoding.
const FILE_TREE: &[u8] = b"9:file tree";

/// Whether this is a `.torrent` of a kind that is not used here, as those of version 1: the media beside it is as good as without one. A broken
/// one of our kind is an error, since its publisher meant the media to be verified.
fn is_other_kind(error: &MetainfoError, bytes: &[u8]) -> bool {
    let is_limit = matches!(
        error,
        MetainfoError::V1Only
            | MetainfoError::UnknownVersion(_)
            | MetainfoError::TooManyFiles
            | MetainfoError::TooManyPieces(_)
    );
    let is_dictionary = bytes.first() == Some(&b'd');
    is_limit || is_dictionary && !bytes.windows(FILE_TREE.len()).any(|part| part == FILE_TREE)
}

/// The `.torrent` at this very URL.
async fn at(context: &Context, url: &Url, patience: Duration) -> anyhow::Result<Metainfo> {
    usable(url, documents::torrent(context, url, patience).await?)
}

fn usable(url: &Url, answer: Answer) -> anyhow::Result<Metainfo> {
    match answer {
        Answer::Torrent(metainfo) => Ok(*metainfo),
        Answer::Other(error, _) => invalid(error, &gate::shown(url)),
        Answer::None(status) => Err(asking::none(url, status)),
    }
}

/// What is wrong with a `.torrent` that was named.
fn invalid(error: MetainfoError, name: &str) -> anyhow::Result<Metainfo> {
    let is_v1 = error == MetainfoError::V1Only;
    let refused = Err(error).or_bad_input(|| format!("{name} is not a valid .torrent"));
    if !is_v1 {
        return refused;
    }
    refused.hint(|| {
        "ask for one of version 2 (or hybrid), or name the address of the media itself, which is fetched without it".into()
    })
}

/// A link without the blanks around it that come with pasting; the name of a file as it is.
fn pasted(text: &str) -> &str {
    let link = text.trim();
    let scheme = link.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_link = ["magnet", "http", "https"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    if is_link { link } else { text }
}

fn parse_magnet(text: &str) -> anyhow::Result<Magnet> {
    text.parse()
        .or_bad_input(|| "this magnet link is not valid".into())
}

/// `named` are peers that were named beside the link.
async fn from_magnet(
    context: &Context,
    node: Option<&Node>,
    named: &[PeerAddress],
    magnet: &Magnet,
) -> anyhow::Result<Resolved> {
    let mut places: Vec<Url> = magnet
        .sources
        .iter()
        .filter_map(|xs| Url::parse(xs).ok())
        .collect();
    places.extend(
        magnet
            .web_seeds
            .iter()
            .filter_map(|ws| Url::parse(ws).ok())
            .map(|ws| with_suffix(&ws, ".torrent")),
    );
    // One that is in trouble is not waited for where others may know.
    let is_anybody_named = !magnet.peers.is_empty() || !magnet.trackers.is_empty() || !named.is_empty();
    let others = is_anybody_named && !context.no_peers;
    let patience = match places.len() {
        1 if !others => context.patience,
        _ => Duration::ZERO,
    };
    let mut last = None;
    for place in &places {
        let found = async {
            let metainfo = at(context, place, patience).await?;
            let same = magnet.info_hash.map_or_else(
                || magnet.info_hash_v1.is_some() && magnet.info_hash_v1 == metainfo.info_hash_v1(),
                |wanted| wanted == metainfo.info_hash_v2(),
            );
            anyhow::ensure!(
                same,
                "{} is the .torrent of something else than this magnet link names",
                gate::shown(place)
            );
            Ok(metainfo)
        };
        match found.await {
            Ok(metainfo) => return of_magnet(metainfo, magnet),
            Err(error) => last = Some(error),
        }
    }
    if context.no_peers {
        return match last {
            Some(error) => Err(error)
                .context("cannot get the .torrent that this magnet link stands for, and no peer is asked for it"),
            None => Err(bad_input(
                "this magnet link says no place where its .torrent is (no xs or ws), and with --no-peers no peer is asked for it",
            )),
        }
        .hint(|| "give the .torrent itself, ask for a link with xs=, or leave out --no-peers".into());
    }
    let refused = refused(&context.gate, magnet);
    if let Some(first) = refused.first() {
        let all = refused.len() == magnet.peers.len() + magnet.trackers.len();
        if all && named.is_empty() && !crate::starting::looks_around(context) {
            let error = anyhow::Error::from(first.clone());
            return Err(error.context("no peer and no tracker of this magnet link may be asked"))
                .hint(|| PRIVATE_HINT.into());
        }
        eprintln!("note: not all that this link names may be asked: {first}; {PRIVATE_HINT}");
    }
    let peers = magnet.peers.iter().map(ToString::to_string);
    let peers: Vec<String> = peers.chain(named.iter().map(ToString::to_string)).collect();
    if let Some(info_hash) = magnet.info_hash
        && (!peers.is_empty() || !magnet.trackers.is_empty() || crate::starting::looks_around(context))
    {
        let wanted = Wanted {
            info_hash,
            secret: magnet.secret,
            peers,
            trackers: magnet.trackers.clone(),
            web_seeds: magnet.web_seeds.clone(),
            give_up: if magnet.secret.is_some() {
                SENDER_TIMEOUT
            } else {
                PEERS_TIMEOUT
            },
        };
        let (told, search) = watch::channel(Search::default());
        let waiting = tell_quiet(&search, magnet, wanted.give_up);
        let through = match node {
            Some(node) => Through::Given(node),
            None => Through::Own(crate::starting::start(context, false).await?),
        };
        let found = tokio::select! {
            found = through.node().search(wanted, told) => found.map_err(anyhow::Error::from),
            never = waiting => match never {},
            () = crate::output::interrupted() => Err(stopped("interrupted while looking for peers")),
        };
        let found = match found {
            Ok(metainfo) => of_magnet(metainfo, magnet),
            Err(error) if status_of(&error) == ExitStatus::Interrupted => Err(error),
            Err(error) if magnet.secret.is_some() => Err(error)
                .hint(|| "`grove send` must be running on the other side, with this very link".into()),
            Err(error) if !refused.is_empty() => Err(error).hint(|| PRIVATE_HINT.into()),
            Err(error) => Err(error),
        };
        through.end(found.is_ok()).await;
        return found;
    }
    match last {
        Some(error) => Err(error).context("cannot get the .torrent that this magnet link stands for"),
        None if magnet.info_hash.is_none() => Err(bad_input(
            "this magnet link is of version 1 only (xt=urn:btih:), and what peers send is verified by version 2 (xt=urn:btmh:)",
        ))
        .hint(|| "ask for a link with xt=urn:btmh:, or for the .torrent itself".into()),
        None => Err(bad_input(
            "this magnet link says no place where its .torrent is, and no peer or tracker (no xs, ws, tr or x.grove)",
        ))
        .hint(|| "ask for a link with xs= or tr=, for the .torrent itself, or name a peer with --peer".into()),
    }
}

/// Which node a search goes through: one that the command has, or one of its own.
enum Through<'a> {
    Given(&'a Node),
    Own(Node),
}

impl Through<'_> {
    fn node(&self) -> &Node {
        match self {
            Through::Given(node) => node,
            Through::Own(node) => node,
        }
    }

    /// Takes leave of the trackers that the search told of us, unless a torrent of the same node is to follow.
    async fn end(self, found: bool) {
        match self {
            Through::Own(node) => node.stop().await,
            Through::Given(node) if !found => node.end_searches().await,
            Through::Given(_) => {}
        }
    }
}

/// Private addresses of peers and trackers in a link: whoever wrote it, and no person, named those. (Names are judged once they
/// are resolved.)
fn refused(gate: &Gate, magnet: &Magnet) -> Vec<Forbidden> {
    let peers = magnet.peers.iter().map(|peer| (peer.host.clone(), peer.port));
    let trackers = magnet.trackers.iter().filter_map(|tr| {
        let url = Url::parse(tr).ok()?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some((host, url.port_or_known_default()?))
    });
    let addresses = peers.chain(trackers).filter_map(|(host, port)| {
        let ip = host.parse().ok()?;
        gate.check(SocketAddr::new(ip, port), &host).err()
    });
    addresses
        .filter(|forbidden| forbidden.class.is_private())
        .collect()
}

/// Says from time to time that nobody is there.
async fn tell_quiet(search: &watch::Receiver<Search>, magnet: &Magnet, give_up: Duration) -> Infallible {
    let what = magnet.name.as_deref().map_or_else(
        || "the metainfo of this link".to_owned(),
        |name| format!("{name:?}"),
    );
    let mut quiet = Quiet::new();
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        look.tick().await;
        let Search { progress, trouble } = search.borrow().clone();
        let waited = progress.elapsed();
        if quiet.is_told(waited) {
            let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
            let rest = give_up.saturating_sub(waited).as_secs();
            eprintln!(
                "nobody who has {what} can be reached{trouble}; the search goes on for {rest} s, Ctrl-C ends it"
            );
        }
    }
}

fn of_magnet(metainfo: Metainfo, magnet: &Magnet) -> anyhow::Result<Resolved> {
    check_v1(&metainfo, magnet)?;
    Ok(Resolved::Torrent(Box::new(Torrent {
        metainfo: Arc::new(metainfo),
        via: Via::Magnet,
        link_key: magnet.publisher,
        peers: magnet.peers.iter().map(ToString::to_string).collect(),
        trackers: magnet.trackers.clone(),
        web_seeds: magnet.web_seeds.clone(),
        secret: magnet.secret,
        asked: false,
    })))
}

/// A link may name both info hashes of its torrent: then both must be right, since other clients go by the first of them.
fn check_v1(metainfo: &Metainfo, magnet: &Magnet) -> anyhow::Result<()> {
    let Some(named) = magnet.info_hash_v1.filter(|_| magnet.info_hash.is_some()) else {
        return Ok(());
    };
    match metainfo.info_hash_v1() {
        Some(own) if own == named => Ok(()),
        Some(own) => Err(bad_input(format!(
            "this magnet link names two torrents: urn:btih:{} is not the v1 info hash of the other one, which is {}",
            hex::encode(named),
            hex::encode(own)
        )))
        .hint(|| "ask for the right link: which of the two was meant cannot be told from it".into()),
        None => {
            eprintln!(
                "note: urn:btih:{} of this link cannot be checked, since its torrent has no v1 info hash; it is not used",
                hex::encode(named)
            );
            Ok(())
        }
    }
}

fn parse(bytes: &[u8], name: &str) -> anyhow::Result<Metainfo> {
    Metainfo::parse(bytes).or_else(|error| invalid(error, name))
}

fn torrent(metainfo: Metainfo, via: Via) -> Resolved {
    Resolved::Torrent(Box::new(Torrent::new(metainfo, via)))
}
