//! An origin that counts, and ranges of renditions read from it.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::splice::Rendition;

/// What a swarm delivers at a time.
pub(crate) const BLOCK: u64 = 16 << 10;
/// The rendition's offsets that are asked for come from this.
const SEED: u64 = 20_260_101;

/// An origin that counts: which blocks of it were asked for.
pub(crate) struct Origin {
    pub(crate) bytes: Vec<u8>,
    asked: Mutex<BTreeSet<u64>>,
}

impl Origin {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            asked: Mutex::default(),
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
