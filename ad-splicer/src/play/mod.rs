//! Playing a rendition on this machine, and telling what of it was really presented.
//!
//! [`Player`] is a thin driver: a GStreamer pipeline pulls bytes from a [`Content`] (which may still be downloading),
//! and the sink's own position is fed to the pure [`Presentation`], from which all events come. Invariants:
//!
//! - Events follow what the sink presented, never what was read or decoded, and never what did not come to it (`reached`).
//! - Stopping never waits for the content: a reader that is stuck is left to its deadline.
//!
//! Threads: one driver thread owns the pipeline, one reader thread feeds it. No lock is held while calling GStreamer.
//!
//! Not for: making the rendition (`splice`), or reporting (`beacons`).

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gstreamer as gst;

use crate::content::Content;
use crate::mended::mended;
use crate::splice::Codec;
use crate::time::PresentationTime;

mod feed;
pub mod grovesrc;
mod growing;
mod left_out;
mod outputs;
mod packets;
mod pipeline;
pub mod plain;
mod presentation;
mod reached;

use feed::{MOST_READ, Place, Portions, lock, read_into};
use packets::Packets;
use pipeline::{Input, Pipeline};

pub use growing::{Growing, TooLate};
pub use pipeline::Pictures;
pub use presentation::{AdSlot, AdStatus, Heard, PlayEvent, Presentation, Presented, Timeline};

/// Where sound and pictures go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// The machine's sound output, and a window.
    Auto,
    /// Nowhere, at the speed of listening.
    Null,
    /// Nowhere, as fast as it can be decoded: for tests. Positions and events are the same.
    Fast,
}

/// Where to read to hear what is at some place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Bytes that a decoder needs first, of a stream that begins elsewhere.
    pub head: Vec<u8>,
    /// Offset in the media.
    pub offset: u64,
    /// How much comes before what is wanted; of media that is [`Request::timed`], the time that is written there.
    pub lead: Duration,
}

/// See [`Request::locate`].
pub type Locate = dyn Fn(PresentationTime) -> Option<Located> + Send + Sync;

