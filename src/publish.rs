//! `grove publish`: a `.torrent` with a signed cue sheet beside the file, and a feed that names it.
//!
//! Order matters: everything is worked out and compared with the origin first; files are written last, so that a refusal leaves nothing behind.
//!
//! Not for: uploading. It ends by saying what goes where.

mod ads;

use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ad_splicer::content::FileContent;
use ad_splicer::frame_index::FrameIndex;
use anyhow::Context as _;
use base64::Engine as _;
use engine::cue_sheet::{CueSheet, PublicKey, SecretKey};
use engine::magnet::Magnet;
use engine::metainfo::{BuildError, Builder, Metainfo, is_program};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::beacons;
use crate::cli::PublishArgs;
use crate::context::{Context, with_suffix};
use crate::feed::{self, FeedError};
use crate::files::{check_regular, folder_of, is_same_file, write_whole};
use crate::origin_check::{Compared, compare, gives_ranges};
use crate::output::{ExitStatus, Explain, Outcome, Progress, bad_input, print_json, print_line};
use crate::snap::Moved;
use crate::units::{human_bytes, human_time};

/// What was published, for `--json`.
#[derive(Debug, Serialize)]
struct Published {
    event: &'static str,
    file: PathBuf,
    url: String,
    torrent: PathBuf,
    torrent_url: String,
    info_hash: String,
    info_hash_v1: Option<String>,
    bytes: u64,
    piece_length: u64,
    pieces: u64,
    publisher: Option<String>,
    cues: Vec<PublishedCue>,
    snapped: Vec<Moved>,
    /// `same`, or `absent` when the origin could not be compared.
    origin: &'static str,
    origin_reason: Option<String>,
    magnet: String,
    feed: Option<PathBuf>,
    upload: Vec<Upload>,
    check: String,
}

#[derive(Debug, Serialize)]
struct PublishedCue {
    id: String,
    position: String,
    /// Seconds after which it comes again.
    repeat_after: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Upload {
    file: PathBuf,
    to: String,
}

/// Publishes every file in turn.
pub(crate) async fn run(args: &PublishArgs, json: bool) -> Outcome {
    let context = Context::new(&args.net)?;
    let folder = args.origin.path().ends_with('/');
    if args.files.len() > 1 && !folder {
        return Err(bad_input("several files cannot all be at one URL"))
            .hint(|| "give the folder's URL, ending in /".into());
    }
    let published = args.tracker.iter().map(|tracker| ("--tracker", tracker));
    for (option, url) in published.chain([("--origin", &args.origin)]) {
        without_secrets(option, url)?;
    }
    context.gate.trust_url(&args.origin);
    for tracker in &args.tracker {
        context.gate.trust_url(tracker);
    }
    let mut feed = match &args.feed {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .or_bad_input(|| format!("cannot read the feed {}", path.display()))?,
        ),
        None => None,
    };
    let feed_out = args
        .feed
        .as_deref()
        .map(|path| feed_destination(path, args.out.as_deref()));
    let mut own = Vec::new();
    for file in &args.files {
        let places = Places::of(args, file)?;
        if !own.iter().any(|(other, _)| other == file) {
            own.extend(places.own(file));
        }
    }
    // One would be written over the other.
    uploads(own.iter())?;
    let mut all = Vec::new();
    for file in &args.files {
        all.push(publish(&context, args, file, feed.as_mut(), json).await?);
    }
    if let (Some(text), Some(path)) = (&feed, &feed_out) {
        write_whole(path, text.as_bytes())?;
        for published in &mut all {
            published.feed = Some(path.clone());
        }
    }
    for published in &all {
        if json {
            print_json(published);
        } else {
            print_text(published);
        }
    }
    beacons::drain(&context).await;
    Ok(ExitStatus::Done)
}

/// What no path of a URL holds by RFC 3986, and browsers let pass. libtorrent encodes such a URL once more as a whole, `%20` too, and finds nothing.
const OUTSIDE_OF_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Where a file and its `.torrent` are, and will be.
struct Places {
    name: String,
    url: Url,
    torrent: PathBuf,
    torrent_url: Url,
}

