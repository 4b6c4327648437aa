//! Starts and stops the service: database, catalog, listener, and the one task that serves it.
//!
//! Invariants: [`serve`] returns once the port answers; the task is owned by [`Running`] and ends with it. Not for
//! signals or printing: see [`crate::cli`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::listen::{self, Doors};
use futures_util::FutureExt as _;
use rand::RngExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::ads::Ads;
use crate::clock::{Clock, SystemClock};
use crate::http::{App, router};
use crate::load::{self, LoadError};
use crate::report::Filter;
use crate::report::Report;
use crate::sign::Key;
use crate::store::{Db, Location, StoreError};
use crate::traffic::Networks;
use crate::traffic::rate::{Limits, Rates};
use crate::upload::Uploads;

/// How long a decision may be played unless told otherwise.
pub const DEFAULT_EXPIRES: Duration = Duration::from_secs(3600);
/// How much longer its budget stays reserved, for beacons that are on their way.
const GRACE: Duration = Duration::from_secs(600);
/// The longest headers of a request, in bytes: links with macros are long.
const LONGEST_HEADERS: usize = 32 << 10;
/// How long [`Running::stop`] waits for answers that are being written.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    pub http: SocketAddr,
    /// Database: a path, `sqlite:PATH` (created when it is not there), or `postgres://…`.
    pub db: String,
    /// TOML files to load first (see [`crate::load`]).
    pub load: Vec<PathBuf>,
    /// Our URL as clients know it; without it each is answered under the host that it asked for.
    pub public_url: Option<url::Url>,
    /// How long a decision may be played (whole seconds); its budget is reserved ten minutes longer.
    pub expires: Duration,
    /// Networks that no listener is in, such as data centres: asked from there, the answer is without ads.
    pub not_listeners: Networks,
    /// How often one address, listener or token may ask and report; more is invalid traffic.
    pub rate: Limits,
    /// How many connections are taken, and how long each may keep us waiting.
    pub doors: Doors,
    /// How long a client may pause within the body of a request.
    pub body_pause: Duration,
    /// Whether a proxy of ours writes the client's address into `X-Forwarded-For`.
    pub behind_proxy: bool,
    /// Folder of uploaded creatives; without it one beside the SQLite file.
    pub uploads: Option<PathBuf>,
    /// Trackers where viewers who have a creative find each other.
    pub trackers: Vec<url::Url>,
    /// The program whose children decode creatives (see `ad_splicer::conditioning`); without it this one.
    pub program: Option<PathBuf>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// Serves the database at `db` on a free port of the loopback address.
    pub fn new(db: impl Into<String>) -> Self {
        Self {
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            db: db.into(),
            load: Vec::new(),
            public_url: None,
            expires: DEFAULT_EXPIRES,
            not_listeners: Networks::default(),
            rate: Limits::default(),
            doors: Doors {
                longest_headers: LONGEST_HEADERS,
                ..Doors::default()
            },
            body_pause: Duration::from_secs(15),
            behind_proxy: false,
            uploads: None,
            trackers: Vec::new(),
            program: None,
            clock: Arc::new(SystemClock),
        }
    }
}

/// Why the service could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A TOML file was refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The address could not be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The public URL cannot be built upon.
    #[error("cannot use {0} as the public URL: it needs http or https, a host, and no query or fragment")]
    PublicUrl(url::Url),
    /// The serving task ended by itself.
    #[error("the server stopped: {0}")]
    Stopped(String),
}

/// Reads the TOML files and stores what they declare. All files are checked before anything is stored.
pub async fn load_files(db: &Db, files: &[PathBuf]) -> Result<(), Error> {
    let mut catalogs = Vec::with_capacity(files.len());
    for file in files {
        catalogs.push(read(file).await?);
    }
    for catalog in &catalogs {
        db.load(catalog).await?;
    }
    Ok(())
}

