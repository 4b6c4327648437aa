//! Conditioning: making a creative match the content's rate and channels, in a child process that is shut in.
//!
//! A creative is a stranger's file and decoders are C; so the program starts itself again ([`crate::child_main`]) with the
//! creative as standard input and a file for the samples as standard output, and nothing else of value. The child
//! limits itself before it reads a byte: memory, processor time, open files, size of what it writes; it cannot open
//! files, connect, or start programs (`sandbox`). The parent holds the wall clock and believes nothing: it counts,
//! bounds and measures the samples itself. Whatever a creative does to its decoder, the answer here is a
//! [`ConditionError`] in bounded time.
//!
//! Sound and pictures are two jobs for two children: what goes into audio never meets a decoder of pictures. Pictures come
//! out coded ([`crate::picture`]); of what the child wrote only whole slices are kept.
//!
//! Not for: loudness (see `loudness`; samples are kept as they were mixed).

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;

use crate::again::{Heard, Pause, Target, aac_alone};
use crate::content::FileContent;
use crate::creatives::{Cache, Creative, FetchError, Original, Profile, Told};
use crate::frames::mp3::{DECODER_DELAY, find_head};
use crate::loudness::{LoudnessError, Measured, Meter};
use crate::pcm::read_sample;
use crate::picture::CardError;
use crate::splice::SpliceError;
use crate::this_program;

mod again;
mod allowed;
mod begins;
mod child;
mod decoded;
mod gaps;
mod job;
mod pauses;
mod pictures;
mod unusable;

pub(crate) use child::main as child_main;
use job::{Job, Report, Trim};
use pictures::Held;
pub use pictures::Standing;

/// What conditioning one creative may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Writable memory of the child, in bytes (`RLIMIT_DATA`).
    pub memory: u64,
    /// Processor time of the child; whole seconds.
    pub cpu: Duration,
    /// Time from start to end, after which the child is killed.
    pub wall: Duration,
    /// The longest ad, in whole seconds; a longer one is refused.
    pub duration: Duration,
    /// Files that the child may have open.
    pub open_files: u64,
}

impl Default for Limits {
    /// 512 MiB, 20 s of processor, 30 s of time, ads of up to 10 minutes.
    fn default() -> Self {
        Self {
            memory: 512 << 20,
            cpu: Duration::from_secs(20),
            wall: Duration::from_secs(30),
            duration: Duration::from_secs(600),
            open_files: 64,
        }
    }
}

