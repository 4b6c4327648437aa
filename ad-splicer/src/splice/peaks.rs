//! Ads whose true peaks coding raises above what listeners may get are coded again, quieter.
//!
//! How much coding adds depends on the sound (up to 7 dB, to noise that was clipped), so what came out is decoded and measured. An ad that is too high is made from its creative once more, under a ceiling that is lower by the excess;
//! where that does not do after [`TRIES`], what was made is turned down. All of it follows from the ads and the coding: whoever codes a bridge, and however often, gets the same. What came of it stands in the report.
//!
//! Not for: ads that were given as samples, which stay as they are. Where content fades under an ad's ends, what is too high before it is coded is the content's, and left.

use std::ops::Range;

use super::layout::{Layout, Spot};
use super::{Ad, SpliceError};
use crate::bridge::or_found;
use crate::creatives::Profile;
use crate::loudness::{
    ConditionedError, Leveled, Limited, LoudnessError, MAX_TRUE_PEAK, MOST_ADDED, Meter, PeakMeter,
};
use crate::pcm::Pcm;

/// How often an ad is made under a lower ceiling.
const TRIES: usize = 3;
/// How often an ad is turned down after that.
const MORE_TRIES: usize = 3;
/// By how much more than the excess, in dB: what is coded again comes out a little different.
const MARGIN_DB: f64 = 0.1;
/// Where an ad is too high, in dBTP: meters differ by some hundredths.
const LIMIT: f64 = MAX_TRUE_PEAK - 0.05;
/// Samples that are decoded at a time.
const AT_ONCE: usize = 1 << 19;

/// Where each ad is in the samples that a bridge is coded from: for each break, for each of its ads, counted in frames of all channels.
pub(super) type Places = Vec<Vec<Range<usize>>>;

/// A bridge that was coded.
pub(super) trait Coded {
    /// See [`Places`].
    fn places(&self) -> &Places;

    /// The samples that it was coded from.
    fn given(&self) -> &[f32];

    /// What it was coded to, where seeing what that became takes long.
    fn packets(&self) -> &[Vec<u8>];

    /// What these of the samples became; fewer where there are no more.
    fn became(&self, range: Range<usize>) -> Result<Vec<f32>, SpliceError>;
}

/// An ad under a ceiling.
struct Try {
    leveled: Leveled,
    made: Limited,
    /// How often it was made again.
    times: usize,
}

impl Try {
    /// The same, when it is to lose so many dB of its peaks; `None` when it was tried often enough.
    fn quieter(&self, excess: f64) -> Option<Result<Limited, ConditionedError>> {
        let less = excess + MARGIN_DB;
        match self.times {
            ..TRIES => Some(self.leveled.under(self.made.ceiling - less)),
            TRIES.. if self.times < TRIES + MORE_TRIES => Some(self.made.turned_down(less)),
            _ => None,
        }
    }
}