/// What to play.
pub struct Request {
    /// The bytes of a rendition.
    pub media: Arc<dyn Content>,
    /// What they are.
    pub codec: Codec,
    /// Its ads.
    pub timeline: Timeline,
    /// Where to begin.
    pub start: PresentationTime,
    /// How long the rendition plays, when it is known; positions never exceed it.
    pub duration: Option<Duration>,
    /// How long it may play, where that is not known: only how far is read ahead follows from it.
    pub guessed: Option<Duration>,
    /// Where sound and pictures go.
    pub sink: Sink,
    /// Finds places in the media without reading up to them; otherwise the decoder seeks.
    pub locate: Option<Arc<Locate>>,
    /// The media is read once, in order, and each part of it says when it is ([`crate::splice::Rendition::zero`]): only `locate` finds places.
    pub timed: bool,
    /// How long one read of the media may take. A read that takes longer ends playback with an error.
    pub read_deadline: Duration,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("bytes", &self.media.len())
            .field("start", &self.start)
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

/// What a player tells.
#[derive(Debug)]
pub enum Notice {
    /// Something was presented, or done by the person.
    Presented(Presented),
    /// A part of an ad was presented without interruption, up to now.
    Heard(Heard),
    /// Where playback is; about five times a second.
    Position {
        /// The position in the presentation.
        at: PresentationTime,
        /// The ad that is playing, for the status line.
        ad: Option<AdStatus>,
        /// Whether playback stands still: paused, or waiting for bytes.
        waiting: bool,
    },
    /// The last notice.
    Ended {
        /// Where playback was.
        at: PresentationTime,
        /// Why it ended.
        outcome: Outcome,
        /// What became of the pictures since the last seek, when there are any.
        pictures: Option<Pictures>,
    },
}

/// Why playback ended.
#[derive(Debug)]
pub enum Outcome {
    /// The end was presented.
    Finished,
    /// Somebody stopped it.
    Stopped,
    /// It could not go on.
    Failed(PlayError),
}

/// Why playback could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// A GStreamer element is missing.
    #[error("cannot play: the GStreamer element {element} is not installed")]
    Missing {
        /// Its name.
        element: &'static str,
    },
    /// Nothing of this machine gives sound.
    #[error("cannot play: no sound output opens{tried}")]
    NoSound {
        /// What was tried.
        tried: String,
    },
    /// There is nothing to show pictures on.
    #[error("cannot play: there is no display, as neither DISPLAY nor WAYLAND_DISPLAY is set")]
    NoDisplay,
    /// Nothing of this machine shows pictures, though there is a display.
    #[error("cannot play: no output for pictures opens on the display{tried}")]
    NoPictures {
        /// What was tried.
        tried: String,
    },
    /// GStreamer, or the sound output, refused.
    #[error("cannot play: {reason}")]
    Pipeline {
        /// What it said.
        reason: String,
    },
    /// The media could not be read.
    #[error("cannot play on: reading the media at byte {offset} failed: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot play: a thread could not be started: {0}")]
    Thread(#[source] io::Error),
}

/// How often the sink is asked for its position.
const TICK: Duration = Duration::from_millis(50);
/// How many ticks make a [`Notice::Position`].
const TICKS_PER_NOTICE: u32 = 4;
/// How much has to be there before playback goes on after it had to wait.
const ENOUGH: u64 = MOST_READ;
/// So much less than the plan says may come out of a decoder that leaves out what it began with.
const ROUNDED: Duration = Duration::from_millis(250);

#[derive(Debug)]
enum Command {
    Pause,
    Resume,
    Skip,
    Mute(bool),
    Extend(Box<Extension>),
    Seek(PresentationTime),
    Go(PresentationTime),
    Stop,
}

/// What changes when ads were spliced in ahead of playback ([`Growing::replace`]).
#[derive(Debug, Clone)]
pub struct Extension {
    /// All ads, those that were there before among them.
    pub timeline: Timeline,
    /// How long it plays now.
    pub duration: Duration,
    /// How many bytes it has now.
    pub bytes: u64,
}

/// A playback. Dropping it stops it.
#[derive(Debug)]
pub struct Player {
    controls: Controls,
    notices: Receiver<Notice>,
    driver: Option<JoinHandle<()>>,
}

impl Player {
    /// Starts playing.
    pub fn start(request: Request) -> Result<Self, PlayError> {
        gst::init().map_err(|e| PlayError::Pipeline {
            reason: e.to_string(),
        })?;
        let (commands, inbox) = channel();
        let (outbox, notices) = channel();
        let mut driver = Driver::new(request, outbox)?;
        let driver = std::thread::Builder::new()
            .name("player".into())
            .spawn(move || driver.run(&inbox))
            .map_err(PlayError::Thread)?;
        Ok(Self {
            controls: Controls(commands),
            notices,
            driver: Some(driver),
        })
    }

    /// What happens, in order; it ends after [`Notice::Ended`].
    pub fn notices(&self) -> &Receiver<Notice> {
        &self.notices
    }

    /// What the person's keys or buttons are bound to; usable from other threads.
    pub fn controls(&self) -> Controls {
        self.controls.clone()
    }
}

/// Tells a player what to do. It keeps no player alive; once the player has ended nothing happens any more.
#[derive(Debug, Clone)]
pub struct Controls(Sender<Command>);

impl Controls {
    /// Stands still.
    pub fn pause(&self) {
        self.tell(Command::Pause);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.tell(Command::Resume);
    }

    /// Skips the ad that is playing, when it may be skipped.
    pub fn skip(&self) {
        self.tell(Command::Skip);
    }

    /// Turns the sound off, or on.
    pub fn mute(&self, muted: bool) {
        self.tell(Command::Mute(muted));
    }

    /// Takes over that ads were spliced in ahead of playback.
    pub fn extend(&self, extension: Extension) {
        self.tell(Command::Extend(Box::new(extension)));
    }

