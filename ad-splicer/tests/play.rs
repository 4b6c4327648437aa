//! Playing real MP3 through GStreamer: what is told follows what the sink presented.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ad_splicer::content::{Content, FileContent};
use ad_splicer::plan::AdIndex;
use ad_splicer::play::{
    AdSlot, Extension, Growing, Locate, Notice, Outcome, PlayError, PlayEvent, Player, Request, Sink,
    Timeline, TooLate,
};
use ad_splicer::splice::{self, At, Break, Codec, Options, Rendition};
use ad_splicer::time::ContentTime;
use ad_splicer::time::PresentationTime;

const SECOND: u64 = 1000;

/// `seconds` of a tone as MP3.
fn mp3(dir: &Path, seconds: u32) -> FileContent {
    tone(
        dir,
        "tone.mp3",
        seconds,
        &["-metadata", "title=A tone", "-b:a", "128k"],
    )
}

/// `seconds` of a tone.
fn tone(dir: &Path, name: &str, seconds: u32, coding: &[&str]) -> FileContent {
    let path = dir.join(name);
    let input = format!("sine=440:r=44100:d={seconds}");
    let status = std::process::Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-y",
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            &input,
            "-ac",
            "2",
        ])
        .args(coding)
        .arg(&path)
        .status()
        .expect("ffmpeg is needed: apt-get install ffmpeg");
    assert!(status.success());
    FileContent::open(&path).expect("the file was made")
}

fn slot(break_index: usize, ad: usize, start: u64, millis: u64) -> AdSlot {
    AdSlot {
        index: AdIndex { break_index, ad },
        start: PresentationTime::from_millis(start),
        duration: Duration::from_millis(millis),
        progress: Vec::new(),
        skip_after: None,
    }
}

/// Two ads at 20 s (8 s and 4 s), one at 60 s (8 s).
fn timeline() -> Timeline {
    Timeline::new(vec![
        slot(0, 0, 20 * SECOND, 8 * SECOND),
        slot(0, 1, 28 * SECOND, 4 * SECOND),
        slot(1, 0, 60 * SECOND, 8 * SECOND),
    ])
}

fn request(media: impl Content + 'static, sink: Sink) -> Request {
    Request {
        media: Arc::new(media),
        codec: Codec::Mp3,
        timeline: timeline(),
        start: PresentationTime::ZERO,
        duration: None,
        guessed: None,
        sink,
        locate: None,
        timed: false,
        read_deadline: Duration::from_secs(10),
    }
}

/// Everything until the end: the events, and how it ended.
fn listen(player: &Player) -> (Vec<PlayEvent>, PresentationTime, Outcome) {
    let mut events = Vec::new();
    loop {
        let notice = player
            .notices()
            .recv_timeout(Duration::from_secs(60))
            .expect("a player says how it ended");
        match notice {
            Notice::Presented(presented) => events.push(presented.event),
            Notice::Position { .. } | Notice::Heard(_) => {}
            Notice::Ended { at, outcome, .. } => return (events, at, outcome),
        }
    }
}

fn whole_ad(index: AdIndex) -> [PlayEvent; 6] {
    [
        PlayEvent::Impression(index),
        PlayEvent::Start(index),
        PlayEvent::FirstQuartile(index),
        PlayEvent::Midpoint(index),
        PlayEvent::ThirdQuartile(index),
        PlayEvent::Complete(index),
    ]
}

fn whole_break(break_index: usize, ads: usize) -> Vec<PlayEvent> {
    let mut events = vec![PlayEvent::BreakStart { break_index }];
    events.extend((0..ads).flat_map(|ad| whole_ad(AdIndex { break_index, ad })));
    events.push(PlayEvent::BreakEnd { break_index });
    events
}

#[test]
fn a_whole_rendition_tells_every_event_in_order() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let player = Player::start(request(mp3(dir.path(), 70), Sink::Fast)).expect("a player");
    let (events, at, outcome) = listen(&player);
    assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
    assert_eq!(events, [whole_break(0, 2), whole_break(1, 1)].concat());
    assert!((69.9..70.2).contains(&at.as_secs_f64()), "{at:?}");
}

#[test]
fn what_lies_before_the_start_is_not_told() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut request = request(mp3(dir.path(), 70), Sink::Fast);
    request.start = PresentationTime::from_millis(30 * SECOND);
    let player = Player::start(request).expect("a player");
    let (events, at, outcome) = listen(&player);
    assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
    let index = AdIndex {
        break_index: 0,
        ad: 1,
    };
    let first = [
        PlayEvent::BreakStart { break_index: 0 },
        PlayEvent::Impression(index),
        PlayEvent::Start(index),
        PlayEvent::BreakEnd { break_index: 0 },
    ];
    assert_eq!(events, [first.to_vec(), whole_break(1, 1)].concat());
    assert!((69.9..70.2).contains(&at.as_secs_f64()), "{at:?}");
}

