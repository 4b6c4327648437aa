//! Where results may go that are named by what is fetched, and not by the person: nothing of theirs is replaced, and nothing hidden is made.
//!
//! A result may take the place of an earlier one of the same source, which is noted in the data folder by what the file is and when it was
//! changed last (its change time, which nobody can set: a tag editor may keep size and modification time), and of what has the same bytes. Everything else that is there stays, and it is said how to replace it.
//!
//! Not for: `-o FILE`, by which a person says what is to be replaced.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use engine::merkle::FileHasher;
use engine::metainfo::{File, Metainfo};
use sha2::{Digest as _, Sha256};

use crate::context::Context;
use crate::files::write_whole;
use crate::output::{Explain, bad_input};

/// Most results of a source that are remembered beside those of its last run.
const MOST_NOTED: usize = 64;

/// The results of one source.
#[derive(Debug)]
pub(crate) struct Results {
    note: PathBuf,
    /// What was written earlier, as [`stamp`] has it.
    noted: Vec<String>,
}

impl Results {
    /// Those of a source, by what it is known by: an info hash or a URL.
    pub(crate) fn of(context: &Context, source: &str) -> Self {
        let name = hex::encode(&Sha256::digest(source)[..16]);
        let note = context.data.join("results").join(name);
        let noted = std::fs::read_to_string(&note).unwrap_or_default();
        Results {
            noted: noted.lines().map(str::to_owned).collect(),
            note,
        }
    }

    /// Whether a result may go to `to`; `same` tells whether what is there has the bytes of the result.
    pub(crate) fn may_replace(&self, to: &Path, same: impl FnOnce(&Path) -> bool) -> anyhow::Result<()> {
        let Ok(there) = std::fs::symlink_metadata(to) else {
            return Ok(());
        };
        if there.is_file() && (stamp(to).is_some_and(|stamp| self.noted.contains(&stamp)) || same(to)) {
            return Ok(());
        }
        Err(bad_input(format!(
            "{} is here already, and is something else than what would be written",
            to.display()
        )))
        .hint(|| "move it away, or name another place with -o; `-o FILE` replaces what is there".into())
    }

    /// Whether the only file of a torrent may go to `to`; with `ads` it will have other bytes. (What was written here without any has them
    /// still after it was given another name or other permissions, which its stamp shows too.)
    pub(crate) fn may_be(&self, to: &Path, metainfo: &Metainfo, ads: bool) -> anyhow::Result<()> {
        let file = metainfo.files().first();
        self.may_replace(to, |there| {
            (!ads || self.was_here(there)) && file.is_some_and(|file| has_bytes(there, metainfo, file))
        })
    }

    /// Whether the files of a folder may go below `root`, each by its path there.
    pub(crate) fn may_fill<'a>(
        &self,
        root: &Path,
        metainfo: &Metainfo,
        files: impl IntoIterator<Item = &'a File>,
    ) -> anyhow::Result<()> {
        if !root.exists() {
            return Ok(());
        }
        for file in files {
            let inside: PathBuf = file.path().iter().collect();
            let to = root.join(&inside);
            // In a folder of one's own, what is hidden may be settings of programs.
            if self.noted.is_empty() && !to.exists() && inside.components().any(is_hidden) {
                return Err(bad_input(format!(
                    "{} would be a hidden file in a folder that is here already",
                    to.display()
                )))
                .hint(|| "name a new folder with -o".into());
            }
            self.may_replace(&to, |there| has_bytes(there, metainfo, file))?;
        }
        Ok(())
    }

    /// Whether this torrent is below `root`: some file of it was written there earlier, or all of them have the same bytes. (One that has
    /// may be there by chance: a licence, a cover.)
    pub(crate) fn are_in(&self, root: &Path, metainfo: &Metainfo) -> bool {
        let files = metainfo.files().iter().filter(|file| file.length() > 0);
        let places = files.map(|file| (root.join(file.path().iter().collect::<PathBuf>()), file));
        let places: Vec<_> = places.collect();
        let was_written = |to: &PathBuf| stamp(to).is_some_and(|stamp| self.noted.contains(&stamp));
        root.is_dir()
            && (places.iter().any(|(to, _)| was_written(to))
                || places.iter().all(|(to, file)| has_bytes(to, metainfo, file)))
    }

    /// Whether this file was written here, whatever has become of it since.
    fn was_here(&self, path: &Path) -> bool {
        let is_it = |stamp: String| self.noted.iter().any(|noted| which(noted) == which(&stamp));
        stamp(path).is_some_and(is_it)
    }

    /// Remembers what was written.
    pub(crate) fn wrote<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) {
        let mut lines: Vec<String> = paths.into_iter().filter_map(stamp).collect();
        if lines.iter().all(|line| self.noted.contains(line)) {
            return;
        }
        lines.extend(self.noted.iter().rev().take(MOST_NOTED).rev().cloned());
        // Then the next run has to be told where to.
        if let Err(error) = write_whole(&self.note, lines.join("\n").as_bytes()) {
            tracing::warn!("it is not noted what was written: {error:#}");
        }
    }
}