    /// Goes on where the person wants, by the rules for ads of [`Presentation::go`].
    pub fn go(&self, to: PresentationTime) {
        self.tell(Command::Go(to));
    }

    /// Goes on at another place, whatever is there.
    pub fn seek(&self, to: PresentationTime) {
        self.tell(Command::Seek(to));
    }

    /// Stops; [`Notice::Ended`] follows.
    pub fn stop(&self) {
        self.tell(Command::Stop);
    }

    fn tell(&self, command: Command) {
        // A driver that has ended needs no commands.
        let _ = self.0.send(command);
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.controls.stop();
        if let Some(driver) = self.driver.take() {
            // A panic of the driver was printed already.
            let _ = driver.join();
        }
    }
}

/// Owns the pipeline.
struct Driver {
    pipeline: Pipeline,
    presentation: Presentation,
    duration: Option<Duration>,
    outbox: Sender<Notice>,
    locate: Option<Arc<Locate>>,
    /// What the pipeline calls zero: where it was begun last.
    origin: PresentationTime,
    bytes: u64,
    /// Errors of the reader.
    failures: Receiver<PlayError>,
    start: PresentationTime,
    paused: bool,
    /// Nothing is there to be played.
    starved: bool,
    /// The read that was waited for at the last tick.
    read_before: Option<u64>,
    place: Arc<Mutex<Place>>,
    /// Also the beginning has to be found.
    is_located: bool,
    ticks: u32,
    last_told: PresentationTime,
}

impl Driver {
    fn new(request: Request, outbox: Sender<Notice>) -> Result<Self, PlayError> {
        let media = match request.codec {
            Codec::M4a | Codec::Mp4 if !request.timed => mended(request.media, request.read_deadline),
            _ => request.media,
        };
        let packets = Packets::of(request.codec, media.as_ref(), request.read_deadline)?;
        let bytes = media.len();
        let input = match (&packets, request.timed) {
            (Some(packets), _) => Input::Packets(packets),
            (None, true) => Input::Parts,
            (None, false) => Input::Bytes(bytes),
        };
        let Portions { ahead, read } = Portions::of(bytes, request.duration.or(request.guessed));
        let pipeline = Pipeline::new(request.codec, &input, request.sink, ahead)?;
        let reading = (read, request.read_deadline);
        let (failures, place) = read_into(&pipeline.source, media, packets, reading)?;
        Ok(Self {
            pipeline,
            presentation: Presentation::new(request.timeline, request.start),
            locate: request.locate,
            origin: PresentationTime::ZERO,
            bytes,
            duration: request.duration,
            outbox,
            failures,
            start: request.start,
            paused: false,
            starved: false,
            read_before: None,
            place,
            is_located: request.timed || request.codec == Codec::OggVorbis,
            ticks: 0,
            last_told: request.start,
        })
    }

    fn run(&mut self, inbox: &Receiver<Command>) {
        let outcome = self.play(inbox).unwrap_or_else(Outcome::Failed);
        // Flushes the source: a push that waits for room returns.
        let pictures = self.pipeline.pictures();
        let _ = self.pipeline.set_state(gst::State::Null);
        let at = self.presentation.position();
        let events = self.presentation.ended();
        self.tell(events);
        let _ = self.outbox.send(Notice::Ended {
            at,
            outcome,
            pictures,
        });
    }

