//! Creatives: the ads' media files as they came, and as they were conditioned.
//!
//! Not for: keeping them (`cache`), choosing which media file of an ad to fetch (that is `decide`), or decoding (that is `conditioning`).

mod cache;
mod recent;
mod stated;

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::cache::Cache;
pub(crate) use self::cache::Told;
pub use self::recent::Recent;
use crate::content::FileContent;
use crate::pcm::Pcm;

/// The audio format that creatives are conditioned to: that of the content they go into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Profile {
    /// Samples a second of each channel, of [`Profile::SAMPLE_RATES`].
    pub sample_rate: u32,
    /// Channels: 1 or 2.
    pub channels: u16,
}

impl Profile {
    /// Samples a second that creatives can be made for.
    pub const SAMPLE_RATES: RangeInclusive<u32> = 8_000..=192_000;

    /// Bytes of one second of PCM in this profile.
    pub fn bytes_per_second(self) -> u64 {
        u64::from(self.sample_rate) * self.bytes_per_frame()
    }

    /// Bytes of one sample of every channel.
    pub fn bytes_per_frame(self) -> u64 {
        u64::from(self.channels) * 4
    }

    /// How long `samples` (of each channel) last.
    pub fn duration(self, samples: u64) -> Duration {
        let rate = u64::from(self.sample_rate.max(1));
        let nanos = (samples % rate) * 1_000_000_000 / rate;
        Duration::from_secs(samples / rate) + Duration::from_nanos(nanos)
    }
}

impl std::fmt::Display for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} Hz, {} ch", self.sample_rate, self.channels)
    }
}

/// The SHA-256 of a creative's bytes as they were fetched. Displayed and serialized as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentHash(#[serde(with = "hex::serde")] pub [u8; 32]);

impl ContentHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl std::str::FromStr for ContentHash {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash)?;
        Ok(Self(hash))
    }
}

/// A creative's bytes as they came, in the cache and verified.
#[derive(Debug, Clone)]
pub struct Original {
    /// The SHA-256 of the bytes.
    pub sha256: ContentHash,
    /// How many bytes.
    pub bytes: u64,
    file: Arc<File>,
}

impl Original {
    /// Another handle on the bytes, readable also after the cache dropped the file. Handles share one position.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether its file is cut off, as far as that shows without any length: Ogg that ends within a page.
    pub fn ends_too_early(&self) -> bool {
        let content = self.file().and_then(FileContent::new);
        content.is_ok_and(|content| stated::ends_within_page(&content, Duration::ZERO).unwrap_or(false))
    }

    /// How long its sound is by what an MP4, MP3, FLAC, WAV or WebM file says, or with `seen` the longest of its sound and pictures,
    /// however much of it is there; `None` where nothing says so.
    pub fn stated_length(&self, seen: bool) -> Option<Duration> {
        let content = FileContent::new(self.file().ok()?).ok()?;
        stated::stated_length(&content, seen, Duration::ZERO).ok()?
    }
}

/// A creative in the content's profile: decoded, resampled and measured, before any gain.
#[derive(Debug, Clone)]
pub struct Creative {
    /// The SHA-256 of the original bytes.
    pub sha256: ContentHash,
    /// The format of the samples.
    pub profile: Profile,
    /// Where the PCM is: 32-bit float, little-endian, interleaved. The cache may remove it; what [`Creative::pcm`] gives reads on.
    pub path: PathBuf,
    /// Samples of each channel.
    pub samples: u64,
    /// Gated loudness (ITU-R BS.1770) in LUFS; `None` when there is nothing above the gate (silence).
    pub loudness: Option<f64>,
    /// True peak in dBTP; `f64::NEG_INFINITY` for digital silence.
    pub true_peak: f64,
    /// Size of the original, in bytes.
    pub bytes: u64,
    /// How much later than its pictures its sound begins. What is only heard begins with the sound.
    pub later: Duration,
    file: Arc<File>,
}

impl Creative {
    /// How long the ad is.
    pub fn duration(&self) -> Duration {
        self.profile.duration(self.samples)
    }

