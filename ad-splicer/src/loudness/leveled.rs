//! An ad whose gain is found when its samples are needed: how loud it has to be may depend on content that is read only then.

use std::sync::{Arc, OnceLock};

use super::{Applied, ConditionedError, UNKNOWN, conditioned, from_db, wanted};
use crate::creatives::Creative;
use crate::cues::BreakLoudness;
use crate::pcm::Pcm;

/// See the module documentation. Cheap to clone; what is found of one clone is known of all.
#[derive(Clone, Debug)]
pub struct Leveled(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    creative: Creative,
    loudness: BreakLoudness,
    /// How loud the content around it is, where that was measured before.
    measured: Option<f64>,
    /// The same, once its gain was found, where that followed from it.
    heard: OnceLock<f64>,
    done: OnceLock<Limited>,
    /// What was done in the end, where what came out of coding it was too high.
    coded: OnceLock<Applied>,
}

/// A creative that was brought to a loudness under a ceiling.
#[derive(Clone, Debug)]
pub(crate) struct Limited {
    pub(crate) pcm: Pcm,
    pub(crate) applied: Applied,
    /// In dBTP.
    pub(crate) ceiling: f64,
    /// In LUFS.
    target: f64,
}

impl Limited {
    fn new(creative: &Creative, target: f64, ceiling: f64) -> Result<Self, ConditionedError> {
        let (pcm, applied) = conditioned(creative, target, ceiling)?;
        Ok(Self {
            pcm,
            applied,
            ceiling,
            target,
        })
    }

    /// The same, quieter by so many dB.
    pub(crate) fn turned_down(&self, less: f64) -> Result<Self, ConditionedError> {
        let applied = Applied {
            gain_db: self.applied.gain_db - less,
            true_peak: self.applied.true_peak - less,
            ..self.applied
        };
        Ok(Self {
            pcm: self.pcm.scaled(from_db(-less))?,
            applied: applied.heard(self.applied.loudness.map(|loudness| loudness - less), self.target),
            ..*self
        })
    }

    /// What was done to it, when this is what came out of coding it.
    pub(crate) fn heard(&self, loudness: Option<f64>, true_peak: f64) -> Applied {
        Applied {
            true_peak,
            ..self.applied.heard(loudness, self.target)
        }
    }
}

impl Leveled {
    /// A creative in a break of which the publisher says how loud its ads are, amid content of this loudness in LUFS, where that was measured before.
    pub fn new(creative: Creative, loudness: BreakLoudness, measured: Option<f64>) -> Self {
        Self(Arc::new(Inner {
            creative,
            loudness,
            measured,
            heard: OnceLock::new(),
            done: OnceLock::new(),
            coded: OnceLock::new(),
        }))
    }

    /// What was done to its sound; `None` as long as nobody needed its samples. Where it was coded and made again from less, that is what came out.
    pub fn applied(&self) -> Option<Applied> {
        let coded = self.0.coded.get().copied();
        coded.or_else(|| self.0.done.get().map(|done| done.applied))
    }

    /// What was made of it before it is coded.
    pub(crate) fn limited(&self) -> Option<Limited> {
        self.0.done.get().cloned()
    }

    /// The same under a ceiling that is not that of [`Leveled::level`]. Its own samples stay as they are. Its gain is known.
    ///
    /// # Errors
    /// Those of [`Leveled::level`].
    pub(crate) fn under(&self, ceiling: f64) -> Result<Limited, ConditionedError> {
        let target = self.0.done.get().map_or(UNKNOWN, |done| done.target);
        Limited::new(&self.0.creative, target, ceiling)
    }

    /// Says what was done to it in the end. The first answer stays.
    pub(crate) fn came_out(&self, applied: Applied) {
        let _ = self.0.coded.set(applied);
    }

    /// How loud the content around it is, in LUFS, when that is what it was brought to, or to the nearest that ads are brought to.
    pub fn heard(&self) -> Option<f64> {
        self.0.heard.get().copied()
    }

    /// Whether how loud the content is has to be known first.
    pub(crate) fn asks_content(&self) -> bool {
        self.0.done.get().is_none() && self.0.measured.is_none() && self.0.loudness == BreakLoudness::Content
    }

    /// Finds its gain amid content of this loudness in LUFS, where that was not known before; `None` is silence. Its true peak stays under this ceiling in dBTP. The first answer stays.
    ///
    /// # Errors
    /// When the samples of the creative cannot be read, or what is made of them not be kept.
    pub(crate) fn level(&self, content: Option<f64>, ceiling: f64) -> Result<(), ConditionedError> {
        let Inner {
            creative,
            loudness,
            measured,
            heard,
            done,
            ..
        } = self.0.as_ref();
        if done.get().is_none() {
            let content = measured.or(content);
            if let (BreakLoudness::Content, Some(content)) = (loudness, content) {
                // Another thread may have been as quick, with the same result.
                let _ = heard.set(content);
            }
            let target = wanted(*loudness, creative, content);
            // Another thread may have been as quick, with the same result.
            let _ = done.set(Limited::new(creative, target, ceiling)?);
        }
        Ok(())
    }

    /// How many samples there are, of all channels.
    pub(crate) fn len(&self) -> usize {
        self.0.creative.samples as usize * usize::from(self.0.creative.profile.channels)
    }

    /// Its samples, once its gain is known.
    pub(crate) fn pcm(&self) -> Option<&Pcm> {
        self.0.done.get().map(|done| &done.pcm)
    }
}
