//! `grove get` of several files: each is written under its own path once all that was selected is verified.
//!
//! Nothing is spliced into a folder; its files are given as they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ad_splicer::content::Content;
use anyhow::Context as _;
use engine::metainfo::{File, Metainfo};
use engine::node::Torrent;
use serde::Serialize;

use crate::breaks;
use crate::files::{Kept as _, can_write, make_executable, place_file, write_file};
use crate::output::{Explain, bad_input};
use crate::placing::Placing;
use crate::rendition::{self, Arriving, Destination, Made};

/// A file that was written.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Written {
    /// Its number, as `--file` takes it.
    number: usize,
    path: PathBuf,
    bytes: u64,
}

/// Which files go where.
pub(crate) struct Folder {
    files: Vec<Written>,
    to: Destination,
}

impl Folder {
    /// The files with these places (all without), below the destination; or one alone to stdout.
    pub(crate) fn new(
        metainfo: &Metainfo,
        selected: Option<Vec<usize>>,
        to: &Destination,
    ) -> anyhow::Result<Self> {
        let all = metainfo.files();
        let selected = selected.unwrap_or_else(|| (0..all.len()).collect());
        let root = match to {
            Destination::File(root) => root.as_path(),
            Destination::Stdout if selected.len() == 1 => Path::new(""),
            Destination::Stdout => {
                return Err(bad_input(format!(
                    "{} is a folder of several files, and stdout takes one",
                    metainfo.name()
                )))
                .hint(|| "choose one with --file; `grove inspect SOURCE` lists them".into());
            }
        };
        if root.is_file() {
            return Err(bad_input(format!(
                "{} is a file, and {} a folder of several",
                root.display(),
                metainfo.name()
            )))
            .hint(|| "give another place with -o".into());
        }
        let files: Vec<Written> = selected
            .iter()
            .map(|&file| Written {
                number: file + 1,
                path: root.join(all[file].path().iter().collect::<PathBuf>()),
                bytes: all[file].length(),
            })
            .collect();
        if let (Destination::File(_), Some(first)) = (to, files.first()) {
            can_write(&first.path)?;
        }
        Ok(Self {
            files,
            to: to.clone(),
        })
    }

    /// Waits until everything is verified, then writes it.
    pub(crate) async fn deliver(&self, torrent: &Torrent, placing: &Placing) -> anyhow::Result<Made> {
        let placing = placing.clone();
        if let (Destination::Stdout, [only]) = (&self.to, self.files.as_slice()) {
            let content: Arc<dyn Content> = Arc::new(Arriving::of(torrent, only.number - 1));
            let writing = tokio::task::spawn_blocking(move || {
                rendition::write(
                    &content,
                    breaks::Prepared::default(),
                    &Destination::Stdout,
                    &placing,
                )
            });
            return super::written(torrent, writing).await;
        }
        torrent.completed().await?;
        let (files, torrent) = (self.files.clone(), torrent.clone());
        let placing = tokio::task::spawn_blocking(move || {
            let all = torrent.metainfo().files();
            for (place, Written { number, path, bytes }) in files.iter().enumerate() {
                anyhow::ensure!(!placing.is_stopped(), "it was stopped");
                let file = number - 1;
                let kept = (&torrent, file);
                // With the last one all of it is there.
                let placing = if place + 1 == files.len() {
                    placing.clone()
                } else {
                    Placing::default()
                };
                match bytes {
                    0 => write_file(path, &placing, |_| Ok(0)).map(drop),
                    _ => place_file(&kept, path, &placing),
                }?;
                if all.get(file).is_some_and(File::is_executable) {
                    kept.touch(&mut || make_executable(path));
                }
            }
            anyhow::Ok(())
        });
        placing.await.context("writing the result")??;
        Ok(Made {
            bytes: self.files.iter().map(|file| file.bytes).sum(),
            duration: None,
            ads: Vec::new(),
            delivered: Vec::new(),
            skipped: Vec::new(),
            failures: Vec::new(),
        })
    }

    /// Where its files go.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// What was written.
    pub(crate) fn written(self) -> Vec<Written> {
        self.files
    }
}
