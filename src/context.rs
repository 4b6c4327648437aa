//! What commands with a socket share: the data folder and its files, and the gate with what the person typed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use ad_splicer::creatives::Recent;
use anyhow::Context as _;
use gate::{Gate, Policy};
use url::Url;

use crate::asking;
use crate::cli::NetArgs;
use crate::output::{Explain, WRITABLE};

/// The state folder and the gate of one run.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) data: PathBuf,
    pub(crate) gate: Gate,
    pub(crate) net: NetArgs,
    /// Where `.torrent`s are kept by their URL; `None` has every server asked anew, as for who wants to know what it has.
    pub(crate) documents: Option<PathBuf>,
    /// For how long a document is asked for again whose server is in trouble.
    pub(crate) patience: Duration,
    /// Peers are asked for nothing, metainfo included.
    pub(crate) no_peers: bool,
    /// What addresses of creatives gave.
    pub(crate) recent: Arc<Recent>,
}

impl Context {
    /// Finds or makes the data folder, and makes the gate.
    pub(crate) fn new(net: &NetArgs) -> anyhow::Result<Self> {
        let data = data_folder(net.data.as_deref())?;
        std::fs::create_dir_all(&data)
            .with_context(|| format!("cannot make the data folder {}", data.display()))
            .hint(|| WRITABLE.into())?;
        tell_proxies();
        let policy = Policy {
            allow_private: net.allow_private,
            local_addresses: net.listen.iter().map(std::net::SocketAddr::ip).collect(),
            ..Policy::default()
        };
        Ok(Context {
            documents: Some(data.join("documents")),
            patience: asking::PATIENCE,
            no_peers: false,
            recent: Arc::default(),
            data,
            gate: Gate::new(policy),
            net: net.clone(),
        })
    }

    /// For tests: everything in this folder, and loopback allowed.
    #[cfg(test)]
    pub(crate) fn at(data: &std::path::Path) -> anyhow::Result<Self> {
        Self::new(&NetArgs {
            listen: Vec::new(),
            data: Some(data.to_owned()),
            allow_private: true,
            up: None,
            down: None,
            dht: Vec::new(),
            no_discovery: true,
        })
    }

    /// Where the publisher's key is, unless `--key` says so.
    pub(crate) fn publisher_key(&self) -> PathBuf {
        self.data.join("publisher.key")
    }

    /// Decisions and the queue of beacons.
    pub(crate) fn ads_db(&self) -> PathBuf {
        self.data.join("ads.db")
    }

    /// The viewer's secrets, one for each publisher.
    pub(crate) fn viewer_keys(&self) -> PathBuf {
        self.data.join("viewer-keys")
    }

    /// Where playback was left, one file for each content.
    pub(crate) fn bookmarks(&self) -> PathBuf {
        self.data.join("bookmarks")
    }

    /// The cache of creatives.
    pub(crate) fn creatives(&self) -> PathBuf {
        creatives_in(&self.data)
    }
}

/// The folder for state that was named, or the platform's.
pub(crate) fn data_folder(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    match named {
        Some(dir) => Ok(dir.to_owned()),
        None => directories::ProjectDirs::from("", "", "grove")
            .map(|dirs| dirs.data_dir().to_owned())
            .context("cannot find the platform's data folder")
            .hint(|| "name a folder with --data DIR".into()),
    }
}

/// Where in a data folder the cache of creatives is.
pub(crate) fn creatives_in(data: &Path) -> PathBuf {
    data.join("creatives")
}

/// Proxies of the environment, which are not heeded: where they lead to, a server's name would be looked up again, past the gate.
const PROXIES: [&str; 6] = [
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
];

/// Says once which of them are set.
fn tell_proxies() {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let set: Vec<&str> = PROXIES.into_iter().filter(is_set).collect();
        if !set.is_empty() {
            let (names, verb) = (set.join(", "), if set.len() == 1 { "is" } else { "are" });
            eprintln!("note: {names} {verb} set and not used: servers and peers are reached directly, never through a proxy");
        }
    });
}

/// The URL of a file that lies beside another: `episode.mp3` and `.torrent` give `episode.mp3.torrent`.
pub(crate) fn with_suffix(url: &Url, suffix: &str) -> Url {
    let mut beside = url.clone();
    beside.set_path(&format!("{}{suffix}", url.path()));
    beside.set_fragment(None);
    beside
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_keeps_the_query_and_drops_the_fragment() -> anyhow::Result<()> {
        let url = Url::parse("https://x.example/a%20b.mp3?token=1#t=10")?;
        assert_eq!(
            with_suffix(&url, ".torrent").as_str(),
            "https://x.example/a%20b.mp3.torrent?token=1"
        );
        Ok(())
    }
}
