//! An ad whose gain is found when its samples are needed: how loud it has to be may depend on content that is read only then.

use std::sync::{Arc, OnceLock};

use super::{Applied, ConditionedError, conditioned, wanted};
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
    /// How loud the content around it is, where that matters.
    heard: OnceLock<f64>,
    done: OnceLock<(Pcm, Applied)>,
}

impl Leveled {
    /// A creative in a break of which the publisher says how loud its ads are.
    pub fn new(creative: Creative, loudness: BreakLoudness) -> Self {
        Self(Arc::new(Inner {
            creative,
            loudness,
            heard: OnceLock::new(),
            done: OnceLock::new(),
        }))
    }

    /// What was done to its sound; `None` as long as nobody needed its samples.
    pub fn applied(&self) -> Option<Applied> {
        self.0.done.get().map(|(_, applied)| *applied)
    }

    /// How loud the content around it is, in LUFS, when that is what it was brought to, or to the nearest that ads are brought to.
    pub fn heard(&self) -> Option<f64> {
        self.0.heard.get().copied()
    }

    /// Whether how loud the content is has to be known first.
    pub(crate) fn asks_content(&self) -> bool {
        self.0.done.get().is_none() && self.0.loudness == BreakLoudness::Content
    }

    /// Finds its gain amid content of this loudness in LUFS; `None` is silence. The first answer stays.
    ///
    /// # Errors
    /// When the samples of the creative cannot be read, or what is made of them not be kept.
    pub fn level(&self, content: Option<f64>) -> Result<(), ConditionedError> {
        let Inner {
            creative,
            loudness,
            heard,
            done,
        } = self.0.as_ref();
        if done.get().is_none() {
            if let (BreakLoudness::Content, Some(content)) = (loudness, content) {
                let _ = heard.set(content);
            }
            // Another thread may have been as quick, with the same result.
            let _ = done.set(conditioned(creative, wanted(*loudness, creative, content))?);
        }
        Ok(())
    }

    /// How many samples there are, of all channels.
    pub(crate) fn len(&self) -> usize {
        self.0.creative.samples as usize * usize::from(self.0.creative.profile.channels)
    }

    /// Its samples, once its gain is known.
    pub(crate) fn pcm(&self) -> Option<&Pcm> {
        self.0.done.get().map(|(pcm, _)| pcm)
    }
}
