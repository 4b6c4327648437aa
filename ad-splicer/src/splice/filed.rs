//! Renditions that go into a file: its parts are written where they belong, in whatever order they are made, so that what is copied does not wait for the bridges, nor they for it.
//!
//! Its room is taken first.
//!
//! What was written is not held any more: tables of MP4 are as long as the file is.
//!
//! The bytes are those that anybody else gets who reads the rendition. A bridge that cannot be made is an error, as in [`super::prepare`]: whoever writes a file can begin again without that break.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{FallocateFlags, copy_file_range, fallocate};
use rustix::io::Errno;

use super::format::{self, Spliced, Track};
use super::later::{self, Made};
use super::layout::Layout;
use super::{Options, Run, Source, SpliceError};
use crate::content::Content;
use crate::side_by_side::at_most;

/// Bytes that are copied at once.
const AT_ONCE: usize = 256 * 1024;
/// The same where the kernel does it.
const BY_KERNEL: usize = 1 << 20;
/// Bridges that are made at a time: each holds the samples of its ads, and its coding has parts that keep processors busy.
const BRIDGES: usize = 2;

/// Makes all bridges of a layout and writes everything, from the beginning of the file on: takes the runs.
pub(super) fn write(
    content: &dyn Content,
    track: &dyn Track,
    layout: &Layout<'_>,
    spliced: &mut Spliced,
    options: &Options,
    out: &File,
) -> Result<Vec<Made>, SpliceError> {
    let runs = std::mem::take(&mut spliced.runs);
    make_room(out, format::len_of(&runs))?;
    let is_bridge = |run: &&Run| matches!(run.source, Source::Bridge { .. });
    let of_bridges: Vec<Run> = runs.iter().filter(is_bridge).cloned().collect();
    // Set by whoever fails: the others need not go on.
    let is_over = AtomicBool::new(false);
    let bridge = |number: usize, len: &u64| {
        if is_over.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let made = later::one(track, layout, number, *len).and_then(|made| {
            put(&of_bridges, number, &made, out)?;
            Ok(Some(made))
        });
        is_over.fetch_or(made.is_err(), Ordering::Relaxed);
        made
    };
    let (copied, made) = thread::scope(|scope| {
        let copying = scope.spawn(|| {
            let copied = copy(content, runs, options, out, &is_over);
            is_over.fetch_or(copied.is_err(), Ordering::Relaxed);
            copied
        });
        let made = at_most(BRIDGES, &spliced.left, bridge);
        let copied = copying.join().unwrap_or_else(|cause| panic::resume_unwind(cause));
        (copied, made)
    });
    copied?;
    let made: Vec<Option<Made>> = made.into_iter().collect::<Result<_, _>>()?;
    Ok(made.into_iter().flatten().collect())
}

/// Takes room for so many bytes, where the file system can: then there is less to do for each byte, and a full disk is seen before anything is done.
fn make_room(out: &File, len: u64) -> Result<(), SpliceError> {
    match fallocate(out, FallocateFlags::empty(), 0, len) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(SpliceError::Write(error.into())),
        // Anything else is found out by writing.
        _ => Ok(()),
    }
}