    /// Samples of silence before its sound, where it is seen too.
    pub(crate) fn silence_before(&self) -> u64 {
        let samples = self.later.as_nanos() * u128::from(self.profile.sample_rate) / 1_000_000_000;
        u64::try_from(samples).unwrap_or(u64::MAX)
    }

    /// All samples, interleaved, each multiplied with `factor`; they stay in the file until they are needed.
    pub fn pcm(&self, factor: f32) -> Pcm {
        let count = self.samples as usize * usize::from(self.profile.channels);
        Pcm::filed(Arc::clone(&self.file), count, factor)
    }

    /// Whether the ad lasts as long as the ad response declared. Durations in VAST are often rounded to whole seconds,
    /// so a difference of up to one second is agreement; more is VAST error 202.
    pub fn agrees_with(&self, declared: Duration) -> bool {
        self.duration().abs_diff(declared) <= Duration::from_secs(1)
    }
}

/// Why a creative could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Only `http` and `https` are fetched.
    #[error("cannot fetch the creative {url}: only http and https URLs are fetched")]
    Scheme {
        /// What was asked for.
        url: String,
    },
    /// The server answered with something else than 200.
    #[error("cannot fetch the creative {url}: the server answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// It took longer than allowed.
    #[error("cannot fetch the creative {url}: not complete after {} s", limit.as_secs_f64())]
    TimedOut {
        /// What was asked for.
        url: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The address is not allowed, or the transfer failed.
    #[error("cannot fetch the creative: {0}")]
    Gate(#[from] gate::Error),
    /// It is larger than allowed; the transfer was stopped there.
    #[error("cannot use the creative {source_name}: it is larger than {max} bytes")]
    TooLarge {
        /// A URL or a path.
        source_name: String,
        /// The limit, in bytes.
        max: u64,
    },
    /// There are no bytes.
    #[error("cannot use the creative {source_name}: it is empty")]
    Empty {
        /// A URL or a path.
        source_name: String,
    },
    /// It is not what the ad response promised.
    #[error(
        "cannot use the creative {source_name}: its SHA-256 is {actual}, the ad response said {expected}"
    )]
    Hash {
        /// A URL or a path.
        source_name: String,
        /// What was promised.
        expected: ContentHash,
        /// What came.
        actual: ContentHash,
    },
    /// The creative is a local file, which cannot be read.
    #[error("cannot read the creative {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The cache's folder could not be read or written.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl FetchError {
    /// What is wrong, for who knows which creative it is.
    pub fn reason(&self) -> String {
        match self {
            Self::Scheme { .. } => "only http and https URLs are fetched".into(),
            Self::Status { status, .. } => format!("the server answered {status}"),
            Self::TimedOut { limit, .. } => format!("it was not complete after {} s", limit.as_secs_f64()),
            Self::Gate(error) => error.to_string(),
            Self::TooLarge { max, .. } => format!("it is larger than {max} bytes"),
            Self::Empty { .. } => "it is empty".into(),
            Self::Hash { expected, actual, .. } => {
                format!("its SHA-256 is {actual}, the ad response said {expected}")
            }
            Self::Read { source, .. } => format!("it cannot be read: {source}"),
            Self::Io { .. } => self.to_string(),
        }
    }

    /// Whether it is the creative, or what was said of it, that is wrong, and not the folder where it is kept.
    pub fn is_of_creative(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }

    /// The VAST error code to report (VAST 4.2 §2.3.6.3): 401 not found or refused, 402 timeout, 405 undecodable,
    /// 400 anything else.
    pub fn vast_code(&self) -> u16 {
        match self {
            Self::TimedOut { .. } | Self::Gate(gate::Error::Timeout { .. }) => 402,
            Self::Empty { .. } => 405,
            Self::Gate(gate::Error::TooLong { .. })
            | Self::Scheme { .. }
            | Self::TooLarge { .. }
            | Self::Hash { .. }
            | Self::Read { .. }
            | Self::Io { .. } => 400,
            Self::Status { .. } | Self::Gate(_) => 401,
        }
    }
}

/// What fetching one creative may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Largest size in bytes.
    pub max_bytes: u64,
    /// Longest time from the request to the last byte.
    pub timeout: Duration,
}

impl Default for FetchLimits {
    /// 64 MiB, 30 s.
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            timeout: Duration::from_secs(30),
        }
    }
}
