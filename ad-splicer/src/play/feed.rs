//! The thread that reads a rendition into the pipeline.
//!
//! Not for: where to read (the driver says), or what comes of the bytes (`pipeline`).

use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::PlayError;
use super::packets::Packets;
use crate::content::Content;

/// How many seconds of a rendition wait in the source.
const AHEAD: u64 = 3;
/// How many bytes of it wait at least, and at most.
const LEAST_AHEAD: u64 = 8 << 10;
const MOST_AHEAD: u64 = 256 << 10;
/// The least and the most that is read at once.
const LEAST_READ: u64 = 2 << 10;
pub(super) const MOST_READ: u64 = 32 << 10;

/// How much is read before it is heard. Nothing can be put in any more where it was read, so that is a matter of seconds: those that wait, and one each that is being read and decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Portions {
    /// Bytes that may wait in the source.
    pub(super) ahead: u64,
    /// Bytes that are read at once. Few, so that playback starts before much is there.
    pub(super) read: usize,
}

impl Portions {
    /// For a rendition of so many bytes that lasts so long, about.
    pub(super) fn of(bytes: u64, lasts: Option<Duration>) -> Self {
        let second = lasts.map_or(MOST_AHEAD, |lasts| bytes / lasts.as_secs().max(1));
        Self {
            ahead: second.saturating_mul(AHEAD).clamp(LEAST_AHEAD, MOST_AHEAD),
            read: second.clamp(LEAST_READ, MOST_READ) as usize,
        }
    }
}

/// Where the reader is. A seek holds it still until the pipeline asks for data again: only then is what was pushed
/// before gone from the source's queue.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// What the pipeline calls byte 0.
    pub(super) base: u64,
    pub(super) offset: u64,
    /// What the decoder is given before that.
    pub(super) head: Vec<u8>,
    /// Counts seeks, so that a read that was under way during one is thrown away.
    pub(super) seeks: u64,
    pub(super) held: bool,
    /// The read that the reader waits for; reads are counted.
    pub(super) reading: Option<u64>,
    pub(super) reads: u64,
}

/// Starts the thread that reads `media` into `source`, so many bytes at once, each read within a deadline. It ends when the pipeline does.
///
/// GStreamer says when it wants more and where from; those callbacks must not block, so they only leave a note. The
/// reader may sit in a read of content that is still to come: nobody joins it, it ends by itself after its deadline.
pub(super) fn read_into(
    source: &gst_app::AppSrc,
    media: Arc<dyn Content>,
    mut packets: Option<Packets>,
    (read, deadline): (usize, Duration),
) -> Result<(Receiver<PlayError>, Arc<Mutex<Place>>), PlayError> {
    let (tell, failures) = sync_channel(1);
    let (want, wants) = sync_channel::<()>(1);
    let place = Arc::new(Mutex::new(Place::default()));
    let (wanted, sought, seen) = (place.clone(), place.clone(), place.clone());
    source.set_callbacks(
        gst_app::AppSrcCallbacks::builder()
            .need_data(move |_, _| {
                lock(&wanted).held = false;
                // A note that was not read yet says the same.
                let _ = want.try_send(());
            })
            .seek_data(move |_, to| {
                let mut place = lock(&sought);
                place.offset = place.base + to;
                place.seeks += 1;
                place.held = true;
                true
            })
            .build(),
    );
    let source = source.downgrade();
    std::thread::Builder::new()
        .name("player-reader".into())
        .spawn(move || {
            let mut buffer = vec![0; read];
            let mut began = 0;
            // The callbacks, and with them the sender, go when the source does.
            while wants.recv().is_ok() {
                loop {
                    let (offset, seeks, held) = {
                        let place = lock(&place);
                        (place.offset, place.seeks, place.held)
                    };
                    if held {
                        break;
                    }
                    {
                        let mut place = lock(&place);
                        place.reads += 1;
                        place.reading = Some(place.reads);
                    }
                    let read = media.read_at(offset, &mut buffer, deadline);
                    lock(&place).reading = None;
                    let Some(source) = source.upgrade() else { return };
                    let count = match read {
                        Ok(count) => count,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                        Err(source) => {
                            // The driver hears it at its next tick, or is gone.
                            let _ = tell.try_send(PlayError::Read { offset, source });
                            return;
                        }
                    };
                    // Held while pushing, which does not block, so that a seek cannot come between.
                    let mut place = lock(&place);
                    if place.seeks != seeks {
                        break;
                    }
                    place.offset += count as u64;
                    let begins = std::mem::replace(&mut began, seeks) != seeks;
                    let head = if begins { &place.head[..] } else { &[] };
                    let pushed = match &mut packets {
                        _ if count == 0 => source.end_of_stream(),
                        Some(packets) => {
                            let mut parts = Vec::new();
                            if begins {
                                packets.begin();
                                parts = packets.feed(head);
                            }
                            parts.extend(packets.feed(&buffer[..count]));
                            let mut parts = parts.into_iter();
                            parts.try_fold(gst::FlowSuccess::Ok, |_, part| source.push_buffer(part))
                        }
                        None => {
                            // A decoder that asks for another place reads the head where it is.
                            let head = if offset == place.base { head } else { &[] };
                            let bytes = [head, &buffer[..count]].concat();
                            source.push_buffer(gst::Buffer::from_slice(bytes))
                        }
                    };
                    if count == 0 || pushed.is_err() || source.current_level_bytes() >= source.max_bytes() {
                        break;
                    }
                }
            }
        })
        .map_err(PlayError::Thread)?;
    Ok((failures, seen))
}

pub(super) fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    // It is whole whatever panicked beside it.
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_bit_rate_a_few_seconds_are_read_ahead() {
        for kilobits in [16, 32, 64, 128, 320] {
            let second = kilobits * 125;
            let Portions { ahead, read } = Portions::of(second * 3_600, Some(Duration::from_secs(3_600)));
            // What waits before the last read is added, that read, and what is being decoded.
            let most = ahead - 1 + 2 * read as u64;
            assert!(
                (3 * second..=7 * second).contains(&most),
                "{kilobits} kbit/s: {most} bytes"
            );
        }
        let video = Portions::of(1 << 30, Some(Duration::from_secs(3_600)));
        assert_eq!((video.ahead, video.read as u64), (MOST_AHEAD, MOST_READ));
        assert_eq!(
            Portions::of(1 << 30, None),
            video,
            "nobody knows how long it lasts"
        );
    }
}
