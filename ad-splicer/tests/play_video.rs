//! Playing video with ads through GStreamer: its pictures come to a sink of their own, every one of them.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::{Content, FileContent};
use ad_splicer::picture::Picture;
use ad_splicer::play::{
    AdSlot, Growing, Notice, Outcome, Pictures, PlayEvent, Player, Request, Sink, Timeline,
};
use ad_splicer::splice::{self, Ad, Break, Options, Rendition};
use ad_splicer::time::PresentationTime;
use common::{ad, at};

const SOUND: usize = 48_000;

const MP4: &str = "-c:v libx264 -bf 3 -g 25 -sc_threshold 0 -c:a aac -b:a 96k";
const WEBM: &str = "-pix_fmt yuv420p -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -c:a libopus";

/// Six seconds at 25 pictures a second, with B-frames and an IDR picture every second.
fn video(folder: &Path) -> FileContent {
    made(folder, "content.mp4", MP4)
}

/// Six seconds at 25 pictures a second.
fn made(folder: &Path, name: &str, coding: &str) -> FileContent {
    let path = folder.join(name);
    let inputs = ["testsrc2=s=160x90:r=25:d=6", "sine=f=440:r=48000:d=6"];
    let inputs = inputs.iter().flat_map(|input| ["-f", "lavfi", "-i", input]);
    let args: Vec<&str> = ["-v", "error"]
        .into_iter()
        .chain(inputs)
        .chain(coding.split(' '))
        .chain([path.to_str().expect("a name")])
        .collect();
    common::run("ffmpeg", &args, None);
    FileContent::open(&path).expect("the file was made")
}

/// An ad of two seconds at 3.52 s, between key frames, and a card to be seen with it.
fn ad_of(content: &FileContent) -> [Break; 1] {
    let format = splice::probe(content, &Options::default()).expect("it is known");
    let card = Picture::card(format.picture.expect("pictures"), "Acme", Duration::from_secs(2));
    let shown = Ad {
        picture: Some(Arc::new(card.expect("a card"))),
        ..ad(SOUND, 1, 2 * SOUND, 700.0)
    };
    [at(3520, vec![shown])]
}

fn with_an_ad(content: &FileContent) -> Rendition {
    splice::prepare(content, &ad_of(content), &Options::default()).expect("it can be spliced")
}

fn timeline(rendition: &Rendition) -> Timeline {
    let ads = rendition.report().ads.iter();
    Timeline::new(
        ads.map(|ad| AdSlot {
            index: ad.index,
            start: ad.presentation,
            duration: ad.duration,
            progress: Vec::new(),
            skip_after: None,
        })
        .collect(),
    )
}

fn play(start: PresentationTime) -> (Vec<PlayEvent>, Option<Pictures>, usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let content = video(folder.path());
    let rendition = with_an_ad(&content);
    let result = folder.path().join("result.mp4");
    let mut file = std::fs::File::create(&result).expect("a file");
    rendition
        .write_to(&content, &mut file, &Options::default())
        .expect("it can be written");
    let media: Arc<dyn Content> = Arc::new(content);
    let player = Player::start(Request {
        codec: rendition.codec(),
        timeline: timeline(&rendition),
        start,
        duration: Some(rendition.report().duration),
        guessed: None,
        media: Arc::new(Growing::new(media, rendition)),
        sink: Sink::Fast,
        locate: None,
        timed: false,
        read_deadline: Duration::from_secs(10),
    })
    .expect("a player");
    let (events, pictures, _) = listen(&player);
    (events, pictures, common::packets(&result, "v:0").len())
}

/// What a player tells until everything was presented, and where that is.
fn listen(player: &Player) -> (Vec<PlayEvent>, Option<Pictures>, PresentationTime) {
    let mut events = Vec::new();
    loop {
        let notice = player.notices().recv_timeout(Duration::from_secs(60));
        match notice.expect("a player says how it ended") {
            Notice::Presented(presented) => events.push(presented.event),
            Notice::Position { .. } | Notice::Heard(_) => {}
            Notice::Ended {
                outcome,
                pictures,
                at,
            } => {
                assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
                return (events, pictures, at);
            }
        }
    }
}

/// One ad's break from its beginning to its end.
fn is_a_whole_break(events: &[PlayEvent]) -> bool {
    events.len() == 8
        && matches!(
            events,
            [
                PlayEvent::BreakStart { .. },
                ..,
                PlayEvent::Complete(_),
                PlayEvent::BreakEnd { .. }
            ]
        )
}