impl Places {
    fn of(args: &PublishArgs, file: &Path) -> anyhow::Result<Self> {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name
            .ok_or_else(|| bad_input(format!("{} has no name that can be published", file.display())))?
            .to_owned();
        let mut url = args.origin.clone();
        if args.origin.path().ends_with('/') {
            url.path_segments_mut()
                .map_err(|()| bad_input("the origin is no http or https URL"))?
                .pop_if_empty()
                .push(&name);
        }
        let path = utf8_percent_encode(url.path(), OUTSIDE_OF_PATHS).to_string();
        url.set_path(&path);
        anyhow::ensure!(
            matches!(url.scheme(), "http" | "https"),
            bad_input(format!("the origin {url} is no http or https URL"))
        );
        let torrent = format!("{name}.torrent");
        let torrent = match &args.out {
            Some(dir) => dir.join(torrent),
            None => file.with_file_name(torrent),
        };
        Ok(Self {
            torrent_url: with_suffix(&url, ".torrent"),
            torrent,
            name,
            url,
        })
    }

    /// What is to be uploaded where, whatever ads there are.
    fn own(&self, file: &Path) -> [(PathBuf, Url); 2] {
        [
            (file.to_owned(), self.url.clone()),
            (self.torrent.clone(), self.torrent_url.clone()),
        ]
    }
}

async fn publish(
    context: &Context,
    args: &PublishArgs,
    file: &Path,
    feed: Option<&mut String>,
    json: bool,
) -> anyhow::Result<Published> {
    let places = Places::of(args, file)?;
    let own = places.own(file);
    let Places {
        name,
        url,
        torrent,
        torrent_url,
    } = places;
    let last = url.path_segments().and_then(|mut parts| parts.next_back());
    if last.is_some_and(|last| last != name && !last.contains('%')) {
        eprintln!("note: viewers will fetch {name} from {url}; a folder's URL ends in /");
    }

    if file.is_dir() {
        return Err(bad_input(format!(
            "cannot publish {}: it is a folder",
            file.display()
        )))
        .hint(|| {
            "name its files, with the folder's URL (ending in /) as --origin; `grove send` gives folders"
                .into()
        });
    }
    check_regular(file, "publish")?;
    // Hashing takes longer than finding that an argument is wrong.
    let cues = ads::cues(context, args, file, &url).await?;
    let mut upload = uploads(own.iter().chain(&cues.uploads))?;
    let (metainfo, digest) = hash(file, &name, &url, &args.tracker, json).await?;
    let (metainfo, publisher) = if cues.points.is_empty() && args.origin_budget.is_none() {
        if let Some(key) = &args.key {
            eprintln!(
                "note: nothing is signed with {}: there is no cue point, and no --origin-budget",
                key.display()
            );
        }
        (metainfo, None)
    } else {
        let facts = if cues.points.is_empty() {
            // A budget alone needs nothing worked out, and no format that ads can be put into.
            bt_bencode::Value::Dict(std::collections::BTreeMap::new())
        } else {
            ads::survey(file, &cues.points).await?
        };
        let key = match &args.key {
            Some(path) => SecretKey::load_or_create(path).map_err(|error| bad_input(error.to_string()))?,
            None => SecretKey::load_or_create(&context.publisher_key())?,
        };
        let issued = crate::trust::now()?;
        let sheet = CueSheet {
            vmap: cues.vmap()?,
            facts,
            budget: args.origin_budget,
            issued,
            expires: issued.saturating_add(args.valid_for.as_secs()),
            publisher: key.public(),
        };
        let signed = sheet
            .sign(&key, &metainfo.info_hash_v2())
            .context("cannot sign the cue sheet")?;
        (metainfo.with_cue_sheet(Some(signed.raw()))?, Some(key.public()))
    };

    let compared = compare(&context.gate, &url, file)
        .await
        .hint(|| "viewers would be given wrong bytes: upload this very file, and switch off whatever changes it on its way".into())?;

    if compared == Compared::Same && !gives_ranges(&context.gate, &url).await {
        eprintln!(
            "note: the server of {url} gives whole files only: nobody can seek, and no budget is kept, in what comes from it"
        );
    }

    if let Some(dir) = &args.out {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    if let Some(text) = feed {
        let integrity = format!(
            "sha256-{}",
            base64::engine::general_purpose::STANDARD.encode(digest)
        );
        let addition = feed::Addition {
            media_url: url.as_str(),
            torrent_url: torrent_url.as_str(),
            media_type: crate::media_type::of_name(&name),
            length: metainfo.length(),
            integrity: &integrity,
        };
        *text = match feed::with_torrent(text, &addition) {
            Err(error @ FeedError::NoEnclosure { .. }) => Err(error)
                .or_bad_input(|| "cannot add the episode to the feed".into())
                .hint(|| "give --origin the address that the episode has in the feed, or add the episode to the feed first".into())?,
            added => added.or_bad_input(|| "cannot add the episode to the feed".into())?,
        };
    }
    write_whole(&torrent, metainfo.to_bytes())?;

    if compared == Compared::Same {
        upload.remove(0);
    }
    Ok(Published {
        event: "published",
        file: file.to_owned(),
        check: format!("grove inspect {}", for_shell(url.as_str())),
        magnet: magnet(&metainfo, &torrent_url, publisher),
        torrent,
        torrent_url: torrent_url.to_string(),
        info_hash: metainfo.info_hash_v2().to_string(),
        info_hash_v1: metainfo.info_hash_v1().map(hex::encode),
        bytes: metainfo.length(),
        piece_length: metainfo.piece_length(),
        pieces: metainfo.length().div_ceil(metainfo.piece_length()),
        publisher: publisher.map(|key| key.to_string()),
        cues: cues
            .points
            .iter()
            .map(|cue| PublishedCue {
                id: cue.id.clone(),
                position: cue.position.to_string(),
                repeat_after: cue.repeat_after.map(|every| every.as_secs_f64()),
            })
            .collect(),
        snapped: cues.snapped,
        origin: if compared == Compared::Same {
            "same"
        } else {
            "absent"
        },
        origin_reason: match compared {
            Compared::Same => None,
            Compared::Absent(reason) => Some(reason),
        },
        feed: None,
        upload,
        url: url.to_string(),
    })
}

/// What is to be uploaded where, each once: the same creative may stand at several cue points.
fn uploads<'a>(wanted: impl Iterator<Item = &'a (PathBuf, Url)>) -> anyhow::Result<Vec<Upload>> {
    let mut uploads: Vec<Upload> = Vec::new();
    for (file, to) in wanted {
        let to = to.to_string();
        match uploads.iter().find(|upload| upload.to == to) {
            Some(other) if other.file != *file => {
                return Err(bad_input(format!(
                    "{} and {} would both be uploaded to {to}: give one of them another name",
                    other.file.display(),
                    file.display()
                )));
            }
            Some(_) => {}
            None => uploads.push(Upload {
                file: file.clone(),
                to,
            }),
        }
    }
    Ok(uploads)
}

