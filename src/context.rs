//! What commands with a socket share: the data folder and its files, and the gate with what the person typed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use gate::{Gate, Policy};
use url::Url;

use crate::cli::NetArgs;
use crate::output::Explain;

/// The state folder and the gate of one run.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) data: PathBuf,
    pub(crate) gate: Gate,
    pub(crate) net: NetArgs,
}

impl Context {
    /// Finds or makes the data folder, and makes the gate.
    pub(crate) fn new(net: &NetArgs) -> anyhow::Result<Self> {
        let data = match &net.data {
            Some(dir) => dir.clone(),
            None => directories::ProjectDirs::from("", "", "grove")
                .map(|dirs| dirs.data_dir().to_owned())
                .context("cannot find the platform's data folder")
                .hint(|| "name a folder with --data DIR".into())?,
        };
        std::fs::create_dir_all(&data)
            .with_context(|| format!("cannot make the data folder {}", data.display()))?;
        let policy = Policy {
            allow_private: net.allow_private,
            local_addresses: net.listen.iter().map(std::net::SocketAddr::ip).collect(),
            ..Policy::default()
        };
        Ok(Context {
            data,
            gate: Gate::new(policy),
            net: net.clone(),
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

    /// Where playback was left, one file for each content.
    pub(crate) fn bookmarks(&self) -> PathBuf {
        self.data.join("bookmarks")
    }

    /// The cache of creatives.
    pub(crate) fn creatives(&self) -> PathBuf {
        self.data.join("creatives")
    }
}

/// The URL of a file that lies beside another: `episode.mp3` and `.torrent` give `episode.mp3.torrent`.
pub(crate) fn with_suffix(url: &Url, suffix: &str) -> Url {
    let mut beside = url.clone();
    beside.set_path(&format!("{}{suffix}", url.path()));
    beside.set_fragment(None);
    beside
}

/// Writes a file whole or not at all: beside its place, synced, then renamed.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let doing = || format!("cannot write {}", path.display());
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".grove-")
        .tempfile_in(folder)
        .with_context(doing)?;
    file.write_all(bytes).with_context(doing)?;
    file.as_file().sync_all().with_context(doing)?;
    // A temporary file is private; what is written here is for a web server to read.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))
            .with_context(doing)?;
    }
    file.persist(path)
        .map_err(|error| error.error)
        .with_context(doing)?;
    Ok(())
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
