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
use crate::files::{make_executable, place_file, write_whole};
use crate::output::{Explain, bad_input};
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
    /// Its path in the folder of the torrent.
    inside: Vec<PathBuf>,
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
        let inside: Vec<PathBuf> = selected
            .iter()
            .map(|&file| all[file].path().iter().collect())
            .collect();
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
        let files = selected
            .iter()
            .zip(&inside)
            .map(|(&file, path)| Written {
                number: file + 1,
                path: root.join(path),
                bytes: all.get(file).map_or(0, File::length),
            })
            .collect();
        Ok(Self {
            files,
            inside,
            to: to.clone(),
        })
    }

    /// Waits until everything is verified, then writes it.
    pub(crate) async fn deliver(&self, torrent: &Torrent) -> anyhow::Result<Made> {
        if let (Destination::Stdout, [only]) = (&self.to, self.files.as_slice()) {
            let content: Arc<dyn Content> = Arc::new(Arriving::of(torrent, only.number - 1));
            let writing = tokio::task::spawn_blocking(move || {
                rendition::write(&content, breaks::Prepared::default(), &Destination::Stdout)
            });
            return super::written(torrent, writing).await;
        }
        torrent.completed().await?;
        let from = torrent.content_path().to_owned();
        let all = torrent.metainfo().files();
        let is_program = |number: usize| all.get(number - 1).is_some_and(File::is_executable);
        let jobs: Vec<(Option<PathBuf>, PathBuf, bool)> = self
            .files
            .iter()
            .zip(&self.inside)
            .map(|(file, inside)| {
                let inside = (file.bytes > 0).then(|| inside.clone());
                (inside, file.path.clone(), is_program(file.number))
            })
            .collect();
        let torrent = torrent.clone();
        let placing = tokio::task::spawn_blocking(move || {
            jobs.iter().try_for_each(|(inside, to, is_program)| {
                match inside {
                    Some(inside) => place_file(&from.join(inside), to, |name| torrent.link(inside, name)),
                    None => write_whole(to, &[]),
                }?;
                if *is_program {
                    make_executable(to);
                }
                anyhow::Ok(())
            })?;
            torrent.linked();
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