/// Hashes the file once for everything: pieces, tree, and the feed's integrity value. Where frames have to be counted that is done before.
async fn hash(
    file: &Path,
    name: &str,
    url: &Url,
    trackers: &[Url],
    json: bool,
) -> anyhow::Result<(Metainfo, [u8; 32])> {
    let mut builder = Builder::new(name)
        .web_seed(url.as_str())
        .created_by(concat!("grove ", env!("CARGO_PKG_VERSION")));
    for tracker in trackers {
        builder = builder.tracker(tracker.as_str());
    }
    let path = file.to_owned();
    let label = name.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let builder = builder.frame_index(frame_index(&path)?);
        let opened = std::fs::File::open(&path).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        let (file, metadata) = opened.or_bad_input(|| format!("cannot read {}", path.display()))?;
        let length = metadata.len();
        let progress = Progress::bytes(&label, length, json);
        let mut tee = Tee {
            inner: file,
            digest: Sha256::new(),
        };
        let builder = builder.program(is_program(&metadata));
        let built = builder.hash(&mut tee, length, |done| progress.set(done, length, "hashing"));
        progress.finish();
        let metainfo = match built {
            Err(error @ (BuildError::Empty(_) | BuildError::Name(_))) => {
                Err(error).or_bad_input(|| format!("cannot publish {}", path.display()))?
            }
            other => other?,
        };
        Ok((metainfo, tee.digest.finalize().into()))
    });
    work.await.context("hashing the file")?
}

/// The index that lets viewers count frames without reading all of them, where the content needs one.
fn frame_index(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let reading = || format!("cannot read {}", path.display());
    let content = FileContent::open(path).or_bad_input(reading)?;
    let index = FrameIndex::of(&content).or_bad_input(reading)?;
    Ok(index.map(|index| index.to_bytes()))
}

