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
use ad_splicer::splice::{self, Ad, Options, Rendition};
use ad_splicer::time::PresentationTime;
use common::{ad, at};

const SOUND: usize = 48_000;

/// Six seconds at 25 pictures a second, with B-frames and an IDR picture every second.
fn video(folder: &Path) -> FileContent {
    let path = folder.join("content.mp4");
    let inputs = ["testsrc2=s=160x90:r=25:d=6", "sine=f=440:r=48000:d=6"];
    let inputs = inputs.iter().flat_map(|input| ["-f", "lavfi", "-i", input]);
    let coding = "-c:v libx264 -bf 3 -g 25 -sc_threshold 0 -c:a aac -b:a 96k";
    let args: Vec<&str> = ["-v", "error"]
        .into_iter()
        .chain(inputs)
        .chain(coding.split(' '))
        .chain([path.to_str().expect("a name")])
        .collect();
    common::run("ffmpeg", &args, None);
    FileContent::open(&path).expect("the file was made")
}

/// `content` with an ad of two seconds at 3 s, and a card to be seen with it.
fn with_an_ad(content: &FileContent) -> Rendition {
    let format = splice::probe(content, &Options::default()).expect("it is known");
    let card = Picture::card(format.picture.expect("pictures"), "Acme", Duration::from_secs(2));
    let shown = Ad {
        picture: Some(Arc::new(card.expect("a card"))),
        ..ad(SOUND, 1, 2 * SOUND, 700.0)
    };
    splice::prepare(content, &[at(3000, vec![shown])], &Options::default()).expect("it can be spliced")
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
        media: Arc::new(Growing::new(media, rendition)),
        sink: Sink::Fast,
        locate: None,
        read_deadline: Duration::from_secs(10),
    })
    .expect("a player");
    let mut events = Vec::new();
    loop {
        let notice = player.notices().recv_timeout(Duration::from_secs(60));
        match notice.expect("a player says how it ended") {
            Notice::Presented(presented) => events.push(presented.event),
            Notice::Position { .. } | Notice::Heard(_) => {}
            Notice::Ended {
                outcome, pictures, ..
            } => {
                assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
                return (events, pictures, common::packets(&result, "v:0").len());
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
        shown: 25 + 2 + 3 * 25,
        late: 0,
    };
    assert_eq!(pictures, Some(expected));
    assert!(is_a_whole_break(&events), "{events:?}");
}
