//! The child that codes for bridges: reads tasks from standard input, does some at a time, and writes what came of them to standard output.
//!
//! As in conditioning, order matters: everything is loaded that tasks of its kind need, then the process is shut in, and only then a byte of anybody's media is read.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::num::NonZero;
use std::os::fd::AsFd;
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
use super::wire;
use crate::conditioning::sandbox::{self, Bounds};

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
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
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

fn serve() -> io::Result<()> {
    let at_once = thread::available_parallelism()
        .map_or(4, NonZero::get)
        .clamp(4, 8);
    let (give, taken) = sync_channel::<(u64, Task, Media<'static>)>(0);
    let taken = Mutex::new(taken);
    let work = Work::default();
    let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let out = Mutex::new(BufWriter::with_capacity(AT_ONCE, stdout));
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let next = taken.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, task, media)) = next else { break };
                    let made = task.run(media);
                    let (refusal, media) = match made {
                        Ok(media) => (None, Some(media)),
                        Err(error) => (Some(Refusal::from(error)), None),
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
        scope.spawn(|| end_when_idle(&work));
        let stdin = io::stdin().lock();
        let mut input = BufReader::with_capacity(AT_ONCE, stdin);
        loop {
            match wire::read::<Task>(&mut input) {
                Ok(Some((number, task, Some(media)))) => {
                    work.begun.fetch_add(1, Ordering::SeqCst);
                    // The workers wait as long as this process lives.
                    let _ = give.send((number, task, media));
                }
                // The program is gone, and what is not done is of no use to anybody.
                Ok(None) => std::process::exit(0),
                Ok(Some(_)) | Err(_) => std::process::exit(1),
            }
        }
    })
}

/// Ends the process when there was nothing to do for a while.
fn end_when_idle(work: &Work) {
    let mut before = None;
    loop {
        thread::sleep(IDLE);
        let now = work.begun.load(Ordering::SeqCst);
        if before == Some(now) && work.done.load(Ordering::SeqCst) == now {
            std::process::exit(0);
        }
        before = Some(now);
    }
}