    fn play(&mut self, inbox: &Receiver<Command>) -> Result<Outcome, PlayError> {
        // What is decoded before it begins to be heard is known when that was located.
        if (self.start > PresentationTime::ZERO || self.is_located)
            && let Some(located) = self.located(self.start)
        {
            self.begin_at(located, self.start);
            self.start = PresentationTime::ZERO;
        }
        self.pipeline.set_state(gst::State::Paused)?;
        // Until the pipeline knows its first frame nothing can be sought.
        while !self.is_ready()? {
            match inbox.recv_timeout(TICK) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(Outcome::Stopped),
                Ok(Command::Pause) => self.paused = true,
                Ok(Command::Resume) => self.paused = false,
                Ok(Command::Seek(to) | Command::Go(to)) => {
                    self.start = to;
                    self.presentation.jumped(to);
                }
                Ok(Command::Mute(muted)) => {
                    self.mute(muted);
                }
                Ok(Command::Extend(extension)) => self.extend(*extension),
                Ok(Command::Skip) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
        if self.start > PresentationTime::ZERO {
            self.seek_to(self.start)?;
        }
        if !self.paused {
            self.pipeline.set_state(gst::State::Playing)?;
        }
        loop {
            match inbox.recv_timeout(TICK) {
                Ok(command) => {
                    self.observe();
                    if !self.obey(&command)? {
                        return Ok(Outcome::Stopped);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Outcome::Stopped),
                Err(RecvTimeoutError::Timeout) => self.observe(),
            }
            if let Some(to) = self.presentation.target() {
                self.seek_to(to)?;
            }
            self.rebuffer();
            if self.hear()? {
                self.present_the_rest();
                return Ok(Outcome::Finished);
            }
        }
    }

    /// Whether the first frame has come to the sink.
    fn is_ready(&mut self) -> Result<bool, PlayError> {
        self.hear()?;
        Ok(self.pipeline.is_ready())
    }

    /// Takes what the pipeline and the reader say; whether everything was presented.
    fn hear(&mut self) -> Result<bool, PlayError> {
        if let Ok(failure) = self.failures.try_recv() {
            return Err(failure);
        }
        hear(&self.pipeline.bus)
    }

    /// Does what the person wants; `false` to stop.
    fn obey(&mut self, command: &Command) -> Result<bool, PlayError> {
        match command {
            Command::Stop => return Ok(false),
            Command::Pause | Command::Resume => {
                let pause = matches!(command, Command::Pause);
                if pause != self.paused {
                    self.paused = pause;
                    self.set_speed();
                    let event = self.presentation.paused(pause);
                    self.tell(event);
                }
            }
            Command::Skip => {
                if let Some((to, event)) = self.presentation.skip() {
                    self.tell([event]);
                    self.seek_to(to)?;
                }
            }
            Command::Mute(muted) => self.mute(*muted),
            Command::Extend(extension) => self.extend(extension.as_ref().clone()),
            Command::Seek(to) => self.seek_to(*to)?,
            Command::Go(to) => {
                let end = self
                    .duration
                    .map_or(*to, |whole| PresentationTime::ZERO.saturating_add(whole));
                if let Some(to) = self.presentation.go((*to).min(end)) {
                    self.seek_to(to)?;
                }
            }
        }
        Ok(true)
    }

    fn mute(&mut self, muted: bool) {
        self.pipeline.mute(muted);
        let event = self.presentation.muted(muted);
        self.tell(event);
    }

    fn extend(&mut self, extension: Extension) {
        self.bytes = extension.bytes;
        self.tell_size();
        self.duration = Some(extension.duration);
        self.presentation.extend(extension.timeline);
    }

    fn located(&self, to: PresentationTime) -> Option<Located> {
        self.locate.as_ref().and_then(|locate| locate(to))
    }

    /// The next data that is read is from there, and the pipeline takes it for the beginning of everything.
    fn begin_at(&mut self, located: Located, to: PresentationTime) {
        self.origin = to;
        self.pipeline.leave_out(located.lead);
        {
            let mut place = lock(&self.place);
            (place.base, place.offset) = (located.offset, located.offset);
            place.head = located.head;
            place.seeks += 1;
            place.held = true;
        }
        self.tell_size();
    }

    /// How much the pipeline is given, from what it takes for the beginning of everything on.
    fn tell_size(&self) {
        let bytes = {
            let place = lock(&self.place);
            place.head.len() as u64 + self.bytes.saturating_sub(place.base)
        };
        self.pipeline.set_size(bytes);
    }

    fn seek_to(&mut self, to: PresentationTime) -> Result<(), PlayError> {
        if let Some(located) = self.located(to) {
            // Whatever was read for another place is thrown away.
            let _ = self.pipeline.set_state(gst::State::Ready);
            self.pipeline.reached.forget();
            self.begin_at(located, to);
            self.set_speed();
            let events = self.presentation.jumped(to);
            self.tell(events);
            return Ok(());
        }
        self.pipeline.seek(gst::ClockTime::from_nseconds(to.as_nanos()))?;
        let events = self.presentation.jumped(to);
        self.tell(events);
        Ok(())
    }

    /// Stands still while nothing is there to be played, and goes on when there is again: a clock that ran on meanwhile would make what comes late be hurried through, or be dropped.
    fn rebuffer(&mut self) {
        let there = self.pipeline.source.current_level_bytes();
        let reading = lock(&self.place).reading;
        // One read that has lasted since the tick before, not one after the other.
        let waits = reading.is_some() && reading == self.read_before;
        self.read_before = reading;
        let starved = if self.starved {
            there < ENOUGH && reading.is_some()
        } else {
            there == 0 && waits
        };
        if starved != self.starved {
            self.starved = starved;
            self.set_speed();
        }
    }

    /// Plays, or stands still.
    fn set_speed(&self) {
        let state = if self.paused || self.starved {
            gst::State::Paused
        } else {
            gst::State::Playing
        };
        // An error comes on the bus too.
        let _ = self.pipeline.set_state(state);
    }

    /// Takes over the sink's position.
    fn observe(&mut self) {
        if let Some(position) = self.pipeline.position() {
            let at = self.bounded(self.at(position));
            // After a seek the sink may for a moment still tell an older place; time does not run backwards otherwise.
            if at > self.presentation.position() {
                let events = self.presentation.presented(at, 1.0);
                self.tell(events);
            }
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(TICKS_PER_NOTICE) {
            let at = self.presentation.position();
            let notice = Notice::Position {
                at,
                ad: self.presentation.timeline().status(at),
                waiting: self.paused || self.starved || at == self.last_told,
            };
            self.last_told = at;
            let _ = self.outbox.send(notice);
        }
    }

    /// The sink has presented all that came to it: everything, when that ends where the rendition does.
    fn present_the_rest(&mut self) {
        let end = self.at(self.pipeline.reached.end());
        let whole = self.duration.map(|d| PresentationTime::ZERO.saturating_add(d));
        let end = match whole {
            Some(whole) if end.saturating_add(ROUNDED) >= whole => whole,
            _ => end,
        };
        if end > self.presentation.position() {
            let events = self.presentation.presented(end, 1.0);
            self.tell(events);
        }
    }

    /// The pipeline's time as a place in the presentation.
    fn at(&self, position: gst::ClockTime) -> PresentationTime {
        self.origin
            .saturating_add(Duration::from_nanos(position.nseconds()))
    }

    fn bounded(&self, at: PresentationTime) -> PresentationTime {
        match self.duration {
            Some(duration) => at.min(PresentationTime::ZERO.saturating_add(duration)),
            None => at,
        }
    }

    fn tell(&mut self, events: impl IntoIterator<Item = Presented>) {
        // Nobody may be listening any more.
        for part in self.presentation.take_heard() {
            let _ = self.outbox.send(Notice::Heard(part));
        }
        for event in events {
            let _ = self.outbox.send(Notice::Presented(event));
        }
    }
}

/// Takes what a pipeline says; whether it ended.
fn hear(bus: &gst::Bus) -> Result<bool, PlayError> {
    while let Some(message) = bus.pop() {
        if understand(&message)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether it says that everything was played.
fn understand(message: &gst::Message) -> Result<bool, PlayError> {
    match message.view() {
        gst::MessageView::Eos(_) => Ok(true),
        gst::MessageView::Error(error) => Err(PlayError::Pipeline {
            reason: error.error().to_string(),
        }),
        _ => Ok(false),
    }
}
