//! An origin that counts, and ranges of renditions read from it.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::frame_index::FrameIndex;
use ad_splicer::play::{Growing, Notice, Player, Request, Sink, Timeline};
use ad_splicer::splice::Rendition;
use ad_splicer::time::PresentationTime;

/// What a swarm delivers at a time.
pub(crate) const BLOCK: u64 = 16 << 10;
/// The rendition's offsets that are asked for come from this.
const SEED: u64 = 20_260_101;

/// An origin that counts: which blocks of it were asked for.
pub(crate) struct Origin {
    pub(crate) bytes: Vec<u8>,
    index: Option<FrameIndex>,
    asked: Mutex<BTreeSet<u64>>,
}

impl Origin {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            index: None,
            asked: Mutex::default(),
        }
    }

    /// The same content with an index, as it came with its metainfo.
    pub(crate) fn with_index(self, index: FrameIndex) -> Self {
        Self {
            index: Some(index),
            ..self
        }
    }

    /// Bytes of the blocks that were asked for since this was called the last time.
    pub(crate) fn fetched(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap()).len() * BLOCK as usize
    }
}

impl Content for Origin {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn frame_index(&self) -> Option<&FrameIndex> {
        self.index.as_ref()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], _: Duration) -> io::Result<usize> {
        let rest = self.bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        if count > 0 {
            let blocks = offset / BLOCK..=(offset + count as u64 - 1) / BLOCK;
            self.asked.lock().unwrap().extend(blocks);
        }
        Ok(count)
    }
}

pub(crate) fn read(rendition: &Rendition, content: &dyn Content, range: Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let mut at = 0;
    while at < bytes.len() {
        let offset = range.start + at as u64;
        at += rendition
            .read_at(content, offset, &mut bytes[at..], Duration::from_secs(1))
            .unwrap();
    }
    bytes
}

pub(crate) fn whole(rendition: &Rendition, content: &dyn Content) -> Vec<u8> {
    read(rendition, content, 0..rendition.len())
}

/// They have the same bytes as the whole, and of the content no more is read than the range touches, and `between`.
pub(crate) fn a_thousand_ranges(rendition: &Rendition, origin: &Origin, all: &[u8], between: usize) {
    println!("seed {SEED}");
    let mut state = SEED;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..1_000 {
        let start = next() % rendition.len();
        let end = (start + 1 + next() % 200_000).min(rendition.len());
        let got = read(rendition, origin, start..end);
        assert!(got == all[start as usize..end as usize], "{start}..{end} differs");
        let fetched = origin.fetched();
        // Where a break is, the range takes content from both sides of it.
        let breaks = rendition.report().ads.len();
        let most = (end - start) as usize + 2 * (1 + breaks) * BLOCK as usize + between;
        assert!(fetched <= most, "{fetched} bytes for {start}..{end}");
    }
}

/// Plays a rendition from a place. Gives the bytes that were fetched until the first of it was heard, and what that was.
pub(crate) fn heard_from(
    origin: &Arc<Origin>,
    rendition: Rendition,
    start: PresentationTime,
) -> (usize, PresentationTime) {
    let content: Arc<dyn Content> = origin.clone();
    let (codec, duration) = (rendition.codec(), rendition.report().duration);
    let timeline = Timeline::of(rendition.plan());
    let timed = rendition.zero().is_some();
    let growing = Arc::new(Growing::new(content, rendition));
    let finding = growing.clone();
    let player = Player::start(Request {
        media: growing,
        codec,
        timeline,
        start,
        duration: Some(duration),
        guessed: None,
        sink: Sink::Null,
        locate: Some(Arc::new(move |to| finding.locate(to))),
        timed,
        read_deadline: Duration::from_secs(10),
    })
    .unwrap();
    loop {
        match player.notices().recv_timeout(Duration::from_secs(60)).unwrap() {
            Notice::Position { at, .. } if at > start => return (origin.fetched(), at),
            Notice::Ended { outcome, .. } => panic!("{outcome:?}"),
            _ => {}
        }
    }
}
