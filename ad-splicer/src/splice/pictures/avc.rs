//! The track of pictures of an MP4 file: H.264 with its parameter sets, and what the edit list says of it.

use std::sync::Arc;

use super::{Video, rate_of, rescaled, unsupported};
use crate::frames::h264::{self, Sets};
use crate::frames::mp4::{Atom, Edit, Samples, avc_config, told_of, turn_of};
use crate::picture::{Picture, PictureCoding, PictureFormat};
use crate::splice::SpliceError;

/// H.264 in MP4.
#[derive(Debug)]
pub(in crate::splice) struct Avc {
    /// Which of `moov`'s children it is.
    pub(in crate::splice) child: usize,
    pub(in crate::splice) sets: Sets,
    pub(in crate::splice) video: Video,
}

impl Avc {
    /// The track of pictures that is this child of `moov`.
    pub(in crate::splice) fn new(
        child: usize,
        track: &Atom,
        samples: Samples,
        edit: Option<Edit>,
        (scale, movie_scale): (u32, u32),
    ) -> Result<Self, SpliceError> {
        let config = avc_config(track).ok_or_else(|| {
            let described = track.bytes(&[b"mdia", b"minf", b"stbl", b"stsd"]);
            let coding = described.and_then(|stsd| stsd.get(12..16)).unwrap_or_default();
            unsupported(format!(
                "the content is video in `{}`, or changes its coding: ads can be put only into H.264 in one coding (`avc1`)",
                coding.escape_ascii()
            ))
        })?;
        let refused = |reason: String| unsupported(format!("no ads can be put into this video: {reason}"));
        let sets = Sets::parse(config).map_err(refused)?;
        let description = h264::describe(&sets, &told_of(track)).map_err(refused)?;
        if sets.length_size != 4 {
            return Err(refused(format!(
                "lengths in its samples have {} bytes, not 4",
                sets.length_size
            )));
        }
        let (sequence, picture) = sets.numbers().map_err(refused)?;
        let set = (1..32)
            .find(|number| !sequence.contains(number) && !picture.contains(number))
            .ok_or_else(|| refused("all its numbers of parameter sets are taken".into()))?;
        if samples.sizes.is_empty() {
            return Err(refused("it has no pictures".into()));
        }
        let format = PictureFormat {
            width: description.width,
            height: description.height,
            pixel: description.pixel,
            rate: rate_of(&samples.durations, scale),
            coding: PictureCoding::H264 {
                profile: description.profile,
                set,
            },
            colour: description.colour,
            full_range: description.full_range,
            turn: turn_of(track),
        };
        let lead = edit.map_or(0, |edit| rescaled(edit.lead as i64, scale, movie_scale));
        let zero = edit.map_or(0, |edit| edit.media_time as i64) - lead;
        let mut video = Video::new(samples, scale, zero, format);
        video.visible = zero + lead;
        let frame = video.lasting();
        video.hidden_start = video.shown(0) + frame / 2 + 1 < video.visible;
        let lasts = edit.map_or(0, |edit| rescaled(edit.duration as i64, scale, movie_scale));
        let shown_until = video.visible + lasts;
        if lasts > 0 {
            video.end_at(shown_until);
        }
        video.hidden_end = (lasts > 0 && shown_until + frame < video.over).then_some(shown_until);
        Ok(Self { child, sets, video })
    }

    /// The decoder configuration with the sets of the ads in it.
    pub(in crate::splice) fn config(&self, ads: &[Arc<Picture>]) -> Result<Vec<u8>, SpliceError> {
        let mut sets = self.sets.clone();
        for own in ads.iter().filter_map(|ad| ad.sets.as_ref()) {
            sets.add(&own.sequence, &own.picture);
        }
        if sets.sequence.len() > self.sets.sequence.len() + 1
            || sets.picture.len() > self.sets.picture.len() + 1
        {
            return Err(unsupported(
                "the pictures of the ads were coded by different encoders; empty the cache of creatives",
            ));
        }
        Ok(sets.write())
    }
}
