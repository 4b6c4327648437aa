//! Why a node or a torrent cannot go on.

use crate::metainfo::InfoHash;
use crate::store::StoreError;
use crate::verify::UnsupportedError;
use std::net::SocketAddr;
use std::sync::Arc;

/// An error of a [`Node`](super::Node), a [`Torrent`](super::Torrent) or a [`Reader`](super::Reader).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The UDP socket cannot be had.
    #[error("cannot listen on UDP {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(Arc<std::io::Error>),
    /// No key, certificate or TLS configuration could be made.
    #[error("cannot make an identity for this node: {0}")]
    Identity(Arc<str>),
    /// The torrent is of a kind that is not delivered.
    #[error("cannot deliver {name:?}: {source}")]
    Unsupported {
        /// The torrent's name.
        name: String,
        /// Why.
        source: Arc<UnsupportedError>,
    },
    /// It is here already.
    #[error("{name:?} ({info_hash}) was added already")]
    Duplicate {
        /// The torrent's name.
        name: String,
        /// Its info hash.
        info_hash: InfoHash,
    },
    /// The disk or the file.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// It cannot be completed.
    #[error("downloading {name:?}: {why}")]
    Failed {
        /// The torrent's name.
        name: String,
        /// What is missing, and what was tried.
        why: Arc<str>,
    },
    /// Its metainfo cannot be had from peers.
    #[error("looking for the metainfo of {name}: {why}")]
    NoMetainfo {
        /// The info hash.
        name: String,
        /// What was tried last.
        why: Arc<str>,
    },
    /// It was stopped before it was complete.
    #[error("{name:?} was stopped before it was complete")]
    Stopped {
        /// The torrent's name.
        name: String,
    },
    /// The bytes were not here in time.
    #[error("reading {len} bytes of {name:?} at {offset}: not here in time")]
    Late {
        /// The torrent's name.
        name: String,
        /// First byte.
        offset: u64,
        /// How many.
        len: u64,
    },
}

impl From<StoreError> for Error {
    fn from(source: StoreError) -> Self {
        Self::Store(Arc::new(source))
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Late { .. } => std::io::ErrorKind::TimedOut,
            _ => std::io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