/// Refuses a name that a file browser does not show, where the source gives it.
pub(crate) fn check_name(name: &str) -> anyhow::Result<()> {
    if !Path::new(name).components().any(is_hidden) {
        return Ok(());
    }
    Err(bad_input(format!(
        "the source names its file {name:?}, which is hidden"
    )))
    .hint(|| "name it yourself with -o".into())
}

fn is_hidden(component: Component<'_>) -> bool {
    matches!(component, Component::Normal(name) if name.as_encoded_bytes().starts_with(b"."))
}

/// Which file this is, and in what state.
fn stamp(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let about = std::fs::metadata(path).ok()?;
    let (changed, nanos) = (about.ctime(), about.ctime_nsec());
    Some(format!(
        "{} {} {} {changed}.{nanos:09}",
        about.dev(),
        about.ino(),
        about.len()
    ))
}

/// Of a stamp what does not change with the state: device and number.
fn which(stamp: &str) -> Vec<&str> {
    stamp.split(' ').take(2).collect()
}

/// Whether this is the file of the torrent. Reads all of it, when it is as long.
fn has_bytes(path: &Path, metainfo: &Metainfo, file: &File) -> bool {
    let hashed = || {
        let mut there = std::fs::File::open(path)?;
        if there.metadata()?.len() != file.length() {
            return Ok(false);
        }
        let mut hasher = FileHasher::new(metainfo.piece_length());
        let mut buffer = vec![0; 1 << 20];
        loop {
            match there.read(&mut buffer)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        std::io::Result::Ok(hasher.finish().0 == file.pieces_root())
    };
    hashed().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::metainfo::{Builder, Listing};

    const NOTHING_IS: fn(&Path) -> bool = |_| false;

    fn results(data: &Path) -> Results {
        let note = data.join("results").join("one");
        let noted = std::fs::read_to_string(&note).unwrap_or_default();
        Results {
            noted: noted.lines().map(str::to_owned).collect(),
            note,
        }
    }

    #[test]
    fn what_is_there_stays_unless_it_was_written_from_the_same_source_or_is_the_same() {
        let place = tempfile::tempdir().expect("a folder");
        let (data, to) = (place.path().join("data"), place.path().join("report.pdf"));
        let fresh = results(&data);
        fresh.may_replace(&to, NOTHING_IS).expect("nothing is there");
        std::fs::write(&to, "a person's").expect("space on the disk");
        let error = fresh.may_replace(&to, NOTHING_IS).expect_err("it is theirs");
        assert!(error.to_string().contains("is here already"), "{error}");
        fresh.may_replace(&to, |_| true).expect("nothing is lost");
        // Now as if we had written it.
        fresh.wrote([to.as_path()]);
        results(&data).may_replace(&to, NOTHING_IS).expect("it is ours");
        // Then the person changed it.
        std::fs::write(&to, "longer than before.").expect("space on the disk");
        results(&data)
            .may_replace(&to, NOTHING_IS)
            .expect_err("it was changed");
        // Now so that size and time of the last modification stay.
        results(&data).wrote([to.as_path()]);
        let before = stamp(&to);
        while stamp(&to) == before {
            let modified = std::fs::metadata(&to).and_then(|about| about.modified());
            std::fs::write(&to, "edited, and as long").expect("space on the disk");
            let file = std::fs::File::options()
                .append(true)
                .open(&to)
                .expect("it is there");
            file.set_modified(modified.expect("a time")).expect("it is ours");
        }
        results(&data)
            .may_replace(&to, NOTHING_IS)
            .expect_err("it was edited");
        // A folder, and a link, whatever it leads to.
        let (folder, link) = (place.path().join("folder"), place.path().join("link"));
        std::fs::create_dir(&folder).expect("a folder");
        std::os::unix::fs::symlink(&to, &link).expect("a link");
        for there in [folder, link] {
            fresh
                .may_replace(&there, |_| true)
                .expect_err("it is no file of ours");
        }
    }

    #[test]
    fn what_was_written_without_ads_may_have_them_next_time_also_when_it_has_another_name_too() {
        let place = tempfile::tempdir().expect("a folder");
        let (data, to) = (place.path().join("data"), place.path().join("a.mp3"));
        std::fs::write(&to, "what was published").expect("space on the disk");
        let metainfo = Builder::new("a.mp3")
            .hash_file(&to, |_| {})
            .expect("it can be hashed");
        let may_be = || results(&data).may_be(&to, &metainfo, true);
        may_be().expect_err("a person's own copy stays");
        results(&data).wrote([to.as_path()]);
        let before = stamp(&to);
        while stamp(&to) == before {
            let other = place.path().join("other");
            std::fs::hard_link(&to, &other).expect("another name");
            std::fs::remove_file(other).expect("it is there");
        }
        may_be().expect("it is what was written");
        std::fs::write(&to, "what was publishee").expect("space on the disk");
        may_be().expect_err("it was edited");
    }

    #[test]
    fn a_source_makes_no_hidden_file() {
        for name in [".bashrc", ".ssh", "..."] {
            let error = check_name(name).expect_err(name).to_string();
            assert!(error.contains("hidden"), "{error}");
        }
        check_name("episode.mp3").expect("it is seen");
    }

    #[test]
    fn a_folder_that_is_here_gets_no_hidden_file_and_loses_none() {
        let place = tempfile::tempdir().expect("a folder");
        let source = place.path().join("source");
        std::fs::create_dir_all(source.join(".git/hooks")).expect("a folder");
        for (name, bytes) in [(".git/hooks/pre-commit", "run me"), ("notes.txt", "notes")] {
            std::fs::write(source.join(name), bytes).expect("space on the disk");
        }
        let listing = Listing::of(&source).expect("it can be listed");
        let metainfo = Builder::new("project")
            .hash_folder(&source, &listing, |_| {})
            .expect("it can be hashed");
        let check = |root: &Path| {
            let results = results(&place.path().join("data"));
            results.may_fill(root, &metainfo, metainfo.files())
        };
        let root = place.path().join("project");
        check(&root).expect("it is new");
        std::fs::create_dir(&root).expect("a folder");
        let error = check(&root).expect_err("hooks would be made").to_string();
        assert!(error.contains("hidden"), "{error}");
        // Where all of it is already, nothing changes.
        check(&source).expect("it is the same");
        std::fs::write(source.join("notes.txt"), "other").expect("space on the disk");
        check(&source).expect_err("another file is there");
    }

    #[test]
    fn one_file_that_is_the_same_makes_no_folder_that_of_the_torrent() {
        let place = tempfile::tempdir().expect("a folder");
        let source = place.path().join("source");
        std::fs::create_dir(&source).expect("a folder");
        for (name, bytes) in [("LICENSE", "as everywhere"), ("notes.txt", "notes")] {
            std::fs::write(source.join(name), bytes).expect("space on the disk");
        }
        let listing = Listing::of(&source).expect("it can be listed");
        let metainfo = Builder::new("project")
            .hash_folder(&source, &listing, |_| {})
            .expect("it can be hashed");
        let data = place.path().join("data");
        assert!(results(&data).are_in(&source, &metainfo), "all of it is there");
        let other = place.path().join("other");
        std::fs::create_dir(&other).expect("a folder");
        std::fs::copy(source.join("LICENSE"), other.join("LICENSE")).expect("space on the disk");
        assert!(!results(&data).are_in(&other, &metainfo));
        // Unless that is what an earlier run wrote.
        results(&data).wrote([other.join("LICENSE").as_path()]);
        assert!(results(&data).are_in(&other, &metainfo));
    }
}