async fn read(file: &Path) -> Result<crate::catalog::Catalog, Error> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || load::read(&path));
    Ok(read.await.map_err(|e| Error::Stopped(e.to_string()))??)
}

/// Starts the service; it answers when this returns.
pub async fn serve(config: Config) -> Result<Running, Error> {
    if let Some(url) = &config.public_url
        && (!matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some())
    {
        return Err(Error::PublicUrl(url.clone()));
    }
    let location = Location::parse(&config.db)?;
    let db = Db::open(&location).await?;
    load_files(&db, &config.load).await?;
    let fresh: [u8; 32] = rand::rng().random();
    let key = db.setting("beacon_key", &hex::encode(fresh)).await?;
    let listen = |source| Error::Listen {
        address: config.http,
        source,
    };
    let listener = TcpListener::bind(config.http).await.map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    let uploads = match (config.uploads, &location) {
        (Some(folder), _) => folder,
        (None, Location::Sqlite(path)) => PathBuf::from(format!("{}.creatives", path.display())),
        (None, Location::Postgres(_)) => std::env::temp_dir().join("grove-ads-creatives"),
    };
    let program = match config.program {
        Some(program) => program,
        None => ad_splicer::this_program().map_err(|e| Error::Stopped(e.to_string()))?,
    };
    let (ads, journal) = Ads::start(db, config.clock.clone()).await?;
    let app = Arc::new(App {
        ads: ads.clone(),
        key: Key::new(key.as_bytes()),
        clock: config.clock.clone(),
        public_url: config
            .public_url
            .map(|u| u.as_str().trim_end_matches('/').to_owned()),
        local_url: format!("http://{}", reachable(addr)),
        expires: config.expires.as_millis() as i64,
        grace: GRACE.as_millis() as i64,
        not_listeners: config.not_listeners,
        rates: Rates::new(config.rate),
        behind_proxy: config.behind_proxy,
        uploads: Uploads::new(uploads, program),
        trackers: config.trackers.iter().map(ToString::to_string).collect(),
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let router = router(app, config.body_pause);
    // Dropping the sender says it too.
    let stopped = stopped.map(drop);
    let task = tokio::spawn(listen::serve(listener, router, config.doors, stopped));
    Ok(Running {
        addr,
        ads,
        journal,
        clock: config.clock,
        stop: Some(stop),
        task,
    })
}

/// An address that this machine can dial for one that it listens on.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// A service that is running. Dropping it ends it at once; [`Running::stop`] lets answers finish.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    ads: Ads,
    journal: JoinHandle<()>,
    clock: Arc<dyn Clock>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL on this machine, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", reachable(self.addr))
    }

    /// The service behind it.
    pub fn ads(&self) -> &Ads {
        &self.ads
    }

    /// What happened so far.
    pub async fn report(&self) -> Result<Report, StoreError> {
        self.ads.db().report(&Filter::default(), self.clock.now()).await
    }

    /// Waits until the service ends by itself, which it does only when it fails. May be cancelled.
    pub async fn failed(&mut self) -> Error {
        let ended = tokio::select! {
            ended = &mut self.task => ("its listener ended", ended),
            ended = &mut self.journal => ("what stores decisions and beacons ended", ended),
        };
        match ended {
            (what, Ok(())) => Error::Stopped(what.to_owned()),
            (_, Err(error)) => Error::Stopped(error.to_string()),
        }
    }

    /// Takes no more questions, finishes the answers being written (for five seconds at most), closes the store.
    pub async fn stop(mut self) -> Result<(), Error> {
        drop(self.stop.take());
        let ended = tokio::time::timeout(LAST_ANSWERS, &mut self.task).await;
        self.ads.close().await;
        match ended {
            // Clients that hold their connection open are cut off when `self` is dropped.
            Err(_) | Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::Stopped(error.to_string())),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The journal ends when nobody is left who could give it anything.
        self.task.abort();
    }
}
