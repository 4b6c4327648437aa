//! What stands in a break's stream: the samples, and their coding.
//!
//! libvorbis gives tones back louder than they were, at its highest quality by a hundredth, and noise as it was. Where two streams meet without an overlap that is a step, and heard as a click; so what goes in is
//! quieter by as much as the content there is found to come out louder.

use std::ops::Range;

use super::meeting::{Meeting, Side};
use super::{Ends, Join, Track, Vorbis};
use crate::bridge::{BridgeError, vorbis as bridge};
use crate::frames::vorbis::Head;
use crate::splice::SpliceError;
use crate::splice::gathered::add_ads;
use crate::splice::layout::Layout;
use crate::splice::peaks::{self, Places, below_the_limit};
use crate::splice::sound::{FLOOR_DB, worst_block};

/// Samples of content that are coded before a break's stream, and not used: about so many, and at most.
const LEAD: u64 = 6_000;
const MOST_LEAD: u64 = 16_384;
/// Samples of content, and of the ad beside it, by which it is found how much louder it comes out; at both ends the coder has to settle.
const TRIED: usize = 8_192;
const SETTLED: usize = 2_048;
/// Content is made quieter by so much at most: then more is wrong than how loud it is.
const MOST_QUIETER: f64 = 0.02;
/// Samples of an ad in which that goes away.
const EASED: f32 = 2_205.0;
/// How often it is tried to have a packet end where content ends.
const ATTEMPTS: usize = 5;

/// Samples that were coded: three headers and packets, where the samples of each packet end, and the number of the first that is used.
pub(super) struct Coded {
    pub(super) packets: Vec<Vec<u8>>,
    pub(super) ends: Ends,
    pub(super) first: usize,
}

/// Samples of a stream that is made.
struct Sound {
    pcm: Vec<f32>,
    /// Which of them are content before the ads, and after them.
    head: Range<usize>,
    tail: Range<usize>,
    /// The content before and after the stream.
    before: Vec<f32>,
    after: Vec<f32>,
    /// Where the ads are.
    places: Places,
}

impl Sound {
    /// All that is coded, with so many samples of the content before.
    fn whole(&self, lead: u64, channels: usize) -> Vec<f32> {
        let from = self.before.len() - lead as usize * channels;
        [&self.before[from..], &self.pcm, &self.after].concat()
    }

    /// The same as it goes into the coder that makes the content before and after the ads so many times as loud.
    fn evened(&self, [before, after]: [f64; 2], channels: usize) -> Self {
        let [before, after] = [before, after].map(|louder| (1.0 / louder) as f32);
        let all = |samples: &[f32], factor: f32| samples.iter().map(|sample| sample * factor).collect();
        let (ads, resumed) = (self.head.end / channels, self.tail.start / channels);
        let part = |within: usize| (1.0 - within as f32 / EASED).max(0.0);
        let factor = |i: usize| {
            let near = [part(i.saturating_sub(ads)), part(resumed.saturating_sub(i))];
            (1.0 + (before - 1.0) * near[0]) * (1.0 + (after - 1.0) * near[1])
        };
        let frames = self.pcm.chunks(channels).enumerate();
        let pcm = frames.flat_map(|(i, frame)| {
            let factor = factor(i);
            frame.iter().map(move |sample| sample * factor)
        });
        Self {
            pcm: pcm.collect(),
            before: all(&self.before, before),
            after: all(&self.after, after),
            head: self.head.clone(),
            tail: self.tail.clone(),
            places: self.places.clone(),
        }
    }
}

