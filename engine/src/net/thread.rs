//! The thread on which everything of a node runs that touches the network: a runtime of its own, for one thread.
//!
//! A runtime of many threads wakes another one for nearly every packet; this one handles what has come and then sleeps a little
//! ([`Moderation`]). Hashing and the disk are elsewhere (`spawn_blocking`, the store's own thread). Dropping it ends every task that
//! was spawned on it and waits for the thread.

use super::moderation::{self, Moderation};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, TokioRuntime, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Threads that hash and read for one node at a time.
const BLOCKING_THREADS: usize = 16;

/// What has moved, for the thread's moderation.
#[derive(Debug, Clone, Default)]
pub struct Moved(Arc<Movement>);

#[derive(Debug, Default)]
struct Movement {
    bytes: AtomicU64,
    /// Looks a second, in thousandths, that the connection needed which needed most.
    paced: AtomicU64,
}

impl Moved {
    /// So many bytes more.
    pub fn add(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A connection sends so many bytes a second in packets of this size, and has more to send, as long as no more than the window
    /// is in flight, for each round trip of this length.
    pub(super) fn sends(&self, rate: f64, packet: u16, window: u64, trip: Duration) {
        let looks = moderation::paced(rate, packet, window, trip);
        self.0.paced.fetch_max((looks * 1e3) as u64, Ordering::Relaxed);
    }

    /// Bytes since this was asked last, and the looks a second that were needed.
    fn take(&self) -> (u64, f64) {
        let taken = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        (taken(&self.0.bytes), taken(&self.0.paced) as f64 / 1e3)
    }
}

/// A running thread.
#[derive(Debug)]
pub struct NetThread {
    handle: Handle,
    moved: Moved,
    /// Dropped to end it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NetThread {
    /// Starts it.
    pub fn start() -> io::Result<Self> {
        let moved = Moved::default();
        let moderation = Mutex::new(Moderation::new(Instant::now()));
        let counted = moved.clone();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .on_thread_park(move || {
                let mut moderation = moderation.lock().unwrap_or_else(PoisonError::into_inner);
                let (bytes, paced) = counted.take();
                let pause = moderation.pause(bytes, paced, Instant::now());
                if !pause.is_zero() {
                    std::thread::sleep(pause);
                }
            })
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("net".to_owned())
            .spawn(move || {
                // An error is the sender's end, which is the sign.
                let _ = runtime.block_on(stopped);
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            moved,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where tasks are spawned.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The count of moved bytes, for those who move some beside the sockets.
    pub fn moved(&self) -> &Moved {
        &self.moved
    }

    /// For quinn: what it spawns runs here, whoever calls it.
    pub(super) fn quinn(&self) -> Arc<dyn quinn::Runtime> {
        Arc::new(Runtime {
            handle: self.handle.clone(),
            moved: self.moved.clone(),
        })
    }
}

impl Drop for NetThread {
    fn drop(&mut self) {
        self.stop.take();
        let Some(thread) = self.thread.take() else { return };
        // The last owner may be one of its own tasks.
        if thread.thread().id() != std::thread::current().id() {
            // A panic in it was told by its own message.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Runtime {
    handle: Handle,
    moved: Moved,
}

impl quinn::Runtime for Runtime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _context = self.handle.enter();
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        // Owned by quinn: it ends with its endpoint or its connection.
        self.handle.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _context = self.handle.enter();
        Ok(Arc::new(Counting {
            socket: TokioRuntime.wrap_udp_socket(socket)?,
            moved: self.moved.clone(),
        }))
    }
}

/// A socket that counts what passes.
#[derive(Debug)]
struct Counting {
    socket: Arc<dyn AsyncUdpSocket>,
    moved: Moved,
}

impl AsyncUdpSocket for Counting {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        self.socket.try_send(transmit)?;
        self.moved.add(transmit.contents.len() as u64);
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.socket.poll_recv(context, buffers, meta);
        if let Poll::Ready(Ok(n)) = &received {
            let bytes: usize = meta.iter().take(*n).map(|m| m.len).sum();
            self.moved.add(bytes as u64);
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