#[test]
fn what_is_missing_at_the_end_is_not_told() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut request = request(mp3(dir.path(), 50), Sink::Fast);
    request.duration = Some(Duration::from_secs(70));
    let player = Player::start(request).expect("a player");
    let (events, at, outcome) = listen(&player);
    assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
    assert_eq!(events, whole_break(0, 2));
    assert!((49.9..50.2).contains(&at.as_secs_f64()), "{at:?}");
}

#[test]
fn listening_takes_as_long_as_the_sound() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut request = request(mp3(dir.path(), 2), Sink::Null);
    request.timeline = Timeline::new(vec![slot(0, 0, 500, 1000)]);
    let began = std::time::Instant::now();
    let player = Player::start(request).expect("a player");
    let (events, _, outcome) = listen(&player);
    assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
    assert_eq!(events, whole_break(0, 1));
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn stopping_within_an_ad_leaves_the_rest_untold() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut request = request(mp3(dir.path(), 70), Sink::Null);
    request.start = PresentationTime::from_millis(19_900);
    let player = Player::start(request).expect("a player");
    let mut events = Vec::new();
    loop {
        let notice = player
            .notices()
            .recv_timeout(Duration::from_secs(60))
            .expect("something happens");
        match notice {
            Notice::Presented(presented) => {
                if matches!(presented.event, PlayEvent::Start(_)) {
                    player.controls().stop();
                }
                events.push(presented.event);
            }
            Notice::Position { .. } | Notice::Heard(_) => {}
            Notice::Ended { outcome, .. } => {
                assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
                break;
            }
        }
    }
    let index = AdIndex {
        break_index: 0,
        ad: 0,
    };
    let expected = [
        PlayEvent::BreakStart { break_index: 0 },
        PlayEvent::Impression(index),
        PlayEvent::Start(index),
        PlayEvent::BreakEnd { break_index: 0 },
    ];
    assert_eq!(events, expected);
}

/// Content whose bytes stop coming.
struct Stalled(FileContent, u64);

impl Content for Stalled {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        if offset >= self.1 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.read_at(offset, buffer, deadline)
    }
}

#[test]
fn bytes_that_do_not_come_are_a_named_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for limit in [0, 400_000] {
        let media = Stalled(mp3(dir.path(), 70), limit);
        let player = Player::start(request(media, Sink::Fast)).expect("a player");
        let (_, _, outcome) = listen(&player);
        let Outcome::Failed(PlayError::Read { offset, source }) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(offset >= limit, "{offset}");
        assert_eq!(source.kind(), io::ErrorKind::TimedOut);
    }
}

#[test]
fn rubbish_is_a_named_error() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("rubbish.mp3");
    std::fs::write(&path, vec![0x55; 100_000]).expect("a writable folder");
    let media = FileContent::open(&path).expect("the file was made");
    let player = Player::start(request(media, Sink::Fast)).expect("a player");
    let (events, _, outcome) = listen(&player);
    assert!(
        matches!(outcome, Outcome::Failed(PlayError::Pipeline { .. })),
        "{outcome:?}"
    );
    assert_eq!(events, []);
}

/// A rendition of `content` with a beep of two seconds at each of these seconds, the breaks numbered in this order.
fn with_ads(content: &dyn Content, at: &[u64]) -> Rendition {
    let format = splice::probe(content, &Options::default()).expect("it is known");
    let beep: Arc<[f32]> = (0..2 * format.sample_rate * 2)
        .map(|n: u32| ((n / 2) as f32 * 0.1).sin() * 0.3)
        .collect();
    let breaks: Vec<Break> = at
        .iter()
        .map(|seconds| Break {
            at: At::Time(ContentTime::from_nanos(seconds * 1_000_000_000)),
            replace: Duration::ZERO,
            ads: vec![splice::Ad {
                id: format!("ad at {seconds}"),
                pcm: Arc::clone(&beep).into(),
                picture: None,
            }],
        })
        .collect();
    let options = Options {
        growing: true,
        measured: true,
        ..Options::default()
    };
    splice::prepare(content, &breaks, &options).expect("it can be spliced")
}