/// Reads through, and digests what passes.
struct Tee {
    inner: std::fs::File,
    digest: Sha256,
}

impl Read for Tee {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

/// A word of a command line, quoted where a shell would take it apart or put something else in its place.
fn for_shell(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/:,%@+=".contains(c);
    if word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''")).into()
}

/// What is published names these URLs to everybody.
fn without_secrets(option: &str, url: &Url) -> anyhow::Result<()> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(());
    }
    Err(bad_input(format!(
        "the URL of {option} holds a user name or a password, which every viewer would be told"
    )))
    .hint(|| "give the URL that viewers may use".into())
}

fn feed_destination(path: &Path, out: Option<&Path>) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match out {
        // Never over the feed that was read: the person puts the new one in its place.
        Some(dir) if !is_same_file(folder_of(path), dir) => dir.join(path.file_name().unwrap_or_default()),
        _ => path.with_file_name(format!("{stem}.grove.xml")),
    }
}

fn magnet(metainfo: &Metainfo, torrent_url: &Url, publisher: Option<PublicKey>) -> String {
    let magnet = Magnet {
        info_hash: Some(metainfo.info_hash_v2()),
        info_hash_v1: metainfo.info_hash_v1(),
        name: Some(metainfo.name().to_owned()),
        trackers: metainfo.trackers().iter().flatten().cloned().collect(),
        web_seeds: metainfo.web_seeds().to_vec(),
        sources: vec![torrent_url.to_string()],
        publisher,
        ..Magnet::default()
    };
    magnet.to_string()
}

fn print_text(published: &Published) {
    print_line(&format!(
        "{} ({}, {} pieces)",
        published.torrent.display(),
        human_bytes(published.bytes),
        published.pieces
    ));
    print_line(&format!("  info hash  {}", published.info_hash));
    if let Some(publisher) = &published.publisher {
        print_line(&format!("  publisher  {publisher}"));
    }
    for cue in &published.cues {
        let again = cue.repeat_after.map(Duration::from_secs_f64);
        let again = again.map_or_else(String::new, |every| {
            format!(", again every {}", human_time(every))
        });
        print_line(&format!("  cue        {} at {}{again}", cue.id, cue.position));
    }
    match &published.origin_reason {
        None => print_line("  origin     gives exactly this file, asked twice under different names"),
        Some(reason) => print_line(&format!("  origin     not compared: {reason}")),
    }
    print_line(&format!("  link       {}", published.magnet));
    if let Some(feed) = &published.feed {
        print_line(&format!(
            "  feed       {} (put it in the place of the old one)",
            feed.display()
        ));
    }
    print_line("Upload:");
    for upload in &published.upload {
        print_line(&format!("  {} → {}", upload.file.display(), upload.to));
    }
    print_line(&format!("Then check: {}", published.check));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feed_that_was_read_stays_whatever_its_folder_is_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let (feed, other) = (folder.path().join("feed.xml"), folder.path().join("other"));
        std::fs::create_dir(&other).expect("a folder");
        let around = other.join("..");
        for (path, out, expected) in [
            // Tests run in the package's folder.
            (
                Path::new("Cargo.toml"),
                Some(Path::new(".")),
                Path::new("Cargo.grove.xml"),
            ),
            (&feed, Some(&around), &folder.path().join("feed.grove.xml")),
            (&feed, None, &folder.path().join("feed.grove.xml")),
            (&feed, Some(&other), &other.join("feed.xml")),
        ] {
            assert_eq!(feed_destination(path, out), expected);
        }
    }

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        for (word, quoted) in [
            (
                "http://a.example:80/ep%201,2.mp3",
                "http://a.example:80/ep%201,2.mp3",
            ),
            ("http://a.example/e?a=1&b=2", "'http://a.example/e?a=1&b=2'"),
            ("http://a.example/it's", r"'http://a.example/it'\''s'"),
            ("http://a.example/(1)", "'http://a.example/(1)'"),
        ] {
            assert_eq!(for_shell(word), quoted);
        }
    }

    #[test]
    fn nobody_is_told_a_password() {
        for (url, fine) in [
            ("https://cdn.example/", true),
            ("https://me@cdn.example/", false),
            ("https://me:secret@cdn.example/", false),
        ] {
            let said = without_secrets("--origin", &Url::parse(url).expect("a URL"));
            assert_eq!(said.is_ok(), fine, "{url}");
        }
    }
}
