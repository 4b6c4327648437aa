//! Running torrents: the driver around the swarm core, and the handles that others hold.
//!
//! A [`Node`] owns the sockets and the connections; [`Node::add`] starts a torrent. A [`Torrent`] is looked at through
//! [`Stats`], waited for with [`Torrent::completed`], read through a [`Reader`]. A node serves what it has while it
//! downloads, and after, until it is stopped.
//!
//! Files: `registry` the connections, `observed` where others see us; `driver` one torrent's loop, with its parts `inbox`, `outputs`, `members`, `dial`
//! (and `candidates`, whom it knows), `exchange` (who tells whom of others), `gossip` (cue sheets), `introduce` (through routers), `fetches`, `figures` and `hope`;
//! `transfer` the tasks that move content, `hashing` where they hash; `assembler` what cannot be judged yet; `bans` whom to leave alone; `control` a peer's control stream;
//! `announce` trackers, `dht` and `lan` where else peers are found; `mapping` asks the router for a way in; `moving` is about machines
//! that change their address.

mod announce;
mod askers;
mod assembler;
mod bans;
mod candidates;
mod census;
mod conduct;
mod config;
mod control;
mod delivery;
mod dht;
mod dial;
mod driver;
mod error;
mod exchange;
mod fetches;
mod figures;
mod gossip;
mod hashing;
mod hope;
mod inbox;
mod introduce;
mod lan;
mod mapping;
mod members;
mod metadata;
mod moving;
mod observed;
mod outputs;
mod pause;
mod punches;
mod reader;
mod registry;
mod relay;
mod silent;
mod stats;
mod torrent;
mod transfer;
mod trickle;

pub use crate::net::Way;
pub use config::{AddOptions, Location, NodeConfig, OriginPolicy};
pub use dht::DHT_BOOTSTRAP;
pub use error::Error;
pub use mapping::MappingConfig;
pub use metadata::{Search, Wanted};
pub use reader::{BlockingReader, Reader};
pub use stats::{NeighbourStats, PieceSource, SilentTracker, State, Stats, Ways};
pub use torrent::Torrent;

use crate::metainfo::{File, InfoHash, Metainfo};
use crate::net::NetThread;
use crate::origin::Origin;
use crate::store::Store;
use crate::swarm::{self, FileIndex, PeerId};
use crate::verify::Verifier;
use driver::{Driver, Parts};
use futures_util::future::join_all;
use hashing::Hasher;
use registry::Registry;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use torrent::Shared;
use transfer::{Counters, Ground};

/// A participant in swarms: an identity, its sockets, and the torrents that it delivers.
///
/// Dropping it ends everything at once, as a crash would; [`Node::stop`] ends it in order.
#[derive(Debug)]
pub struct Node {
    registry: Arc<Registry>,
    torrents: Mutex<Vec<Torrent>>,
    /// What all of it runs on; it ends last.
    _thread: NetThread,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.registry.abort();
    }
}