fn bytes(content: &dyn Content, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut read = vec![0; (range.end - range.start) as usize];
    let mut at = 0;
    while at < read.len() {
        let count = content
            .read_at(range.start + at as u64, &mut read[at..], Duration::from_secs(10))
            .expect("readable");
        assert!(count > 0, "it ends at {at}");
        at += count;
    }
    read
}

/// Every format that grows, 60 s of each.
fn growing_formats(dir: &Path) -> [(Codec, Arc<dyn Content>); 8] {
    [
        (Codec::Mp3, Arc::new(mp3(dir, 60))),
        (Codec::Wav, Arc::new(tone(dir, "tone.wav", 60, &[]))),
        (Codec::Flac, Arc::new(tone(dir, "tone.flac", 60, &[]))),
        (Codec::Adts, Arc::new(tone(dir, "tone.aac", 60, &[]))),
        (
            Codec::OggOpus,
            Arc::new(tone(
                dir,
                "tone.opus",
                60,
                &["-c:a", "libopus", "-b:a", "128k", "-vbr", "off"],
            )),
        ),
        (
            Codec::WebmOpus,
            Arc::new(tone(
                dir,
                "tone.webm",
                60,
                &["-c:a", "libopus", "-b:a", "128k", "-vbr", "off"],
            )),
        ),
        (Codec::M4a, Arc::new(tone(dir, "tone.m4a", 60, &[]))),
        (
            Codec::OggVorbis,
            Arc::new(tone(dir, "tone.ogg", 60, &["-c:a", "libvorbis"])),
        ),
    ]
}

#[test]
fn a_rendition_grows_ahead_of_its_reader_and_never_changes_behind_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (codec, content) in growing_formats(dir.path()) {
        let format = splice::probe(content.as_ref(), &Options::default()).expect("it is known");
        assert!(format.codec == codec && format.grows, "{codec:?}");
        let growing = Growing::new(content.clone(), with_ads(content.as_ref(), &[]));
        let second = content.len() / 60;
        let first = bytes(&growing, 0..5 * second);
        growing
            .replace(with_ads(content.as_ref(), &[30]))
            .expect("in time");
        growing
            .replace(with_ads(content.as_ref(), &[30, 50]))
            .expect("in time");
        // Read to within the first ad: the second one can still be replaced by another, the first no more.
        let middle = bytes(&growing, 5 * second..31 * second);
        assert_eq!(
            growing.replace(with_ads(content.as_ref(), &[30, 20])),
            Err(TooLate),
            "a break that is past"
        );
        let whole = with_ads(content.as_ref(), &[30, 50, 55]);
        growing.replace(whole.clone()).expect("in time");
        let rest = bytes(&growing, 31 * second..growing.len());
        let all = [first, middle, rest].concat();
        // What was read of the audio is the last rendition, byte for byte.
        let mut expected = Vec::new();
        whole
            .write_to(content.as_ref(), &mut expected, &Options::default())
            .expect("written");
        let audio = whole.audio().expect("audio");
        let (start, end) = (audio.start as usize, audio.end as usize);
        let plain = with_ads(content.as_ref(), &[]).audio().expect("audio").start as usize;
        assert_eq!(all.len() - plain, end - start, "{codec:?}");
        assert!(
            all[plain..] == expected[start..end],
            "{codec:?}: the bytes differ"
        );
        assert_eq!(bytes(&growing, 0..5 * second), all[..5 * second as usize]);
    }
}

/// Content that notes which thousands of its bytes were read.
struct Noted {
    content: Arc<dyn Content>,
    read: Mutex<BTreeSet<u64>>,
}

impl Content for Noted {
    fn len(&self) -> u64 {
        self.content.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        let count = self.content.read_at(offset, buffer, deadline)?;
        let read = offset / 1000..(offset + count as u64).div_ceil(1000);
        self.read.lock().expect("not poisoned").extend(read);
        Ok(count)
    }
}

/// What is played before there is an ad takes reading little: nothing is waited for that comes later.
#[test]
fn the_beginning_waits_for_no_ad_and_for_little_content() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for (codec, content) in growing_formats(dir.path()) {
        let content = Noted {
            content,
            read: Mutex::default(),
        };
        let rendition = with_ads(&content, &[]);
        let (read, all) = (content.read.lock().expect("not poisoned").len(), content.len());
        println!("{codec:?}: {read} of {} thousands of bytes", all / 1000);
        assert!(rendition.len() > all / 2);
        // A window at the beginning, and what the end says of Ogg and MP4.
        assert!(read < 400, "{codec:?}");
    }
}

/// Content that counts the bytes that were read of it.
struct Counted {
    content: Arc<dyn Content>,
    read: AtomicU64,
}

