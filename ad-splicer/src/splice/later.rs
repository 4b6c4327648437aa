//! Bridges that are made when they are read. How long each is follows from the layout, so that the rest of a rendition does not wait for them.
//!
//! What a bridge holds follows from the content, the breaks and the options alone: whoever makes it, and whenever, gets the same bytes. What was made stays. One that cannot be made is content and silence
//! of the same length, so that the rendition goes on, and which ads are lost by that can be asked. Lock order: only one bridge's at a time, then that of what is lost.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::format::{Track, recognise, with_same_track};
use super::layout::Layout;
use super::{Break, Options, SpliceError};
use crate::content::Content;
use crate::side_by_side::side_by_side;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Later {
    breaks: Vec<Break>,
    options: Options,
    /// Whether the frames were found by reading all of the content.
    is_read_through: bool,
    /// How long each is, and what was made.
    bridges: Vec<(u64, Mutex<Option<Bytes>>)>,
    /// Breaks that became silence, and why.
    lost: Mutex<Vec<(usize, String)>>,
}

impl Later {
    pub(super) fn new(breaks: &[Break], options: &Options, lens: &[u64], is_read_through: bool) -> Self {
        Self {
            breaks: breaks.to_vec(),
            options: *options,
            is_read_through,
            bridges: lens.iter().map(|len| (*len, Mutex::default())).collect(),
            lost: Mutex::default(),
        }
    }

    /// The bytes of a bridge. Who comes while another makes it waits.
    pub(super) fn bytes(
        &self,
        number: usize,
        content: &dyn Content,
        deadline: Duration,
    ) -> io::Result<Bytes> {
        let (len, bridge) = self.bridges.get(number).ok_or(io::ErrorKind::NotFound)?;
        let mut bridge = bridge.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = bridge.as_ref() {
            return Ok(made.clone());
        }
        let options = Options {
            read_deadline: deadline,
            ..self.options
        };
        let made = self
            .make(number, content, &options)
            .and_then(|made| checked(made, *len));
        let made = made.map_err(|error| match error {
            SpliceError::Read { source, .. } => source,
            other => io::Error::other(other),
        })?;
        *bridge = Some(made.clone());
        Ok(made)
    }

    fn make(&self, number: usize, content: &dyn Content, options: &Options) -> Result<Bytes, SpliceError> {
        let head = recognise(content, options)?;
        with_same_track(head.as_ref(), self.is_read_through, |track| {
            let layout = Layout::new(&self.breaks, track, options.fade)?;
            match track.bridge(&layout, number) {
                Ok(bridge) => Ok(bridge.bytes),
                Err(error @ (SpliceError::Bridge { .. } | SpliceError::Process { .. })) => {
                    tracing::warn!(%error, "an ad was left out while its rendition was read");
                    let (bytes, breaks) = track.silence(&layout, number)?;
                    let reason = error.to_string();
                    self.lost_now()
                        .extend(breaks.into_iter().map(|index| (index, reason.clone())));
                    Ok(bytes)
                }
                Err(error) => Err(error),
            }
        })
    }

    fn lost_now(&self) -> MutexGuard<'_, Vec<(usize, String)>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The breaks that became silence so far, and why.
    pub(super) fn lost(&self) -> Vec<(usize, String)> {
        self.lost_now().clone()
    }

    /// Makes those that are not made yet, some at a time, in order: ahead of a reader, who meets what goes wrong.
    pub(super) fn make_ahead(&self, content: &dyn Content, deadline: Duration) {
        side_by_side(&self.bridges, |number, _| {
            let _ = self.bytes(number, content, deadline);
        });
    }
}

/// A bridge that is as long as was laid out.
fn checked(made: Bytes, len: u64) -> Result<Bytes, SpliceError> {
    if made.len() as u64 == len {
        return Ok(made);
    }
    Err(SpliceError::Unsupported(
        "the content is not what it was laid out from".into(),
    ))
}

/// A bridge that was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) bytes: Bytes,
    pub(crate) seams: Vec<super::Seam>,
}

/// One bridge of a layout.
pub(super) fn one(
    track: &dyn Track,
    layout: &Layout<'_>,
    number: usize,
    len: u64,
) -> Result<Made, SpliceError> {
    let made = track.bridge(layout, number)?;
    checked(made.bytes.clone(), len).map(|_| made)
}

/// All bridges of a layout, some at a time.
pub(super) fn all(track: &dyn Track, layout: &Layout<'_>, lens: &[u64]) -> Result<Vec<Made>, SpliceError> {
    side_by_side(lens, |number, len| one(track, layout, number, *len))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bridge::{aac, mp3};
    use crate::facts::survey;
    use crate::frames::aac::Config;
    use crate::frames::mp3::Header;
    use crate::pcm::Pcm;
    use crate::splice::{Ad, At, prepare};
    use crate::time::ContentTime;

    const AD: u64 = 44_100;

    #[test]
    fn a_bridge_that_cannot_be_made_is_silence_as_long_as_it() {
        let pcm: Vec<f32> = (0..8 * 44_100 * 2)
            .map(|i| 0.3 * (i as f32 * 0.02).sin())
            .collect();
        let header = Header::parse([0xFF, 0xFB, 0x90, 0x44]).unwrap();
        let config = Config::lc(44_100, 2).unwrap();
        let packets = aac::encode(config, aac::Coder::Exact, &pcm).unwrap();
        let contents = [
            (mp3::encode(header, 128, &pcm, &[]).unwrap().concat(), 1152),
            (
                packets.iter().flat_map(|packet| config.adts(packet)).collect(),
                1024,
            ),
        ];
        for (content, size) in contents {
            let unreadable = Pcm::filed(Arc::new(tempfile::tempfile().unwrap()), 2 * AD as usize, 1.0);
            let breaks = [Break {
                at: At::Time(ContentTime::from_millis(4_017)),
                replace: Duration::ZERO,
                ads: vec![Ad {
                    id: "unreadable".into(),
                    pcm: unreadable,
                    picture: None,
                }],
            }];
            let options = Options {
                later: true,
                ..Options::default()
            };
            assert!(matches!(
                prepare(&content, &breaks, &Options::default()),
                Err(SpliceError::Bridge { .. })
            ));
            let rendition = prepare(&content, &breaks, &options).unwrap();
            assert!(rendition.lost().is_empty(), "nothing is made yet");
            let mut written = Vec::new();
            rendition.write_to(&content, &mut written, &options).unwrap();
            assert_eq!(written.len() as u64, rendition.len());
            let lost = rendition.lost();
            assert_eq!((lost.len(), lost[0].id.as_str()), (1, "unreadable"));
            assert!(lost[0].reason.contains("break 0"), "{}", lost[0].reason);
            let (before, after) = (survey(&content, &[]).unwrap(), survey(&written, &[]).unwrap());
            let longer = after.samples - before.samples - AD;
            assert!(longer < size, "{longer} samples more than the ad's");
            let (from, to) = (before.bytes as usize / 4, before.bytes as usize / 4 + 1_000);
            let kept = written.windows(1_000).any(|window| *window == content[from..to]);
            assert!(kept, "what comes before is the content's");
        }
    }
}