/// How many times as loud samples became.
fn louder(samples: &[f32], became: &[f32]) -> f64 {
    let product = |one: &[f32], other: &[f32]| -> f64 {
        let pairs = one.iter().zip(other);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let power = product(samples, samples);
    if power > 0.0 {
        (product(samples, became) / power).clamp(1.0 - MOST_QUIETER, 1.0 + MOST_QUIETER)
    } else {
        1.0
    }
}

/// A stream that was made, what it was made of, and what that became.
struct Run {
    made: Made,
    pcm: Vec<f32>,
    places: Places,
    became: Vec<f32>,
    /// How far the content before the ads and after them is from the original, in dB.
    errors: (f64, f64),
    channels: usize,
}

impl peaks::Coded for Run {
    fn places(&self) -> &Places {
        &self.places
    }

    fn given(&self) -> &[f32] {
        &self.pcm
    }

    /// It is decoded already.
    fn packets(&self) -> &[Vec<u8>] {
        &[]
    }

    fn became(&self, range: Range<usize>) -> Result<Vec<f32>, SpliceError> {
        let [start, end] = [range.start, range.end].map(|at| (at * self.channels).min(self.became.len()));
        Ok(self.became[start..end].to_vec())
    }
}

/// A stream that was made: three headers and packets.
pub(super) struct Made {
    pub(super) packets: Vec<Vec<u8>>,
    /// Where the samples of each packet end.
    pub(super) ends: Vec<u64>,
    /// How many samples are heard.
    pub(super) samples: u64,
}

fn wrong(what: &str, break_index: usize) -> SpliceError {
    BridgeError::WrongStream(what.into()).at(break_index)
}

impl Track<'_> {
    /// The samples of a join's stream: decoded content around the ads.
    fn samples(&self, layout: &Layout<'_>, join: &Join<'_>) -> Result<Sound, SpliceError> {
        let channels = usize::from(self.file.head.channels);
        let start = match join.entry {
            0 => self.skip,
            entry => self.ends[entry - 1],
        };
        let before = match join.entry {
            0 => Vec::new(),
            _ => self.decoded(start.saturating_sub(MOST_LEAD)..start)?,
        };
        let (mut position, mut pcm, mut head) = (start, Vec::new(), None);
        let mut places = Vec::new();
        for spot in join.spots {
            pcm.extend(self.decoded(position..spot.span.start + self.skip)?);
            head.get_or_insert(pcm.len());
            places.push(spot.places(pcm.len() / channels));
            add_ads(&mut pcm, self, layout, spot, channels)?;
            position = spot.span.end + self.skip;
        }
        let end = join.exit.map_or(self.end, |exit| self.ends[exit - 1]);
        let tail = pcm.len();
        pcm.extend(self.decoded(position..end)?);
        Ok(Sound {
            head: 0..head.unwrap_or(0),
            tail: tail..pcm.len(),
            after: self.decoded(end..self.end.min(end + MOST_LEAD))?,
            before,
            pcm,
            places,
        })
    }

    /// Codes samples as a stream in which a packet's samples end where `sound.pcm` begins: content before it is coded too, so
    /// that the coder does not begin from nothing there. Where the coder's packets end depends on what it hears, so this may
    /// take several attempts; without an end there, nothing comes before.
    fn encode(&self, sound: &Sound, break_index: usize) -> Result<Coded, SpliceError> {
        let channels = usize::from(self.file.head.channels);
        let most = (sound.before.len() / channels) as u64;
        let mut lead = LEAD.min(most);
        for attempt in 0..=ATTEMPTS {
            if attempt == ATTEMPTS {
                lead = 0;
            }
            let (packets, ends) = self.coded(&sound.whole(lead, channels), break_index)?;
            if let Ok(first) = ends.ends.binary_search(&lead) {
                return Ok(Coded { packets, ends, first });
            }
            // Perhaps a packet ends here when the coder begins that much earlier.
            let next = ends.ends.iter().copied().filter(|end| *end <= most);
            lead = next.min_by_key(|end| end.abs_diff(LEAD)).unwrap_or(0);
        }
        Err(wrong("no packet of sound", break_index))
    }

    /// Three headers and packets, and where the samples of each packet end.
    pub(super) fn coded(&self, pcm: &[f32], break_index: usize) -> Result<(Vec<Vec<u8>>, Ends), SpliceError> {
        let (rate, channels) = (self.file.head.rate, usize::from(self.file.head.channels));
        let wrong = |what: &str| wrong(what, break_index);
        let packets = bridge::encode(pcm, rate, channels).map_err(Vorbis::failed(break_index))?;
        let head = Head::parse(&packets[0], &packets[2])?.ok_or_else(|| wrong("no Vorbis"))?;
        let mut ends = Ends::default();
        for packet in &packets[3..] {
            ends.push(head.block(packet).ok_or_else(|| wrong("no packets of sound"))?);
        }
        Ok((packets, ends))
    }

    /// How many times as loud the content before the ads and after them comes out of the coder.
    fn louder(&self, sound: &Sound, break_index: usize) -> Result<[f64; 2], SpliceError> {
        let (pcm, reach) = (&sound.pcm, TRIED * usize::from(self.file.head.channels));
        let before = &sound.before[sound.before.len().saturating_sub(reach)..];
        let after = &sound.after[..reach.min(sound.after.len())];
        let entry = [before, &pcm[..pcm.len().min(sound.head.end + reach)]].concat();
        let lead = reach.min(sound.tail.start);
        let exit = [&pcm[sound.tail.start - lead..], after].concat();
        Ok([
            self.came_louder(&entry, 0..before.len() + sound.head.end, break_index)?,
            self.came_louder(&exit, lead..exit.len(), break_index)?,
        ])
    }

    /// The same of a part of what is coded.
    fn came_louder(&self, pcm: &[f32], part: Range<usize>, break_index: usize) -> Result<f64, SpliceError> {
        let channels = usize::from(self.file.head.channels);
        let settled = SETTLED * channels;
        let part = part.start.max(settled)..part.end.min(pcm.len().saturating_sub(settled));
        if part.len() < settled {
            return Ok(1.0);
        }
        let (packets, ends) = self.coded(pcm, break_index)?;
        let held = ends.ends.last().map_or(0, |end| *end as usize);
        let stream = (self.file.head.rate, channels);
        let became = bridge::decode(&packets[..3], &packets[3..], stream, held)
            .map_err(Vorbis::failed(break_index))?;
        let both = pcm.get(part.clone()).zip(became.get(part));
        Ok(both.map_or(1.0, |(samples, became)| louder(samples, became)))
    }

    /// Makes the stream's ends meet the content's: they are wanted as in the first sound, and were coded from the second.
    fn meet_content(
        &self,
        coded: &mut Coded,
        (sound, evened): (&Sound, &Sound),
        join: &Join<'_>,
    ) -> Result<(), SpliceError> {
        let channels = usize::from(self.file.head.channels);
        let lead = coded.ends.ends[coded.first];
        let (wanted, input) = (sound.whole(lead, channels), evened.whole(lead, channels));
        let end = lead + (sound.pcm.len() / channels) as u64;
        let entry = (join.entry > 0).then_some((lead, Side::Entry));
        let exit = join.exit.map(|_| (end, Side::Exit));
        let mut locked = lead;
        for (at, side) in entry.into_iter().chain(exit) {
            let (wanted, input) = (&wanted, &input);
            let meeting = Meeting {
                wanted,
                input,
                at,
                side,
            };
            locked = self.meet(coded, &meeting, locked, join.spots[0].index)?;
        }
        Ok(())
    }

    /// Makes the stream of a join, with the errors of the content before the ads and after them.
    pub(super) fn make(&self, join: &Join<'_>, layout: &Layout<'_>) -> Result<(Made, f64, f64), SpliceError> {
        let run = below_the_limit(layout, join.spots, |spots| {
            self.of(&Join { spots, ..*join }, layout)
        })?;
        Ok((run.made, run.errors.0, run.errors.1))
    }

    /// Codes samples, and decodes them again to see what became of the ads and of the content in them.
    fn of(&self, join: &Join<'_>, layout: &Layout<'_>) -> Result<Run, SpliceError> {
        let break_index = join.spots[0].index;
        let failed = Vorbis::failed(break_index);
        let (rate, channels) = (self.file.head.rate, usize::from(self.file.head.channels));
        let sound = self.samples(layout, join)?;
        let louder = self.louder(&sound, break_index)?;
        let evened = sound.evened(louder, channels);
        let mut coded = self.encode(&evened, break_index)?;
        let samples = (sound.pcm.len() / channels) as u64;
        self.meet_content(&mut coded, (&sound, &evened), join)?;
        let Coded { packets, ends, first } = coded;
        let ends = ends.ends;
        let ends: Vec<u64> = ends[first..].iter().map(|end| end - ends[first]).collect();
        // Packets whose samples are all beyond the end are not needed.
        let needed = ends.partition_point(|end| *end < samples) + 1;
        let Some(held) = ends.get(needed - 1).filter(|_| needed >= 3) else {
            return Err(wrong("too few samples", break_index));
        };
        let mut kept = packets[..3].to_vec();
        kept.extend_from_slice(&packets[3 + first..3 + first + needed]);
        let decoded =
            bridge::decode(&kept[..3], &kept[3..], (rate, channels), *held as usize).map_err(&failed)?;
        let error = |range: &Range<usize>| match (decoded.get(range.clone()), sound.pcm.get(range.clone())) {
            (Some(a), Some(b)) if !a.is_empty() => worst_block(a, b, channels),
            _ => FLOOR_DB,
        };
        let errors = (error(&sound.head), error(&sound.tail));
        let made = Made {
            packets: kept,
            ends,
            samples,
        };
        Ok(Run {
            made,
            pcm: sound.pcm,
            places: sound.places,
            became: decoded,
            errors,
            channels,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::creatives::{Cache, FetchLimits, Profile, Told};
    use crate::cues::BreakLoudness;
    use crate::frames::ogg::{BEGINS, ENDS, Header, lacing, paginate};
    use crate::loudness::{Leveled, MAX_TRUE_PEAK, measure};
    use crate::splice::{self, Ad, At, Break, Options};
    use crate::time::ContentTime;

    const PROFILE: Profile = Profile {
        sample_rate: 44_100,
        channels: 1,
    };

    fn tone(seconds: u32, amplitude: f32) -> Vec<f32> {
        (0..seconds * PROFILE.sample_rate)
            .map(|i| amplitude * (i as f32 * 0.06).sin())
            .collect()
    }

    /// Samples as a file.
    fn file(pcm: &[f32]) -> Vec<u8> {
        let packets = bridge::encode(pcm, PROFILE.sample_rate, 1).unwrap();
        let head = Head::parse(&packets[0], &packets[2]).unwrap().unwrap();
        let mut ends = Ends::default();
        packets[3..]
            .iter()
            .for_each(|packet| ends.push(head.block(packet).unwrap()));
        let mut out = Vec::new();
        let mut sequence = 0;
        let mut page = |flags, granule, lacing, body: &[u8]| {
            let header = Header {
                flags,
                granule,
                serial: 7,
                sequence,
                checksum: 0,
                lacing,
            };
            sequence += 1;
            out.extend(header.write(body));
            out.extend(body);
        };
        page(BEGINS, 0, lacing(packets[0].len()).collect(), &packets[0]);
        for (flags, values, body) in paginate(&packets[1..3], usize::MAX) {
            page(flags, 0, values, &body);
        }
        let pages = paginate(&packets[3..], 10);
        let (mut ended, last) = (0, pages.len() - 1);
        for (i, (flags, values, body)) in pages.into_iter().enumerate() {
            ended += values.iter().filter(|value| **value < 255).count();
            let ends_stream = if i == last { ENDS } else { 0 };
            page(flags | ends_stream, ends.ends[ended - 1] as i64, values, &body);
        }
        out
    }

    #[test]
    fn what_came_out_too_high_is_made_again_from_less() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), Cache::DEFAULT_MAX_BYTES).unwrap();
        let source = folder.path().join("source");
        std::fs::write(&source, "an ad").unwrap();
        let original = cache.import(&source, FetchLimits::default()).unwrap();
        let sound = tone(2, 0.999);
        let mut aside = cache.aside().unwrap();
        for sample in &sound {
            aside.write_all(&sample.to_le_bytes()).unwrap();
        }
        let measured = measure(&sound, PROFILE).unwrap();
        let told = Told {
            samples: sound.len() as u64,
            loudness: measured.loudness,
            true_peak: measured.true_peak,
            later: Duration::ZERO,
        };
        let creative = cache.keep_conditioned(&original, PROFILE, aside, told).unwrap();
        let leveled = Leveled::new(creative, BreakLoudness::AsIs, None);
        // Higher than anybody asks for, as if coding had added that.
        leveled.level(None, 0.5).unwrap();
        assert!(leveled.applied().unwrap().true_peak > MAX_TRUE_PEAK + 0.9);
        let breaks = [Break {
            at: At::Time(ContentTime::from_millis(1_500)),
            replace: Duration::ZERO,
            ads: vec![Ad {
                id: "ad".into(),
                pcm: leveled.clone().into(),
                picture: None,
            }],
        }];
        let content = file(&tone(4, 0.1));
        let mut out = Vec::new();
        splice::splice(&content, &breaks, &Options::default(), &mut out).unwrap();
        let applied = leveled.applied().unwrap();
        assert!(applied.true_peak <= MAX_TRUE_PEAK, "{applied:?}");
        assert!(applied.true_peak > MAX_TRUE_PEAK - 0.5, "{applied:?}");
    }
}