impl Content for Counted {
    fn len(&self) -> u64 {
        self.content.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        let count = self.content.read_at(offset, buffer, deadline)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Nothing tells where a place in Opus is: it is found by halving. A cold seek may read 2 MiB at most.
#[test]
fn a_place_in_opus_is_found_by_reading_little() {
    const PACKET: u64 = 960;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let coding = ["-c:a", "libopus", "-b:a", "128k", "-application", "audio"];
    let content = Arc::new(Counted {
        content: Arc::new(tone(dir.path(), "long.opus", 600, &coding)),
        read: AtomicU64::new(0),
    });
    for at in [&[][..], &[300]] {
        let rendition = with_ads(content.as_ref(), at);
        let growing = Growing::new(content.clone(), rendition.clone());
        for millis in [0, 1, 400, 1_500, 299_700, 300_500, 303_000, 599_000, 599_990] {
            content.read.store(0, Ordering::Relaxed);
            let located = growing
                .locate(PresentationTime::from_millis(millis))
                .expect("it is found");
            let read = content.read.load(Ordering::Relaxed);
            assert!(read < 2 << 20, "{read} bytes for {millis} ms");
            // At a page that holds what comes after the lead, in packets that are counted from the one before the pre-skip.
            let before = bytes(&growing, 0..located.offset);
            assert_eq!(
                &bytes(&growing, located.offset..located.offset + 4),
                b"OggS",
                "{millis} ms"
            );
            let granule = granule_before(&before);
            assert_eq!(granule % PACKET, 0, "{millis} ms");
            let wanted = 312 + millis * 48;
            assert_eq!(
                located.lead.as_nanos() as u64 / 1_000,
                (wanted - granule) * 1_000_000 / 48_000,
                "{millis} ms"
            );
            // Long enough to settle, where there is so much; and no more than a page longer.
            assert!(
                granule == 0 || (400..1_500).contains(&located.lead.as_millis()),
                "{located:?}"
            );
        }
    }
}

/// The granule position of the last page with sound in these bytes; zero when there is none yet.
fn granule_before(bytes: &[u8]) -> u64 {
    let last = bytes
        .windows(4)
        .rposition(|window| window == b"OggS")
        .expect("a page");
    u64::from_le_bytes(bytes[last + 6..last + 14].try_into().expect("eight bytes"))
}

#[test]
fn ads_that_come_in_while_it_plays_are_presented() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::thread::scope(|scope| {
        for (codec, content) in growing_formats(dir.path()) {
            scope.spawn(move || grow_while_playing(codec, &content));
        }
    });
}

/// Finds places as `grove play` does.
fn locator(growing: &Arc<Growing>) -> Arc<Locate> {
    let growing = Arc::clone(growing);
    Arc::new(move |to| growing.locate(to))
}

fn grow_while_playing(codec: Codec, content: &Arc<dyn Content>) {
    let growing = Arc::new(Growing::new(content.clone(), with_ads(content.as_ref(), &[])));
    let request = Request {
        media: growing.clone(),
        codec,
        timeline: Timeline::new(Vec::new()),
        // Near the break, but the reader has not come to it: the pipeline reads less than 20 s ahead.
        start: PresentationTime::from_millis(0),
        duration: Some(Duration::from_secs(60)),
        guessed: None,
        sink: Sink::Null,
        read_deadline: Duration::from_secs(10),
        locate: Some(locator(&growing)),
        timed: growing.rendition().zero().is_some(),
    };
    let player = Player::start(request).expect("a player");
    let whole = with_ads(content.as_ref(), &[40]);
    growing.replace(whole.clone()).expect("in time");
    player.controls().extend(Extension {
        timeline: Timeline::of(whole.plan()),
        duration: whole.report().duration,
        bytes: growing.len(),
    });
    player.controls().seek(PresentationTime::from_millis(39 * SECOND));
    let mut events = Vec::new();
    let mut heard = Vec::new();
    while events.last() != Some(&PlayEvent::BreakEnd { break_index: 0 }) {
        match player
            .notices()
            .recv_timeout(Duration::from_secs(60))
            .expect("a notice")
        {
            Notice::Presented(presented) => events.push(presented.event),
            Notice::Heard(part) => heard.push(part),
            Notice::Position { .. } => {}
            Notice::Ended { outcome, .. } => panic!("{codec:?}: {outcome:?}"),
        }
    }
    assert_eq!(events, whole_break(0, 1), "{codec:?}");
    assert_eq!(heard.len(), 1, "{codec:?}: {heard:?}");
    assert_eq!(
        (heard[0].from, heard[0].to),
        (Duration::ZERO, Duration::from_secs(2))
    );
    // What comes after the end that the head tells is played too.
    player.controls().seek(PresentationTime::from_millis(61 * SECOND));
    let ended = loop {
        let notice = player.notices().recv_timeout(Duration::from_secs(60));
        if let Notice::Ended { at, outcome, .. } = notice.expect("a notice") {
            break (at, outcome);
        }
    };
    assert!(matches!(ended.1, Outcome::Finished), "{codec:?}: {ended:?}");
    assert!(
        ended.0 >= PresentationTime::from_millis(61_900),
        "{codec:?}: {ended:?}"
    );
}

/// Content whose bytes from some offset on come only once they are let through.
struct Gated {
    content: FileContent,
    from: u64,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Content for Gated {
    fn len(&self) -> u64 {
        self.content.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        if offset + buffer.len() as u64 > self.from {
            let (open, opened) = &*self.open;
            let mut is_open = open.lock().expect("not poisoned");
            while !*is_open {
                is_open = opened.wait(is_open).expect("not poisoned");
            }
        }
        self.content.read_at(offset, buffer, deadline)
    }
}

/// Bytes that come late are waited for; then playback goes on where it was, at the speed of listening: it neither hurries nor leaves anything out.
#[test]
fn playback_that_had_to_wait_goes_on_where_it_was() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let open = Arc::new((Mutex::new(false), Condvar::new()));
    let media = Gated {
        content: mp3(dir.path(), 12),
        // Four seconds of 128k.
        from: 64_000,
        open: open.clone(),
    };
    let mut request = request(media, Sink::Null);
    request.timeline = Timeline::new(vec![slot(0, 0, 1000, 10_000)]);
    let player = Player::start(request).expect("a player");
    let mut stood = None;
    let mut went_on = None;
    let mut events = Vec::new();
    loop {
        match player
            .notices()
            .recv_timeout(Duration::from_secs(60))
            .expect("a notice")
        {
            Notice::Position { at, waiting, .. } => {
                let seconds = at.as_secs_f64();
                if waiting && seconds > 1.0 && stood.is_none() {
                    stood = Some(seconds);
                    // Let through when it has told three times that it stands still.
                } else if waiting
                    && went_on.is_none()
                    && stood.is_some_and(|place| (place - seconds).abs() < 1e-9)
                {
                    *open.0.lock().expect("not poisoned") = true;
                    open.1.notify_all();
                    went_on = Some((seconds, std::time::Instant::now()));
                } else if waiting && went_on.is_none() {
                    stood = Some(seconds);
                }
            }
            Notice::Presented(presented) => events.push(presented.event),
            Notice::Heard(_) => {}
            Notice::Ended { outcome, .. } => {
                assert!(matches!(outcome, Outcome::Finished), "{outcome:?}");
                break;
            }
        }
    }
    let (place, when) = went_on.expect("it had to wait");
    assert!(place < 4.5, "it stood at {place} s");
    // Twelve seconds in all; a little may have been with the sink already.
    let (left, took) = (12.0 - place, when.elapsed().as_secs_f64());
    assert!(took > left - 1.0, "{left} s of sound took {took} s");
    assert_eq!(events, whole_break(0, 1));
}

/// Seeks by the person, with a real pipeline: over the break at 20 s to 40 s.
#[test]
fn a_seek_over_a_break_comes_to_its_target_after_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut request = request(mp3(dir.path(), 50), Sink::Null);
    request.timeline = Timeline::new(vec![slot(0, 0, 20 * SECOND, 2 * SECOND)]);
    let player = Player::start(request).expect("a player");
    let mut asked = false;
    let mut events = Vec::new();
    loop {
        match player
            .notices()
            .recv_timeout(Duration::from_secs(60))
            .expect("a notice")
        {
            Notice::Position { at, .. } if !asked && at > PresentationTime::ZERO => {
                asked = true;
                player.controls().go(PresentationTime::from_millis(40 * SECOND));
            }
            Notice::Position { at, .. } if events.last() == Some(&PlayEvent::BreakEnd { break_index: 0 }) => {
                assert!(at >= PresentationTime::from_millis(22 * SECOND), "{at}");
                if at > PresentationTime::from_millis(40 * SECOND) {
                    break;
                }
                assert!(
                    at < PresentationTime::from_millis(23 * SECOND),
                    "content plays at {at}"
                );
            }
            Notice::Presented(presented) => events.push(presented.event),
            Notice::Position { .. } | Notice::Heard(_) => {}
            Notice::Ended { outcome, .. } => panic!("{outcome:?}"),
        }
    }
    assert_eq!(events, whole_break(0, 1));
}