/// Codes a bridge of these breaks by `code`, until no true peak of an ad is above [`MAX_TRUE_PEAK`]. The gain of the ads is known.
pub(super) fn below_the_limit<T: Coded>(
    layout: &Layout<'_>,
    spots: &[Spot<'_>],
    code: impl Fn(&[Spot<'_>]) -> Result<T, SpliceError>,
) -> Result<T, SpliceError> {
    let mut ads: Vec<Vec<Ad>> = spots.iter().map(|spot| spot.ads.to_vec()).collect();
    let first = |ad: &Ad| {
        let leveled = ad.pcm.leveled()?.clone();
        let made = leveled.limited()?;
        Some(Try {
            leveled,
            made,
            times: 0,
        })
    };
    let mut tries: Vec<Vec<Option<Try>>> = ads.iter().map(|ads| ads.iter().map(first).collect()).collect();
    loop {
        let spots: Vec<Spot<'_>> = spots.iter().zip(&ads).map(|(spot, ads)| spot.with(ads)).collect();
        let coded = code(&spots)?;
        let mut is_too_high = false;
        let mut found = Vec::new();
        for ((i, spot), places) in spots.iter().enumerate().zip(coded.places()) {
            let profile = Profile {
                sample_rate: layout.plan.sample_rate(),
                channels: spot.channels() as u16,
            };
            for (j, place) in places.iter().enumerate() {
                let Some(tried) = tries[i].get_mut(j).and_then(Option::as_mut) else {
                    continue;
                };
                // What coding cannot raise so far is not decoded.
                if tried.times == 0 && tried.made.applied.true_peak < MAX_TRUE_PEAK - MOST_ADDED {
                    continue;
                }
                let is_again = tried.times > 0;
                let (loudness, true_peak) = measured(&coded, place, profile, (layout.fade, is_again))
                    .map_err(|error| error.at_break(spot.index))?;
                if is_again {
                    found.push((i, j, loudness, true_peak));
                }
                let excess = true_peak - LIMIT;
                if excess <= 0.0 {
                    continue;
                }
                if let Some(made) = tried.quieter(excess) {
                    tried.made = made.map_err(|error| spot.failed(&error))?;
                    tried.times += 1;
                    is_too_high = true;
                }
            }
        }
        if !is_too_high {
            for (i, j, loudness, true_peak) in found {
                if let Some(tried) = &tries[i][j] {
                    tried.leveled.came_out(tried.made.heard(loudness, true_peak));
                }
            }
            return Ok(coded);
        }
        drop(spots);
        for (ads, tries) in ads.iter_mut().zip(&tries) {
            for (ad, tried) in ads.iter_mut().zip(tries) {
                if let Some(tried) = tried.as_ref().filter(|tried| tried.times > 0) {
                    ad.pcm = Pcm::clone(&tried.made.pcm);
                }
            }
        }
    }
}

/// What [`measure`] finds, or found before.
fn measured(
    coded: &impl Coded,
    place: &Range<usize>,
    profile: Profile,
    asked: (usize, bool),
) -> Result<(Option<f64>, f64), SpliceError> {
    if coded.packets().is_empty() {
        return measure(coded, place, profile, asked);
    }
    let about = ("peaks", place, (profile.sample_rate, profile.channels), asked);
    // Of what it was coded from no more is looked at.
    let channels = usize::from(profile.channels);
    let given = coded.given().get(place.start * channels..place.end * channels);
    let given = given.unwrap_or(coded.given());
    let (loudness, true_peak) = or_found(&about, coded.packets(), given, || {
        let (loudness, true_peak) = measure(coded, place, profile, asked)?;
        Ok::<_, SpliceError>((loudness.map(f64::to_bits), true_peak.to_bits()))
    })?;
    Ok((loudness.map(f64::from_bits), f64::from_bits(true_peak)))
}

/// Loudness, if it is asked for, and true peak of what an ad became. At its ends, in which content fades, only what coding made too high counts.
fn measure(
    coded: &impl Coded,
    place: &Range<usize>,
    profile: Profile,
    (fade, asks_loudness): (usize, bool),
) -> Result<(Option<f64>, f64), SpliceError> {
    let failed = |error: LoudnessError| SpliceError::Unsupported(error.to_string());
    let channels = usize::from(profile.channels);
    let mut loudness = Meter::of_loudness(profile).map_err(failed)?;
    let fade = fade.min(place.len() / 2);
    let parts = [
        place.start..place.start + fade,
        place.start + fade..place.end - fade,
        place.end - fade..place.end,
    ];
    let mut peaks = [(); 3].map(|()| PeakMeter::above(profile, LIMIT));
    let mut at = place.start;
    while at < place.end {
        let end = (at + AT_ONCE / channels).min(place.end);
        let samples = coded.became(at..end)?;
        if asks_loudness {
            loudness.add(&samples);
        }
        for (part, peak) in parts.iter().zip(&mut peaks) {
            let within = at.max(part.start)..end.min(part.end);
            if !within.is_empty() {
                let within =
                    (within.start - at) * channels..((within.end - at) * channels).min(samples.len());
                peak.add(samples.get(within).unwrap_or_default());
            }
        }
        at = end;
    }
    let is_contents = |part: &Range<usize>| {
        let mut peak = PeakMeter::above(profile, LIMIT);
        let given = part.start * channels..part.end * channels;
        peak.add(coded.given().get(given).unwrap_or_default());
        peak.true_peak() > LIMIT
    };
    let [head, inner, tail] = [0, 1, 2].map(|part| (peaks[part].true_peak(), &parts[part]));
    let ends = [head, tail].into_iter();
    let ends = ends.filter(|(peak, part)| *peak > LIMIT && !is_contents(part));
    let peak = ends.map(|(peak, _)| peak).fold(inner.0, f64::max);
    Ok((loudness.loudness(), peak))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;
    use crate::creatives::{Cache, Creative, FetchLimits, Told};
    use crate::cues::BreakLoudness;
    use crate::loudness::{CEILING, measure};
    use crate::plan::Steps;
    use crate::splice::format::{Frames, Place, Spliced, Stream, Track};
    use crate::splice::{At, Break, Codec};

    const RATE: u32 = 48_000;
    const PROFILE: Profile = Profile {
        sample_rate: RATE,
        channels: 1,
    };

    /// Ten seconds of silence that can be cut anywhere.
    struct Silence;

    impl Track for Silence {
        fn stream(&self) -> Stream {
            Stream {
                codec: Codec::Mp3,
                sample_rate: RATE,
                channels: 1,
                samples: u64::from(10 * RATE),
            }
        }

        fn frames(&self) -> Frames {
            Frames {
                count: u64::from(10 * RATE),
                steps: Steps::ANY,
                start: 0,
                bit_rate: None,
            }
        }

        fn place(&self, sample: u64) -> Result<Place, SpliceError> {
            Ok(Place {
                frame: sample,
                offset: sample,
            })
        }

        fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
            Ok(vec![0.0; (range.end - range.start) as usize])
        }

        fn splice(&self, _: &Layout<'_>) -> Result<Spliced, SpliceError> {
            Err(SpliceError::Unsupported("nothing is spliced here".into()))
        }
    }

    /// Four seconds of a tone of -20 dBFS, in the second half with a short peak of about -1 now and then.
    fn creative(cache: &Cache) -> Creative {
        let sound: Vec<f32> = (0..4 * RATE)
            .map(|i| {
                let tone = 0.1 * (i as f32 * 0.05).sin();
                let peak = if i > 2 * RATE && i % 12_000 < 40 {
                    0.8 * (i as f32 * 0.4).sin()
                } else {
                    0.0
                };
                tone + peak
            })
            .collect();
        let source = cache.dir().join("source");
        std::fs::write(&source, "an ad").unwrap();
        let original = cache.import(&source, FetchLimits::default()).unwrap();
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
        cache.keep_conditioned(&original, PROFILE, aside, told).unwrap()
    }

    /// What a coder makes that puts a click into the middle.
    struct Clicked {
        places: Places,
        given: Vec<f32>,
        samples: Vec<f32>,
    }

    impl Coded for Clicked {
        fn places(&self) -> &Places {
            &self.places
        }

        fn given(&self) -> &[f32] {
            &self.given
        }

        fn packets(&self) -> &[Vec<u8>] {
            &[]
        }

        fn became(&self, range: Range<usize>) -> Result<Vec<f32>, SpliceError> {
            Ok(self.samples[range].to_vec())
        }
    }

    /// Samples of a fade.
    const FADE: usize = 240;

    /// Has such a coder code the ad; how high its click is follows from how loud the tone is. Gives what came of it, the peak of what was coded last in dBTP, and how often it was coded.
    fn coded(click: impl Fn(f32) -> f32) -> (crate::loudness::Applied, f64, usize) {
        coded_with(None, click)
    }

    /// The same with the click in the ad's last fade, where content of this amplitude fades in.
    fn coded_with(
        content: Option<f32>,
        click: impl Fn(f32) -> f32,
    ) -> (crate::loudness::Applied, f64, usize) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), Cache::DEFAULT_MAX_BYTES).unwrap();
        let leveled = Leveled::new(creative(&cache), BreakLoudness::AsIs, None);
        leveled.level(None, CEILING).unwrap();
        let breaks = [Break {
            at: At::Start,
            replace: Duration::ZERO,
            ads: vec![Ad {
                id: "ad".into(),
                pcm: leveled.clone().into(),
                picture: None,
            }],
        }];
        let fade = Duration::from_millis(1_000 * FADE as u64 / u64::from(RATE));
        let layout = Layout::new(&breaks, &Silence, fade).unwrap();
        let times = Cell::new(0);
        let made = below_the_limit(&layout, &layout.spots, |spots| {
            times.set(times.get() + 1);
            let mut samples = spots[0].ads[0].pcm.samples().unwrap().into_owned();
            let tone = samples[2_000..10_000]
                .iter()
                .fold(0.0_f32, |most, sample| most.max(sample.abs()));
            let all = samples.len();
            let at = content.map_or(all / 2 + 6_000, |_| all - FADE / 2);
            samples[at] = content.unwrap_or(samples[at]);
            let given = samples.clone();
            samples[at] = click(tone);
            Ok(Clicked {
                places: vec![vec![0..all]],
                given,
                samples,
            })
        });
        let made = made.unwrap();
        let mut peak = PeakMeter::above(PROFILE, LIMIT);
        peak.add(&made.samples);
        (leveled.applied().unwrap(), peak.true_peak(), times.get())
    }

    #[test]
    fn what_a_lower_ceiling_does_not_help_is_turned_down_after_three_tries() {
        // A limiter hardly touches the tone, and so not the click.
        let (applied, peak, times) = coded(|tone| tone * 9.8);
        println!("{applied:?}, {peak:.2} dBTP, coded {times} times");
        assert!(peak <= MAX_TRUE_PEAK, "{peak}");
        assert!(
            (1 + TRIES + 1..=1 + TRIES + MORE_TRIES).contains(&times),
            "{times}"
        );
        assert!(
            applied.gain_db < -0.5 && applied.shortfall_lu > 0.5,
            "{applied:?}"
        );
        assert!((applied.true_peak - peak).abs() < 0.01, "{applied:?}");
    }

    #[test]
    fn what_nothing_helps_is_given_up_and_reported() {
        let (applied, peak, times) = coded(|_| 1.2);
        assert_eq!(times, 1 + TRIES + MORE_TRIES);
        assert!(
            peak > 1.0 && (applied.true_peak - peak).abs() < 0.01,
            "{applied:?}, {peak}"
        );
    }

    #[test]
    fn what_coding_leaves_below_the_limit_is_coded_once() {
        let (applied, peak, times) = coded(|tone| tone);
        assert_eq!(times, 1);
        assert!(
            peak <= MAX_TRUE_PEAK && applied.gain_db.abs() < 1.0,
            "{applied:?}, {peak}"
        );
    }

    #[test]
    fn in_a_fade_only_what_coding_adds_counts() {
        let (applied, peak, times) = coded_with(Some(0.3), |tone| tone * 11.2);
        assert!(times > 1 && peak <= MAX_TRUE_PEAK, "{times}, {peak}");
        assert!(applied.gain_db < -0.5, "{applied:?}");
        // Loud content is as loud as it is.
        let (applied, _, times) = coded_with(Some(1.1), |_| 1.2);
        assert_eq!(times, 1);
        assert!(applied.gain_db.abs() < 1.0, "{applied:?}");
    }
}
