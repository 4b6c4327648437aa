//! The child that codes for bridges: reads tasks from standard input, does some at a time, and writes what came of them to standard output.
//!
//! As in conditioning, order matters: everything is loaded that tasks of its kind need, then the process is shut in, and only then a byte of anybody's media is read.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::num::NonZero;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::apart::{AT_ONCE, Refusal};
use super::task::{Kind, Media, Task};
use super::wire::{self, Most};
use crate::sandbox::{self, Bounds};

/// After so long without anything to do it ends.
const IDLE: Duration = Duration::from_secs(10);
/// Writable memory; pictures of content that is coded again may be large ones.
const MEMORY: u64 = 2 << 30;
/// Processor time: more than anybody waits for.
const CPU_SECONDS: u64 = 6 * 3600;
/// Files that may be open: pipelines wake their threads by some.
const OPEN_FILES: u64 = 512;
/// The longest file that may be written: none is, as pipes are no files, but libraries may want one in memory for code that they make.
const OUTPUT_BYTES: u64 = 1 << 20;

/// The whole life of such a child, from the argument after its mark.
pub(crate) fn main(kind: &str) -> ExitCode {
    let Ok(kind) = serde_json::from_str(kind) else {
        eprintln!("this command is started by the program itself only");
        return ExitCode::from(2);
    };
    if let Err(error) = ready(kind) {
        let refusal = Some(Refusal::Setup(error.to_string()));
        // Who does not hear it sees how the process ends.
        let _ = wire::write(&mut io::stdout(), 0, &refusal, None);
        return ExitCode::FAILURE;
    }
    // Not by `Stdout`, which looks for the ends of lines.
    let Ok(stdout) = io::stdout().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let output = BufWriter::with_capacity(AT_ONCE, File::from(stdout));
    let mut input = BufReader::with_capacity(AT_ONCE, io::stdin().lock());
    let work = Work::default();
    thread::scope(|scope| {
        scope.spawn(|| end_when_idle(&work));
        serve(&mut input, output, &work, |code| std::process::exit(code));
    });
    ExitCode::SUCCESS
}

/// Loads what is needed, and shuts the process in.
fn ready(kind: Kind) -> Result<(), Box<dyn std::error::Error>> {
    gst::init()?;
    for name in kind.elements().iter().chain(&["pipeline", "appsrc", "appsink"]) {
        let find = || gst::ElementFactory::find(name);
        // It may have been installed since the list of plugins was made.
        let factory = find().or_else(|| gst::Registry::update().ok().and_then(|()| find()));
        let factory = factory.ok_or_else(|| format!("GStreamer has no element `{name}`"))?;
        factory
            .load()
            .map_err(|error| format!("cannot load the GStreamer element {name}: {error}"))?;
    }
    sandbox::limit(&Bounds {
        memory: MEMORY,
        cpu_seconds: CPU_SECONDS,
        open_files: OPEN_FILES,
        output_bytes: OUTPUT_BYTES,
    })?;
    sandbox::shut_in()
}

/// How much there was to do, and how much of it is done.
#[derive(Default)]
struct Work {
    begun: AtomicU64,
    done: AtomicU64,
}

/// How many tasks are done at once.
pub(super) fn at_once() -> usize {
    let processors = thread::available_parallelism().map_or(4, NonZero::get);
    processors.clamp(4, 8)
}

/// Does what `input` asks for, some at a time, and says how the input ended, at once: what is not done then is of no use to anybody. Returns when that is done, if it may.
fn serve(input: &mut impl Read, output: impl Write + Send, work: &Work, ended: impl FnOnce(i32)) {
    let (give, taken) = sync_channel::<(u64, Task, Media<'static>)>(0);
    let taken = Mutex::new(taken);
    let out = Mutex::new(output);
    thread::scope(|scope| {
        for _ in 0..at_once() {
            scope.spawn(|| {
                loop {
                    let next = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, task, media)) = next else { break };
                    let (refusal, media) = match done(&task, media) {
                        Ok(media) => (None, Some(media)),
                        Err(refusal) => (Some(refusal), None),
                    };
                    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
                    if wire::write(&mut *out, number, &refusal, media.as_ref()).is_err() {
                        // Nobody is there any more.
                        std::process::exit(0);
                    }
                    work.done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        loop {
            match wire::read::<Task>(input, |_| Some(Most::ALL)) {
                Ok(Some((number, task, Some(media)))) => {
                    work.begun.fetch_add(1, Ordering::SeqCst);
                    // The workers wait as long as this loop lasts.
                    let _ = give.send((number, task, media));
                }
                // The program is gone.
                Ok(None) => break ended(0),
                Ok(Some(_)) | Err(_) => break ended(1),
            }
        }
        drop(give);
    });
}

/// What came of a task. A panic is one that failed: who asked waits for an answer, and the workers are needed for others.
fn done(task: &Task, media: Media<'static>) -> Result<Media<'static>, Refusal> {
    let made = catch_unwind(AssertUnwindSafe(|| task.run(media)));
    match made {
        Ok(made) => made.map_err(Refusal::from),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
            let said = said.unwrap_or("for a reason that is not known");
            Err(Refusal::Failed(format!("it panicked: {said}")))
        }
    }
}

/// Ends the process when there was nothing to do for a while.
fn end_when_idle(work: &Work) {
    let mut before = None;
    loop {
        thread::sleep(IDLE);
        let (done, begun) = (
            work.done.load(Ordering::SeqCst),
            work.begun.load(Ordering::SeqCst),
        );
        let now = (begun, done);
        if before == Some(now) && done == begun {
            std::process::exit(0);
        }
        before = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_panics_is_answered_and_what_comes_after_it_too() {
        const COUNT: u64 = 30;
        // No sound has no channels.
        let task = Task::VorbisEncode {
            rate: 48_000,
            channels: 0,
        };
        let mut asked = Vec::new();
        for number in 1..=COUNT {
            wire::write(&mut asked, number, &task, Some(&Media::clip(&[0.5; 100]))).unwrap();
        }
        let (mut answers, work, mut code) = (Vec::new(), Work::default(), None);
        serve(&mut &asked[..], &mut answers, &work, |ended| code = Some(ended));
        assert_eq!(code, Some(0));
        let mut answers = &answers[..];
        let mut numbers = Vec::new();
        while let Some((number, refusal, None)) =
            wire::read::<Option<Refusal>>(&mut answers, |_| Some(Most::ALL)).unwrap()
        {
            let said = match refusal {
                Some(Refusal::Failed(said)) => said,
                other => panic!("{other:?}"),
            };
            assert!(said.contains("panicked"), "{said}");
            numbers.push(number);
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=COUNT).collect::<Vec<_>>());
        assert_eq!(work.done.into_inner(), COUNT);
    }
}