/// Why a creative could not be conditioned.
#[derive(Debug, thiserror::Error)]
pub enum ConditionError {
    /// It is no media file that is understood, or it is damaged beyond use.
    #[error("cannot decode the creative {creative}: {reason}")]
    Undecodable {
        /// SHA-256 of the creative.
        creative: String,
        /// What the decoder said.
        reason: String,
    },
    /// It is in a format, or has something, that ads cannot have.
    #[error("cannot use the creative {creative}: {what}")]
    Unsupported {
        /// SHA-256 of the creative.
        creative: String,
        /// What it is.
        what: String,
    },
    /// It has no audio, or none of it came out.
    #[error("cannot use the creative {creative}: it has no audio")]
    NoAudio {
        /// SHA-256 of the creative.
        creative: String,
    },
    /// It has no pictures, or none that can be decoded.
    #[error("cannot use the creative {creative} in video: it has no pictures")]
    NoPicture {
        /// SHA-256 of the creative.
        creative: String,
    },
    /// It is longer than an ad may be.
    #[error("cannot use the creative {creative}: it is longer than {} s", limit.as_secs())]
    TooLong {
        /// SHA-256 of the creative.
        creative: String,
        /// The limit.
        limit: Duration,
    },
    /// The decoder did not come to an end.
    #[error("cannot decode the creative {creative}: not done after {} s", limit.as_secs_f64())]
    TimedOut {
        /// SHA-256 of the creative.
        creative: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The decoder crashed, or was stopped by one of its limits.
    #[error("cannot decode the creative {creative}: the decoder was stopped ({how})")]
    Crashed {
        /// SHA-256 of the creative.
        creative: String,
        /// The signal or exit status, and what it was saying.
        how: String,
    },
    /// The content's profile is not one that ads can be made for.
    #[error("cannot condition creatives to {0}")]
    Profile(Profile),
    /// The child could not be started or its output not be read.
    #[error("cannot {doing} for conditioning a creative: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// What is shown instead of pictures could not be made.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The cache's folder could not be used.
    #[error(transparent)]
    Cache(#[from] FetchError),
}

impl ConditionError {
    /// What is wrong, for who knows which creative it is.
    pub fn reason(&self) -> String {
        match self {
            Self::Undecodable { reason, .. } => reason.clone(),
            Self::Unsupported { what, .. } => what.clone(),
            Self::NoAudio { .. } => "it has no audio".into(),
            Self::NoPicture { .. } => "it has no pictures".into(),
            Self::TooLong { limit, .. } => format!("it is longer than {} s", limit.as_secs()),
            Self::TimedOut { limit, .. } => format!("it was not decoded after {} s", limit.as_secs_f64()),
            Self::Crashed { how, .. } => format!("its decoder was stopped ({how})"),
            Self::Cache(error) => error.reason(),
            Self::Profile(_) | Self::Io { .. } | Self::Card(_) => self.to_string(),
        }
    }

    /// Whether it is the creative that is wrong: otherwise it may be good where there is room for its samples, say.
    pub fn is_of_creative(&self) -> bool {
        match self {
            Self::Undecodable { .. }
            | Self::Unsupported { .. }
            | Self::NoAudio { .. }
            | Self::NoPicture { .. }
            | Self::TooLong { .. }
            | Self::TimedOut { .. }
            | Self::Crashed { .. } => true,
            Self::Cache(error) => error.is_of_creative(),
            Self::Profile(_) | Self::Io { .. } | Self::Card(_) => false,
        }
    }

    /// The VAST error code to report (VAST 4.2 §2.3.6.3): 405 when the creative cannot be decoded, 400 when the fault
    /// is not the creative's.
    pub fn vast_code(&self) -> u16 {
        match self {
            Self::Undecodable { .. }
            | Self::Unsupported { .. }
            | Self::NoAudio { .. }
            | Self::NoPicture { .. }
            | Self::TooLong { .. }
            | Self::TimedOut { .. }
            | Self::Crashed { .. } => 405,
            Self::Profile(_) | Self::Io { .. } | Self::Card(_) | Self::Cache(_) => 400,
        }
    }
}

impl From<LoudnessError> for ConditionError {
    fn from(error: LoudnessError) -> Self {
        Self::Profile(error.profile)
    }
}

/// Starts child processes that decode creatives. Clones share one limit of children that run at a time: two, or as many
/// as there are processors up to eight.
#[derive(Debug, Clone)]
pub struct Conditioner {
    program: PathBuf,
    limits: Limits,
    children: Arc<Semaphore>,
    held: Arc<Held>,
}

/// The hidden first argument of a child.
pub(crate) const MARK: &str = "condition-a-creative";
/// How long content may be coded again, in processor time and by the clock; and how many bytes may come out.
const MOST_OF_CONTENT: Duration = Duration::from_secs(6 * 3600);
const MOST_CODED_AGAIN: u64 = 4 << 30;
/// The most that a child may say on standard error; it is killed when it says more.
const MAX_SAID: u64 = 64 << 10;

impl Conditioner {
    /// A conditioner whose children are `program`: an executable that calls [`crate::child_main`] first when [`crate::is_child`]
    /// says so, usually [`crate::this_program`].
    pub fn new(program: PathBuf) -> Self {
        let processors = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
        Self {
            program,
            limits: Limits::default(),
            children: Arc::new(Semaphore::new(processors)),
            held: Arc::default(),
        }
    }

    /// Other limits than the default ones.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// `original` in `profile`, from the cache when it was conditioned before.
    ///
    /// The caller may give up at any time by dropping the future: the child is killed then.
    pub async fn condition(
        &self,
        cache: &Cache,
        original: &Original,
        profile: Profile,
    ) -> Result<Creative, ConditionError> {
        if !Profile::SAMPLE_RATES.contains(&profile.sample_rate) || !(1..=2).contains(&profile.channels) {
            return Err(ConditionError::Profile(profile));
        }
        if let Some(creative) = cache.conditioned(original.sha256, profile) {
            return Ok(creative);
        }
        let turn = self.children.acquire().await;
        let _turn = turn.map_err(|e| io("wait for other creatives")(std::io::Error::other(e)))?;
        // Another break may have wanted the same one, and been first.
        if let Some(creative) = cache.conditioned(original.sha256, profile) {
            return Ok(creative);
        }
        let aside = cache.aside()?;
        let source = source_of(cache, original).await?;
        let later = self.decode(source, original, profile, aside.as_file()).await?;
        let pcm = aside.as_file().try_clone().map_err(io("read the samples"))?;
        let measured = tokio::task::spawn_blocking(move || measure_file(&pcm, profile));
        let (samples, measured) = measured
            .await
            .map_err(|e| io("measure the samples")(std::io::Error::other(e)))??;
        let Measured { loudness, true_peak } = measured;
        let told = Told {
            samples,
            loudness,
            true_peak,
            later,
        };
        Ok(cache.keep_conditioned(original, profile, aside, told)?)
    }

    /// Runs a child that writes the samples of `original` to `output`, from what it is decoded from. Gives how much later than its pictures its sound begins.
    async fn decode(
        &self,
        source: DecodedFrom,
        original: &Original,
        profile: Profile,
        output: &File,
    ) -> Result<Duration, ConditionError> {
        let DecodedFrom {
            file,
            trim,
            pauses,
            later,
        } = source;
        let creative = original.sha256.to_string();
        let max_samples = self.limits.duration.as_secs() * u64::from(profile.sample_rate);
        let job = Job {
            profile,
            picture: None,
            still: None,
            whole: false,
            again: None,
            max_samples,
            trim,
            pauses,
            memory: self.limits.memory,
            cpu_seconds: self.limits.cpu.as_secs().max(1),
            open_files: self.limits.open_files,
            // A second more than is allowed, so that the child can say that there was more.
            output_bytes: (max_samples + u64::from(profile.sample_rate)) * profile.bytes_per_frame(),
        };
        let (samples, told) = self.run(&job, file, &creative, output, self.limits.wall).await?;
        let length = output.metadata().map_err(io("look at the samples"))?.len();
        // Both numbers come from a process that may have been taken over.
        let claimed = samples.checked_mul(profile.bytes_per_frame());
        if claimed != Some(length) || samples == 0 || samples > max_samples {
            return Err(ConditionError::Crashed {
                creative,
                how: format!("it wrote {length} bytes and said {samples} samples"),
            });
        }
        // What nobody would wait for is no beginning.
        Ok(Some(later.unwrap_or(told))
            .filter(|later| *later < self.limits.duration)
            .unwrap_or_default())
    }

    /// Codes all sound or all pictures of content again, into an empty file of its own.
    ///
    /// The caller may give up at any time by dropping the future: the child is killed then.
    pub async fn code_again(
        &self,
        content: &File,
        name: &str,
        target: Target,
        output: &File,
    ) -> Result<(), ConditionError> {
        let (picture, again) = match target {
            Target::Pictures(format) => (Some(format), None),
            sound => (None, Some(sound)),
        };
        let job = Job {
            profile: Profile {
                sample_rate: 48_000,
                channels: 2,
            },
            picture,
            still: None,
            whole: picture.is_some(),
            again,
            max_samples: u64::MAX,
            trim: None,
            pauses: Vec::new(),
            memory: self.limits.memory,
            cpu_seconds: MOST_OF_CONTENT.as_secs(),
            open_files: self.limits.open_files,
            output_bytes: MOST_CODED_AGAIN,
        };
        let input = content.try_clone().map_err(io("open the content"))?;
        self.run(&job, input, name, output, MOST_OF_CONTENT).await?;
        Ok(())
    }

    /// Runs a child on a file, which writes to `output`; gives how many samples or pictures it says that there are, and how much later than pictures sound begins.
    async fn run(
        &self,
        job: &Job,
        input: File,
        name: &str,
        output: &File,
        wall: Duration,
    ) -> Result<(u64, Duration), ConditionError> {
        let creative = name.to_owned();
        let mut command = tokio::process::Command::from(this_program::command(&self.program));
        command
            .args(job.to_args())
            .stdin(input)
            .stdout(output.try_clone().map_err(io("open the file of samples"))?)
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(io("start the decoder"))?;
        let stderr = child.stderr.take();
        let run = async {
            let mut said = Vec::new();
            if let Some(stderr) = stderr {
                let mut bounded = stderr.take(MAX_SAID);
                bounded
                    .read_to_end(&mut said)
                    .await
                    .map_err(io("hear the decoder"))?;
            }
            if said.len() as u64 >= MAX_SAID {
                child.start_kill().map_err(io("stop the decoder"))?;
            }
            let status = child.wait().await.map_err(io("wait for the decoder"))?;
            Ok::<_, ConditionError>((said, status))
        };
        let ended = tokio::time::timeout(wall, run).await;
        let Ok(ended) = ended else {
            child.kill().await.map_err(io("stop the decoder"))?;
            return Err(ConditionError::TimedOut {
                creative,
                limit: wall,
            });
        };
        let (said, status) = ended?;
        let said = String::from_utf8_lossy(&said);
        match Report::from_lines(&said) {
            Some(Report::Done { samples, later }) if status.success() => {
                Ok((samples, Duration::from_nanos(later)))
            }
            Some(Report::Unsupported { what }) => Err(ConditionError::Unsupported { creative, what }),
            Some(Report::NoPicture) => Err(ConditionError::NoPicture { creative }),
            Some(Report::NoAudio) => Err(ConditionError::NoAudio { creative }),
            Some(Report::TooLong) => Err(ConditionError::TooLong {
                creative,
                limit: self.limits.duration,
            }),
            Some(Report::Undecodable { reason }) => Err(ConditionError::Undecodable { creative, reason }),
            Some(Report::Full) => Err(io("write what is made")(ErrorKind::StorageFull.into())),
            Some(Report::Setup { reason }) => Err(ConditionError::Io {
                doing: "set up the decoder",
                source: std::io::Error::other(reason),
            }),
            _ => Err(ConditionError::Crashed {
                creative,
                how: describe(status, &said),
            }),
        }
    }
}

/// What a creative's samples are decoded from.
struct DecodedFrom {
    file: File,
    /// Which of them are the ad's.
    trim: Option<Trim>,
    /// Silence within that.
    pauses: Vec<Pause>,
    /// How much later than pictures they begin, where who decodes them cannot see it.
    later: Option<Duration>,
}

async fn source_of(cache: &Cache, original: &Original) -> Result<DecodedFrom, ConditionError> {
    let whole = original.file().map_err(io("open the creative"))?;
    let aside = cache.aside()?.into_file();
    let found = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
        let content = FileContent::new(whole.try_clone()?)?;
        match aac_alone(&content, &aside) {
            Ok(Some(heard)) => {
                let Heard {
                    rate,
                    skip,
                    keep,
                    pauses,
                    later,
                } = heard;
                let keep = Some(keep);
                return Ok(DecodedFrom {
                    file: aside,
                    trim: Some(Trim { rate, skip, keep }),
                    pauses,
                    later: Some(later),
                });
            }
            Err(SpliceError::Write(error)) => return Err(error),
            // What makes no sense is left to the demuxer.
            Ok(None) | Err(_) => {}
        }
        let trim = trim_of(&whole);
        Ok(DecodedFrom {
            file: whole,
            trim,
            pauses: Vec::new(),
            later: None,
        })
    });
    found
        .await
        .map_err(|e| io("look at the creative")(std::io::Error::other(e)))?
        .map_err(io("look at the creative"))
}

