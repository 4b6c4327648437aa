//! The pictures of creatives, and what stands for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};

use super::job::Job;
use super::{ConditionError, Conditioner, io};
use crate::creatives::{Cache, ContentHash, Creative, Original, Profile};
use crate::picture::{Picture, PictureFormat};

/// How many times as much processor and time as sound pictures may take.
const COST: u64 = 4;
/// The most bytes of coded pictures.
const MOST_CODED: u64 = 512 << 20;

/// What is seen of a creative that is only heard.
#[derive(Debug)]
pub struct Standing<'a, I> {
    /// Images, of which the first that can be decoded is shown: each is waited for only when it is wanted.
    pub images: I,
    /// Written on a plain card when there is no such image.
    pub name: &'a str,
}

/// Pictures that somebody holds: an ad that plays several times is in memory once.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<HashMap<(ContentHash, String), Weak<Picture>>>);

impl Held {
    fn get(&self, hash: ContentHash, key: &str) -> Option<Arc<Picture>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&(hash, key.to_owned()))?.upgrade()
    }

    fn put(&self, hash: ContentHash, key: &str, picture: Picture) -> Arc<Picture> {
        let picture = Arc::new(picture);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, picture| picture.strong_count() > 0);
        held.insert((hash, key.to_owned()), Arc::downgrade(&picture));
        picture
    }
}

impl Conditioner {
    /// The pictures of `original` in `format`, from the cache when they were conditioned before.
    ///
    /// The caller may give up at any time by dropping the future: the child is killed then.
    pub async fn picture(
        &self,
        cache: &Cache,
        original: &Original,
        format: PictureFormat,
    ) -> Result<Arc<Picture>, ConditionError> {
        self.pictures(cache, original, format, None).await
    }

    /// The pictures of `original`, or so many times the one that it is.
    async fn pictures(
        &self,
        cache: &Cache,
        original: &Original,
        format: PictureFormat,
        still: Option<u32>,
    ) -> Result<Arc<Picture>, ConditionError> {
        let key = match still {
            Some(count) => format!("{}-{count}.seen", format.key()),
            None => format!("{}.seen", format.key()),
        };
        if let Some(held) = self.held.get(original.sha256, &key) {
            return Ok(held);
        }
        let kept = || cache.kept(original.sha256, &key);
        let held = |picture| Ok(self.held.put(original.sha256, &key, picture));
        if let Some(picture) = kept().and_then(|bytes| Picture::parse(&bytes, format)) {
            return held(picture);
        }
        let turn = self.children.acquire().await;
        let _turn = turn.map_err(|e| io("wait for other creatives")(std::io::Error::other(e)))?;
        if let Some(picture) = kept().and_then(|bytes| Picture::parse(&bytes, format)) {
            return held(picture);
        }
        let aside = cache.aside()?;
        let most = self.limits.duration.as_secs() * format.whole_rate();
        let job = Job {
            // Sound is not made.
            profile: Profile {
                sample_rate: 48_000,
                channels: 2,
            },
            picture: Some(format),
            still,
            whole: false,
            again: None,
            max_samples: most,
            trim: None,
            pauses: Vec::new(),
            memory: self.limits.memory,
            cpu_seconds: COST * self.limits.cpu.as_secs().max(1),
            open_files: self.limits.open_files,
            output_bytes: MOST_CODED,
        };
        let wall = COST as u32 * self.limits.wall;
        let input = original.file().map_err(io("open the creative"))?;
        let name = original.sha256.to_string();
        let (count, _) = self.run(&job, input, &name, aside.as_file(), wall).await?;
        let parsed = tokio::task::spawn_blocking(move || {
            let bytes = std::fs::read(aside.path())?;
            Ok::<_, std::io::Error>((Picture::parse(&bytes, format), aside))
        });
        let (picture, aside) = parsed
            .await
            .map_err(|e| io("read the pictures")(std::io::Error::other(e)))?
            .map_err(io("read the pictures"))?;
        let picture = picture.filter(|picture| picture.count() as u64 == count && count <= most);
        let Some(picture) = picture else {
            return Err(ConditionError::Crashed {
                creative: original.sha256.to_string(),
                how: format!("what it wrote is not {count} pictures"),
            });
        };
        cache.keep(original.sha256, &key, aside)?;
        held(picture)
    }

    /// What of `original` goes into content of this sound and these pictures, if it has any: something stands for pictures
    /// that the creative has not, and silence for sound that it has not.
    ///
    /// The caller may give up at any time by dropping the future: the child is killed then.
    pub async fn condition_for(
        &self,
        cache: &Cache,
        original: &Original,
        (profile, pictures): (Profile, Option<PictureFormat>),
        standing: Standing<'_, impl Stream<Item = Original> + Unpin>,
    ) -> Result<(Creative, Option<Arc<Picture>>), ConditionError> {
        let Some(format) = pictures else {
            return Ok((self.condition(cache, original, profile).await?, None));
        };
        let sound = async {
            match self.condition(cache, original, profile).await {
                Err(ConditionError::NoAudio { .. }) => Ok(None),
                heard => heard.map(Some),
            }
        };
        // Side by side; what cannot be heard rightly is not worth waiting for.
        let pictures = async { Ok(self.picture(cache, original, format).await) };
        let (heard, seen) = tokio::try_join!(sound, pictures)?;
        let Some(creative) = heard else {
            let picture = seen?;
            let samples = picture.samples(profile.sample_rate);
            return Ok((cache.silence(original, profile, samples)?, Some(picture)));
        };
        let picture = match seen {
            Err(ConditionError::NoPicture { .. }) => {
                let lasts = creative.duration();
                let picture = self.stand_in(cache, format, standing, lasts).await?;
                return Ok((creative, Some(picture)));
            }
            other => other?,
        };
        // The ad begins with what begins first, and lasts until both are over: without sound, silence is heard, and the splice holds the last picture.
        let (before, samples) = (creative.silence_before(), picture.samples(profile.sample_rate));
        if before > 0 || samples > creative.samples {
            return Ok((cache.padded(&creative, before, samples)?, Some(picture)));
        }
        Ok((creative, Some(picture)))
    }

    /// What is seen for as long as a creative `lasts` that has no pictures.
    async fn stand_in(
        &self,
        cache: &Cache,
        format: PictureFormat,
        Standing { mut images, name }: Standing<'_, impl Stream<Item = Original> + Unpin>,
        lasts: Duration,
    ) -> Result<Arc<Picture>, ConditionError> {
        let count = (lasts.as_secs() + 1) * format.whole_rate();
        while let Some(image) = images.next().await {
            match self.pictures(cache, &image, format, Some(count as u32)).await {
                Ok(picture) => return Ok(picture),
                Err(error) => tracing::info!("an image is not shown: {error}"),
            }
        }
        let name = name.to_owned();
        let card = tokio::task::spawn_blocking(move || Picture::card(format, &name, lasts));
        let card = card
            .await
            .map_err(|e| io("make a card")(std::io::Error::other(e)))?;
        Ok(Arc::new(card?))
    }
}
