//! Where playback was left: one small file for each content, in content time, so that other ads in between next time change nothing.
//!
//! Not for: where that is in a rendition; its plan knows.

use std::io::ErrorKind;
use std::path::PathBuf;

use ad_splicer::cues::Position;
use ad_splicer::time::ContentTime;
use anyhow::Context as _;
use engine::metainfo::InfoHash;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::context::Context;
use crate::files::write_whole;
use crate::output::Explain;

/// The bookmark of one content.
#[derive(Debug)]
pub(super) struct Bookmark(PathBuf);

impl Bookmark {
    pub(super) fn of(context: &Context, info_hash: &InfoHash) -> Self {
        Bookmark(context.bookmarks().join(info_hash.to_string()))
    }

    /// That of media without a `.torrent`, by its URL, which may hold a secret.
    pub(super) fn of_url(context: &Context, url: &Url) -> Self {
        // What stands behind `#` is the reader's own.
        let mut url = url.clone();
        url.set_fragment(None);
        let name = hex::encode(Sha256::digest(url.as_str()));
        Bookmark(context.bookmarks().join(name))
    }

    /// Where it was left; `None` when it was not begun, or heard to its end.
    fn load(&self) -> anyhow::Result<Option<ContentTime>> {
        let doing = || format!("cannot read the bookmark {}", self.0.display());
        let text = match std::fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(doing),
        };
        let nanos = text.trim().parse().with_context(doing);
        Ok(Some(ContentTime::from_nanos(
            nanos.hint(|| "remove the file to begin at the start".into())?,
        )))
    }

    /// Where to begin: where it was left, or at `start`.
    pub(super) fn beginning(&self, resume: bool, start: Position) -> anyhow::Result<Position> {
        if resume {
            Ok(Position::Time(self.load()?.unwrap_or(ContentTime::ZERO)))
        } else {
            Ok(start)
        }
    }

    /// Remembers a place, in nanoseconds of content.
    pub(super) fn save(&self, at: ContentTime) -> anyhow::Result<()> {
        if let Some(folder) = self.0.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        write_whole(&self.0, format!("{}\n", at.as_nanos()).as_bytes())
    }

    /// Forgets it.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove the bookmark {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_one_place_whatever_stands_behind_its_hash() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let context = Context::at(folder.path())?;
        let of = |url: &str| anyhow::Ok(Bookmark::of_url(&context, &Url::parse(url)?));
        of("http://x.example/a.mp3#t=10")?.save(ContentTime::from_nanos(7))?;
        assert_eq!(
            of("http://x.example/a.mp3")?.load()?,
            Some(ContentTime::from_nanos(7))
        );
        assert_eq!(of("http://x.example/a.mp3?t=10")?.load()?, None);
        Ok(())
    }
}