/// What the file's LAME tag says, when it is an MP3 file that has one: GStreamer leaves delay and padding in. Containers of
/// other formats but MP4 tell the decoder themselves.
fn trim_of(creative: &File) -> Option<Trim> {
    let content = FileContent::new(creative.try_clone().ok()?).ok()?;
    let head = find_head(&content, Duration::ZERO).ok()??;
    let xing = head.info?.xing;
    let gapless = xing.gapless()?;
    let (delay, padding) = (u64::from(gapless.delay), u64::from(gapless.padding));
    let decoded = xing
        .frames
        .map(|frames| u64::from(frames) * u64::from(head.header.samples()));
    let keep = decoded.and_then(|decoded| decoded.checked_sub(delay + padding));
    Some(Trim {
        rate: head.header.sample_rate(),
        skip: delay + u64::from(DECODER_DELAY),
        keep: keep.filter(|keep| *keep > 0),
    })
}

/// How many samples of each channel `pcm` holds, and how loud they are.
fn measure_file(pcm: &File, profile: Profile) -> Result<(u64, Measured), ConditionError> {
    let mut meter = Meter::new(profile)?;
    let frame = profile.bytes_per_frame() as usize;
    let mut bytes = vec![0; frame << 13];
    let mut samples = Vec::with_capacity(bytes.len() / 4);
    let mut at = 0;
    loop {
        let mut filled = 0;
        while filled < bytes.len() {
            let n = pcm
                .read_at(&mut bytes[filled..], at + filled as u64)
                .map_err(io("read the samples"))?;
            if n == 0 {
                break;
            }
            filled += n;
        }
        if filled == 0 {
            return Ok((at / frame as u64, meter.measured()));
        }
        samples.clear();
        samples.extend(bytes[..filled].chunks_exact(4).map(read_sample));
        meter.add(&samples);
        at += filled as u64;
    }
}

