//! QUIC between peers: who we are, the sockets, and the two kinds of stream.
//!
//! Authentication is by key alone: each side shows a self-signed certificate made for this process and proves that it
//! holds the key; a peer's id is SHA-256 of its Ed25519 public key. What the streams carry is in [`crate::wire`].
//!
//! Files: `thread` what all of it runs on, `moderation` how often that looks; `congestion` and `ledbat` how fast a
//! connection may send, `losses` whether queues are to blame for what it lost; `endpoint`, `identity`, `streams` as
//! their names say.
//!
//! Not for deciding whom to connect to, or which of two connections to keep.

mod congestion;
mod endpoint;
mod identity;
mod ledbat;
mod losses;
mod moderation;
mod streams;
mod thread;

pub use congestion::Hurry;
pub use endpoint::{Connection, ConnectionFailure, Endpoint, Handshake, Use, Way};
pub use identity::{Identity, IdentityError};
pub use streams::{
    ControlReader, ControlWriter, Incoming, Reply, StreamError, accept_stream, open_control, open_request,
    priority, send_reply_header,
};
pub use thread::{Moved, NetThread};
