//! Where what arrives is hashed: between packets while little arrives, on a thread of its own as soon as it is much.
//!
//! A block is hashed (15 µs) in the time that another thread takes to wake up, so a line of tens of megabytes a second costs
//! less without one. Beyond that hashing would take the time in which packets are read, and one thread for all of it finds the
//! next blocks waiting when it is done with some, without being woken for each.

use crate::allowance::Allowance;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Blocks that may be hashed at once where packets are read, and the pause after which it may be one more: 33 MB/s.
const BETWEEN_PACKETS: (u32, Duration) = (8, Duration::from_micros(500));

type Job = Box<dyn FnOnce() + Send>;

/// The thread of one node. Dropping it waits for what it has at hand.
pub(super) struct Hasher {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    between: Mutex<Allowance>,
    began: Instant,
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

impl Hasher {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (jobs, inbox) = channel::<Job>();
        let run = move || {
            while let Ok(job) = inbox.recv() {
                job();
            }
        };
        let thread = std::thread::Builder::new().name("hash".to_owned()).spawn(run)?;
        let (at_once, pause) = BETWEEN_PACKETS;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            between: Mutex::new(Allowance::new(at_once, pause, Duration::ZERO)),
            began: Instant::now(),
        })
    }

    /// Does work that hashes so many blocks. `None` when it panicked. What is queued is bounded by what the askers have
    /// received, as each waits for its own.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        blocks: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.may_take_time(blocks) {
            return Some(work());
        }
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            // Who asked may be gone.
            let _ = done.send(work());
        });
        self.jobs.as_ref()?.send(job).ok()?;
        result.await.ok()
    }

    fn may_take_time(&self, blocks: usize) -> bool {
        let mut between = self.between.lock().unwrap_or_else(PoisonError::into_inner);
        u32::try_from(blocks).is_ok_and(|blocks| between.take_many(blocks, self.began.elapsed()))
    }
}

impl Drop for Hasher {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // A panic in it was told by its own message.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_little_is_done_at_once_and_much_on_the_thread() {
        let hasher = Hasher::start().expect("a thread");
        let here = std::thread::current().id();
        let place = || std::thread::current().id();
        assert_eq!(hasher.run(1, place).await, Some(here));
        assert_ne!(hasher.run(1_000, place).await, Some(here));
        let all: Vec<Option<u32>> =
            futures_util::future::join_all((0..100).map(|n| hasher.run(1_000, move || n))).await;
        assert_eq!(all, (0..100).map(Some).collect::<Vec<_>>());
    }
}