#[test]
fn every_picture_of_content_and_ads_is_shown() {
    let (events, pictures, all) = play(PresentationTime::ZERO);
    // Six seconds of content, and the card once a second.
    assert_eq!(all, 6 * 25 + 2);
    let expected = Pictures {
        shown: all as u64,
        late: 0,
    };
    assert_eq!(pictures, Some(expected));
    assert!(is_a_whole_break(&events), "{events:?}");
}

#[test]
fn pictures_begin_where_playback_does() {
    let (events, pictures, _) = play(PresentationTime::from_millis(2000));
    let expected = Pictures {
        shown: 4 * 25 + 2,
        late: 0,
    };
    assert_eq!(pictures, Some(expected));
    assert!(is_a_whole_break(&events), "{events:?}");
}

/// What a player reads of content whose ad comes in when it has read the beginning, and what it shows from `start` on.
fn grown(name: &str, coding: &str, start: PresentationTime) -> (Vec<PlayEvent>, Option<Pictures>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let content = made(folder.path(), name, coding);
    let options = Options {
        growing: true,
        ..Options::default()
    };
    let plain = splice::prepare(&content, &[], &options).expect("it can be laid out");
    let with_ad = splice::prepare(&content, &ad_of(&content), &options).expect("it can be spliced");
    let as_file = with_an_ad(&content);
    assert_eq!(with_ad.report().duration, as_file.report().duration);
    let file = folder.path().join(format!("as-file-{name}"));
    let mut out = std::fs::File::create(&file).expect("a file");
    as_file
        .write_to(&content, &mut out, &Options::default())
        .expect("it can be written");

    let codec = with_ad.codec();
    let timeline = timeline(&with_ad);
    let duration = with_ad.report().duration;
    let growing = Arc::new(Growing::new(Arc::new(content), plain));
    let mut view = vec![0; 500];
    growing
        .read_exact_at(0, &mut view, Duration::from_secs(10))
        .expect("its beginning");
    growing.replace(with_ad).expect("in time");
    view.resize(growing.len() as usize, 0);
    growing
        .read_exact_at(500, &mut view[500..], Duration::from_secs(10))
        .expect("the rest");
    let read = folder.path().join(format!("read-{name}"));
    std::fs::write(&read, view).expect("a file");
    for what in [DECODED, COPIED] {
        let (is, due) = (hashes(&read, &what), hashes(&file, &what));
        assert!(is == due && is.len() > 100, "{name}: {what:?} differs");
    }

    let finding = Arc::clone(&growing);
    let player = Player::start(Request {
        codec,
        timeline,
        start,
        duration: Some(duration),
        guessed: None,
        media: growing,
        sink: Sink::Fast,
        locate: Some(Arc::new(move |to| finding.locate(to))),
        timed: true,
        read_deadline: Duration::from_secs(10),
    })
    .expect("a player");
    let (events, pictures, at) = listen(&player);
    assert_eq!(at, PresentationTime::from(duration), "{name}");
    (events, pictures)
}

/// Pictures as they are decoded, and packets of sound as they are.
const DECODED: [&str; 4] = ["-map", "0:v", "-fps_mode", "passthrough"];
const COPIED: [&str; 4] = ["-map", "0:a", "-c", "copy"];

/// Hashes of what ffmpeg makes of a file.
fn hashes(path: &Path, what: &[&str]) -> Vec<String> {
    let path = path.to_str().expect("a name");
    let args = [&["-v", "error", "-i", path], what, &["-f", "framemd5", "-"]].concat();
    let (listed, said) = common::run_both("ffmpeg", &args, None);
    assert_eq!(said, "", "ffmpeg has nothing to complain about");
    let lines = String::from_utf8(listed).expect("text");
    let hashes = lines.lines().filter(|line| !line.starts_with('#'));
    hashes
        .map(|line| line.split(',').nth(5).unwrap_or_default().trim().to_owned())
        .collect()
}

#[test]
fn video_grows_while_it_is_played() {
    for (name, coding, from_a_second) in [("content.mp4", MP4, 125 + 2), ("content.webm", WEBM, 125 + 2 + 1)]
    {
        let (events, pictures) = grown(name, coding, PresentationTime::ZERO);
        assert!(is_a_whole_break(&events), "{name}: {events:?}");
        let shown = |shown| Some(Pictures { shown, late: 0 });
        assert_eq!(pictures, shown(6 * 25 + 2), "{name}");
        let (events, pictures) = grown(name, coding, PresentationTime::from_millis(1000));
        assert!(is_a_whole_break(&events), "{name}: {events:?}");
        assert_eq!(pictures, shown(from_a_second), "{name}");
    }
}