impl Node {
    /// Makes an identity, opens the sockets, and starts the thread that all of its tasks run on.
    ///
    /// It is async so that a later identity may come from a disk.
    #[allow(
        clippy::unused_async,
        reason = "starting a node is no matter of an instant, and async says so to the caller"
    )]
    pub async fn start(config: NodeConfig) -> Result<Self, Error> {
        gate::install_crypto_provider();
        let failed = |e| Error::Thread(Arc::new(e));
        let thread = NetThread::start().map_err(failed)?;
        let hasher = Hasher::start().map_err(failed)?;
        Ok(Self {
            registry: Registry::start(config, &thread, hasher)?,
            torrents: Mutex::default(),
            _thread: thread,
        })
    }

    /// The UDP addresses that it listens on, with their ports.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.registry.local_addrs()
    }

    /// Its id, as peers see it: fresh for each process.
    pub fn id(&self) -> PeerId {
        self.registry.id()
    }

    /// Starts to deliver a torrent. Returns once its store is open, which takes a while when the content has to be
    /// checked first.
    pub async fn add(&self, metainfo: Arc<Metainfo>, options: AddOptions) -> Result<Torrent, Error> {
        let name = || metainfo.name().to_owned();
        let info_hash = metainfo.info_hash_v2();
        let membership = control::Membership::new(info_hash, options.secret);
        let swarm_hash = membership.swarm;
        let duplicate = || Error::Duplicate {
            name: metainfo.name().to_owned(),
            info_hash,
        };
        if self.registry.has(swarm_hash) {
            return Err(duplicate());
        }
        let wanted: Option<Vec<FileIndex>> = options
            .files
            .as_ref()
            .map(|files| files.iter().map(|&file| FileIndex(file as u32)).collect());
        let verifier =
            Verifier::wanting(&metainfo, wanted.as_deref()).map_err(|source| Error::Unsupported {
                name: name(),
                source: Arc::new(source),
            })?;
        let verifier = Arc::new(verifier);
        let (data, location) = (self.registry.config().data.clone(), options.location.clone());
        let recheck = options.recheck;
        let (judge, about) = (verifier.clone(), metainfo.clone());
        let opening =
            tokio::task::spawn_blocking(move || Store::open(&data, &about, judge, &location, recheck));
        let (store, store_events) = match opening.await {
            Ok(opened) => opened?,
            // The runtime is going down.
            Err(_) => return Err(Error::Stopped { name: name() }),
        };

        let (sender, inbox) = mpsc::channel(inbox::INBOX);
        if !self.registry.add(swarm_hash, sender.clone()) {
            let error = duplicate();
            store.close().await;
            return Err(error);
        }
        let files = 0..metainfo.files().len();
        let urls: Vec<Vec<String>> = metainfo
            .web_seeds()
            .iter()
            .chain(&options.web_seeds)
            .filter(|_| options.use_origin)
            .filter_map(|seed| {
                files
                    .clone()
                    .map(|file| metainfo.web_seed_url(seed, file))
                    .collect()
            })
            .collect();
        let origin = Origin::of_files(
            self.registry.gate().clone(),
            &urls,
            metainfo.files().iter().map(File::length).collect(),
            self.registry.down.clone(),
        );
        let config = swarm::Config {
            id: self.registry.id(),
            use_origin: options.use_origin && origin.is_usable(),
            use_peers: options.use_peers,
            policy: options.policy,
            origin_budget: options.cue_sheet.as_ref().and_then(|sheet| sheet.sheet().budget),
            whole_file: options.whole_file,
            down_limit: self.registry.config().down,
            ..swarm::Config::default()
        };
        let ground = Arc::new(Ground {
            swarm: swarm_hash,
            assembler: Arc::new(assembler::Assembler::new(verifier.clone(), store.clone())),
            verifier,
            store: store.clone(),
            origin,
            hasher: self.registry.hasher.clone(),
            counters: Counters::default(),
            silent: silent::Silent::default(),
            up: self.registry.up.clone(),
            down: self.registry.down.clone(),
            moved: self.registry.moved().clone(),
            driver: sender,
        });
        let shared = Arc::new(Shared {
            metainfo,
            store,
            membership,
            readers: reader::Readers::default(),
            stop: watch::Sender::new(false),
            paused: watch::Sender::new(false),
            whole: watch::Sender::new(options.whole_file),
            ask_again: Notify::new(),
            sheet: watch::Sender::new(options.cue_sheet.clone().map(Arc::new)),
        });
        let first = figures::first_stats(&shared, ground.verifier.layout());
        let stats = watch::Sender::new(first);
        let torrent = Torrent::new(shared.clone(), stats.subscribe());
        let registry = self.registry.clone();
        let parts = Parts {
            registry,
            shared,
            ground,
            options,
            core: config,
            inbox,
            store_events,
            stats,
        };
        self.registry.spawn(Driver::new(parts).run());
        let mut torrents = self.torrents.lock().unwrap_or_else(PoisonError::into_inner);
        torrents.retain(|t| !matches!(t.stats().state, State::Stopped));
        torrents.push(torrent.clone());
        drop(torrents);
        Ok(torrent)
    }

    /// Removes what is kept in the store of a torrent that is not running, here or in another process. Gives its bytes
    /// on the disk; `None` when nothing is kept. Blocks.
    pub fn remove(data: &Path, info_hash: InfoHash) -> Result<Option<u64>, Error> {
        Ok(Store::remove(data, info_hash)?)
    }

    /// Stops every torrent in order, then closes the sockets.
    pub async fn stop(&self) {
        let torrents = std::mem::take(&mut *self.torrents.lock().unwrap_or_else(PoisonError::into_inner));
        // Each may wait for trackers that do not answer.
        join_all(torrents.iter().map(Torrent::stop)).await;
        self.registry.say_goodbye().await;
        self.registry.abort();
        // Peers that do not answer must not hold up the end.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.registry.wait_idle()).await;
    }
}