fn io(doing: &'static str) -> impl Fn(std::io::Error) -> ConditionError {
    move |source| ConditionError::Io { doing, source }
}

/// A sentence about a child that ended without a report.
fn describe(status: ExitStatus, said: &str) -> String {
    let how = match status.signal() {
        Some(libc::SIGXCPU) => "out of processor time".to_owned(),
        Some(libc::SIGXFSZ) => "out of room for samples".to_owned(),
        Some(libc::SIGKILL) => "killed".to_owned(),
        Some(signal) => format!("signal {signal}"),
        None => format!("exit status {}", status.code().unwrap_or(-1)),
    };
    match said.lines().rfind(|line| !line.trim().is_empty()) {
        Some(last) => format!("{how}; {}", last.chars().take(200).collect::<String>()),
        None => how,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// An MP3 file of an information frame and one of audio, 128 kb/s, delay 576, padding 1080.
    fn mp3(mono: bool, frames: Option<u32>, encoder: &[u8; 9]) -> Vec<u8> {
        let header = [0xff, 0xfb, 0x90, if mono { 0xc0 } else { 0x44 }];
        let mut file = header.to_vec();
        file.resize(4 + if mono { 17 } else { 32 }, 0);
        file.extend(b"Info");
        file.extend([0, 0, 0, if frames.is_some() { 0x0f } else { 0x0e }]);
        file.extend(frames.map_or(vec![], |f| f.to_be_bytes().to_vec()));
        file.extend([0; 108]);
        file.extend(encoder);
        file.extend([0; 12]);
        file.extend([0x24, 0x04, 0x38]);
        file.resize(417, 0);
        file.extend(header);
        file.resize(2 * 417, 0);
        file
    }

    #[test]
    fn encoder_delay_and_padding_are_left_out_when_they_are_declared() {
        let whole = Trim {
            rate: 44_100,
            skip: 1105,
            keep: Some(78 * 1152 - 576 - 1080),
        };
        let unknown = Trim { keep: None, ..whole };
        let tagged = [
            b"ID3\x04\0\0\0\0\0\x05hello".to_vec(),
            mp3(false, Some(78), b"LAME3.100"),
        ]
        .concat();
        let cases = [
            ("stereo", mp3(false, Some(78), b"LAME3.100"), Some(whole)),
            ("mono", mp3(true, Some(78), b"Lavc59.37"), Some(whole)),
            ("after a tag", tagged, Some(whole)),
            (
                "no count of frames",
                mp3(false, None, b"LAME3.100"),
                Some(unknown),
            ),
            (
                "fewer samples than delay and padding",
                mp3(false, Some(1), b"LAME3.100"),
                Some(unknown),
            ),
            ("no encoder", mp3(false, Some(78), &[0; 9]), None),
            ("no MP3", b"RIFF....WAVEfmt ".to_vec(), None),
            ("nothing", vec![], None),
        ];
        for (name, bytes, expected) in cases {
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(&bytes).expect("write");
            assert_eq!(trim_of(&file), expected, "{name}");
        }
    }
}
