//! The samples that bridges are coded from: content, ads, and content again.
//!
//! Not for: how ads and content are mixed where they meet ([`insert`]), or where a bridge begins and ends (`joins`).

use std::ops::Range;

use super::SpliceError;
use super::format::{Track, surroundings};
use super::layout::{Layout, Spot};
use super::peaks::Places;
use super::sound::insert;

/// Adds the ads of a break to samples, faded in and out over the content around it.
pub(crate) fn add_ads(
    pcm: &mut Vec<f32>,
    track: &dyn Track,
    layout: &Layout<'_>,
    spot: &Spot<'_>,
    channels: usize,
) -> Result<(), SpliceError> {
    let (mut ahead, mut behind) = surroundings(track, layout, &spot.span)?;
    let (before, after) = layout.beside_content(spot);
    ahead.truncate(if before { ahead.len() } else { 0 });
    behind.truncate(if after { behind.len() } else { 0 });
    if spot.lead > 0 {
        ahead.clear();
        pcm.resize(pcm.len() + spot.lead as usize * channels, 0.0);
    }
    insert(
        pcm,
        (spot.ads, spot.ending),
        (&ahead, &behind),
        channels,
        layout.fade,
    )
    .map_err(|error| spot.failed(&error))
}

/// Interleaved samples of a bridge.
pub(crate) struct Gathered {
    /// All of them.
    pub(crate) pcm: Vec<f32>,
    /// Where in it the ads are.
    pub(crate) places: Places,
    /// The content up to the first break.
    pub(crate) before: Vec<f32>,
    /// The content behind the last one.
    pub(crate) after: Vec<f32>,
    /// The decoded sample that `after` begins with.
    pub(crate) resumed: i64,
}

/// Gathers a bridge over neighbouring breaks, of *decoded samples* `range`: content sample 0 is decoded sample `skip`. `decode` gives content.
pub(crate) fn gather(
    (track, layout): (&dyn Track, &Layout<'_>),
    spots: &[Spot<'_>],
    range: Range<i64>,
    skip: u64,
    channels: usize,
    decode: impl Fn(Range<i64>) -> Result<Vec<f32>, SpliceError>,
) -> Result<Gathered, SpliceError> {
    let shift: i64 = spots.iter().map(Spot::shift).sum();
    let samples = (range.end - range.start + shift).max(0) as usize;
    let mut pcm = Vec::with_capacity(samples * channels);
    let (mut before, mut places) = (Vec::new(), Vec::new());
    let mut position = range.start;
    for (i, spot) in spots.iter().enumerate() {
        let mut piece = decode(position..(spot.span.start + skip) as i64)?;
        if spot.span.start == 0 {
            // What is decoded before content time 0 is no content.
            piece.fill(0.0);
        }
        pcm.extend(&piece);
        if i == 0 {
            before = piece;
        }
        places.push(spot.places(pcm.len() / channels));
        add_ads(&mut pcm, track, layout, spot, channels)?;
        position = (spot.span.end + skip) as i64;
    }
    let after = decode(position..range.end)?;
    pcm.extend(&after);
    Ok(Gathered {
        pcm,
        places,
        before,
        after,
        resumed: position,
    })
}