/// Writes all runs but those of bridges, until it is over; each is let go when it was written.
pub(super) fn copy(
    content: &dyn Content,
    runs: Vec<Run>,
    options: &Options,
    out: &File,
    is_over: &AtomicBool,
) -> Result<(), SpliceError> {
    let mut buffer = vec![0; AT_ONCE];
    for run in runs {
        if let Source::Made(bytes) = &run.source {
            out.write_all_at(bytes, run.start).map_err(SpliceError::Write)?;
            continue;
        }
        let mut done = 0;
        while done < run.len {
            let by_kernel = copied_by_kernel(content, &run, done, out).map(|count| Ok(Some(count)));
            let is_there = by_kernel.is_some();
            let read =
                by_kernel.unwrap_or_else(|| run.read_at(content, done, &mut buffer, options.read_deadline));
            match read {
                // A bridge.
                Ok(None) => break,
                Ok(Some(count)) => {
                    if !is_there {
                        out.write_all_at(&buffer[..count], run.start + done)
                            .map_err(SpliceError::Write)?;
                    }
                    done += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let offset = run.start + done;
                    return Err(SpliceError::Read { offset, source });
                }
            }
            if is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Has the kernel copy some of the content's own bytes, which then need not come through this process; how many. `None` where it cannot, or something is wrong, which is found out by reading and writing.
fn copied_by_kernel(content: &dyn Content, run: &Run, done: u64, out: &File) -> Option<usize> {
    let (Source::Content(from), Some(file)) = (&run.source, content.file()) else {
        return None;
    };
    let (mut from, mut to) = (from + done, run.start + done);
    let count = usize::try_from(run.len - done)
        .unwrap_or(usize::MAX)
        .min(BY_KERNEL);
    let copied = copy_file_range(file, Some(&mut from), out, Some(&mut to), count);
    copied.ok().filter(|count| *count > 0)
}

/// Writes a bridge wherever parts of it stand.
fn put(runs: &[Run], number: usize, made: &Made, out: &File) -> Result<(), SpliceError> {
    for run in runs {
        if let Source::Bridge { number: of, from } = run.source
            && of == number
        {
            let bytes = &made.bytes[from as usize..(from + run.len) as usize];
            out.write_all_at(bytes, run.start).map_err(SpliceError::Write)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::bridge::{aac, mp3};
    use crate::frames::aac::Config;
    use crate::frames::mp3::Header;
    use crate::pcm::Pcm;
    use crate::splice::{Ad, At, Break, prepare_what_fits, write_what_fits};
    use crate::time::ContentTime;

    #[test]
    fn a_file_holds_what_is_read_of_a_rendition_with_the_breaks_that_fit() {
        let tone = |step: f32| move |i: u32| 0.3 * (i as f32 * step).sin();
        let pcm: Vec<f32> = (0..8 * 44_100 * 2).map(tone(0.02)).collect();
        let header = Header::parse([0xFF, 0xFB, 0x90, 0x44]).unwrap();
        let config = Config::lc(44_100, 2).unwrap();
        let packets = aac::encode(config, aac::Coder::Exact, &pcm).unwrap();
        let contents = [
            mp3::encode(header, 128, &pcm, &[]).unwrap().concat(),
            packets.iter().flat_map(|packet| config.adts(packet)).collect(),
        ];
        let given = |at: u64, pcm: Pcm| Break {
            at: At::Time(ContentTime::from_millis(at)),
            replace: Duration::ZERO,
            ads: vec![Ad {
                id: at.to_string(),
                pcm,
                picture: None,
            }],
        };
        let ad = Pcm::from((0..44_100).map(tone(0.05)).collect::<Vec<f32>>());
        let unreadable = Pcm::filed(Arc::new(tempfile::tempfile().unwrap()), 44_100, 1.0);
        let breaks = [
            given(1_500, ad.clone()),
            given(4_017, unreadable),
            given(6_000, ad),
        ];
        let options = Options::default();
        for content in contents {
            let (rendition, left_out) = prepare_what_fits(&content, &breaks, &options).unwrap();
            let mut expected = Vec::new();
            rendition.write_to(&content, &mut expected, &options).unwrap();

            let mut file = tempfile::tempfile().unwrap();
            // What an attempt may leave that got further.
            file.set_len(expected.len() as u64 + 99_999).unwrap();
            let (written, also_left_out) = write_what_fits(&content, &breaks, &options, &file).unwrap();
            let mut found = Vec::new();
            file.read_to_end(&mut found).unwrap();
            assert!(found == expected, "{} bytes, {}", found.len(), expected.len());
            assert_eq!(written.report(), rendition.report());
            assert!(written.runs().is_empty(), "what was written is not held");
            let (plain, _) = write_what_fits(&content, &[], &options, &file).unwrap();
            assert!(plain.runs().is_empty() && plain.len() == content.len() as u64);
            let indices = [&left_out, &also_left_out].map(|left| left[0].0);
            assert_eq!((left_out.len(), also_left_out.len(), indices), (1, 1, [1, 1]));
        }
    }

    #[test]
    fn content_that_is_gone_and_a_file_that_cannot_be_written_are_errors() {
        struct Gone(Vec<u8>, u64);
        impl Content for Gone {
            fn len(&self) -> u64 {
                self.0.len() as u64
            }
            fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
                if offset + buffer.len() as u64 > self.1 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.0.read_at(offset, buffer, deadline)
            }
        }
        // Half a minute of WAV: of that only what is copied is read.
        let samples = vec![1_u8; 30 * 44_100 * 2];
        let len = samples.len() as u32;
        let numbers = |numbers: &[u32]| -> Vec<u8> { numbers.iter().flat_map(|n| n.to_le_bytes()).collect() };
        let content = [
            b"RIFF".to_vec(),
            numbers(&[36 + len]),
            b"WAVEfmt ".to_vec(),
            // PCM of one channel, 16 bits.
            numbers(&[16, 0x1_0001, 44_100, 88_200, 0x10_0002]),
            b"data".to_vec(),
            numbers(&[len]),
            samples,
        ]
        .concat();
        let breaks = [Break {
            at: At::Time(ContentTime::from_millis(3_000)),
            replace: Duration::ZERO,
            ads: vec![Ad {
                id: String::new(),
                pcm: vec![0.1; 44_100].into(),
                picture: None,
            }],
        }];
        let options = Options::default();
        let file = tempfile::tempfile().unwrap();
        let until = content.len() as u64 / 2;
        let gone = write_what_fits(&Gone(content.clone(), until), &breaks, &options, &file);
        assert!(matches!(gone, Err(SpliceError::Read { .. })), "{gone:?}");
        let named = tempfile::NamedTempFile::new().unwrap();
        let read_only = File::open(named.path()).unwrap();
        let unwritten = write_what_fits(&content, &breaks, &options, &read_only);
        assert!(matches!(unwritten, Err(SpliceError::Write(_))), "{unwritten:?}");
    }
}
