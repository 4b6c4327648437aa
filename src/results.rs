//! Where results may go that are named by what is fetched, and not by the person: nothing of theirs is replaced, and nothing hidden is made.
//!
//! A result may take the place of an earlier one of the same source, which is noted in the data folder by what the file is and when it was
//! changed last (its change time, which nobody can set: a tag editor may keep size and modification time), and of what has the same bytes:
//! another name or other permissions move the change time too. Of what no torrent tells the bytes of, their hash is noted as well.
//! Everything else that is there stays, and it is said how to replace it.
//!
//! Not for: `-o FILE`, by which a person says what is to be replaced.

use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
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
    /// What was written earlier.
    noted: Vec<Written>,
}

/// A file that was written, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    /// Its device and number.
    file: String,
    length: u64,
    changed: String,
    /// SHA-256, in hex, of what no torrent tells the bytes of.
    hash: Option<String>,
}

impl Written {
    fn now(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        Some(Self {
            file: format!("{} {}", about.dev(), about.ino()),
            length: about.len(),
            changed: format!("{}.{:09}", about.ctime(), about.ctime_nsec()),
            hash: None,
        })
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut next = || words.next();
        Some(Self {
            file: format!("{} {}", next()?, next()?),
            length: next()?.parse().ok()?,
            changed: next()?.to_owned(),
            hash: next().map(str::to_owned),
        })
    }

    fn line(&self) -> String {
        let hash = self.hash.iter().map(|hash| format!(" {hash}"));
        format!("{} {} {}", self.file, self.length, self.changed) + &hash.collect::<String>()
    }

    /// Whether nothing was done to it since `earlier`.
    fn is_still(&self, earlier: &Self) -> bool {
        (&self.file, self.length, &self.changed) == (&earlier.file, earlier.length, &earlier.changed)
    }
}

impl Results {
    /// Those of a source, by what it is known by: an info hash or a URL.
    pub(crate) fn of(context: &Context, source: &str) -> Self {
        let name = hex::encode(&Sha256::digest(source)[..16]);
        Self::noted(context.data.join("results").join(name))
    }

    fn noted(note: PathBuf) -> Self {
        let noted = std::fs::read_to_string(&note).unwrap_or_default();
        Results {
            noted: noted.lines().filter_map(Written::parse).collect(),
            note,
        }
    }

    /// Whether a result may go to `to`; `same` tells whether what is there has the bytes of the result.
    pub(crate) fn may_replace(&self, to: &Path, same: impl FnOnce(&Path) -> bool) -> anyhow::Result<()> {
        let Ok(there) = std::fs::symlink_metadata(to) else {
            return Ok(());
        };
        if there.is_file() && (self.wrote_this(to) || same(to)) {
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
        root.is_dir()
            && (places.iter().any(|(to, _)| self.wrote_this(to))
                || places.iter().all(|(to, file)| has_bytes(to, metainfo, file)))
    }

    /// Whether what is there is what was written here: the same file, to which nothing was done, or any with the bytes that were noted.
    /// Reads all of it when it is as long as one of those.
    fn wrote_this(&self, path: &Path) -> bool {
        let Some(now) = Written::now(path) else {
            return false;
        };
        let as_long = self.noted.iter().filter(|noted| noted.length == now.length);
        let hashes: Vec<_> = as_long.filter_map(|noted| noted.hash.as_ref()).collect();
        self.noted.iter().any(|noted| now.is_still(noted))
            || (!hashes.is_empty() && hash(path).is_ok_and(|hash| hashes.contains(&&hash)))
    }

    /// Whether this file was written here, whatever has become of it since.
    fn was_here(&self, path: &Path) -> bool {
        Written::now(path).is_some_and(|now| self.noted.iter().any(|noted| noted.file == now.file))
    }

    /// Remembers what was written, as the torrent has it.
    pub(crate) fn wrote<'a>(&self, paths: impl IntoIterator<Item = &'a Path>) {
        self.remember(paths.into_iter().filter_map(Written::now).collect());
    }

    /// Remembers what was written and has bytes of its own, with ads or of no torrent. Reads all of it.
    pub(crate) fn made(&self, path: &Path) {
        let written = Written::now(path).map(|written| Written {
            // Then it has to be left as it is, to be known again.
            hash: hash(path).ok(),
            ..written
        });
        self.remember(written.into_iter().collect());
    }

    fn remember(&self, mut written: Vec<Written>) {
        if written.iter().all(|written| self.noted.contains(written)) {
            return;
        }
        written.extend(self.noted.iter().rev().take(MOST_NOTED).rev().cloned());
        let lines: Vec<String> = written.iter().map(Written::line).collect();
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

/// Whether this is the file of the torrent. Reads all of it, when it is as long.
fn has_bytes(path: &Path, metainfo: &Metainfo, file: &File) -> bool {
    let hashed = || {
        let mut there = std::fs::File::open(path)?;
        if there.metadata()?.len() != file.length() {
            return Ok(false);
        }
        let mut hasher = FileHasher::new(metainfo.piece_length());
        read(&mut there, |bytes| hasher.update(bytes))?;
        io::Result::Ok(hasher.finish().0 == file.pieces_root())
    };
    hashed().unwrap_or(false)
}

/// SHA-256 of all bytes of a file, in hex.
fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    read(&mut std::fs::File::open(path)?, |bytes| hasher.update(bytes))?;
    Ok(hex::encode(hasher.finalize()))
}

fn read(file: &mut std::fs::File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            count => take(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::metainfo::{Builder, Listing};

    const NOTHING_IS: fn(&Path) -> bool = |_| false;

    fn results(data: &Path) -> Results {
        Results::noted(data.join("results").join("one"))
    }

    /// Does something to a file until the time of its last change shows it: that of some file systems goes in steps.
    fn until_it_shows(path: &Path, doing: impl Fn()) {
        let before = Written::now(path);
        while Written::now(path) == before {
            doing();
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
        until_it_shows(&to, || {
            let modified = std::fs::metadata(&to).and_then(|about| about.modified());
            std::fs::write(&to, "edited, and as long").expect("space on the disk");
            let file = std::fs::File::options()
                .append(true)
                .open(&to)
                .expect("it is there");
            file.set_modified(modified.expect("a time")).expect("it is ours");
        });
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
        until_it_shows(&to, || {
            let other = place.path().join("other");
            std::fs::hard_link(&to, &other).expect("another name");
            std::fs::remove_file(other).expect("it is there");
        });
        may_be().expect("it is what was written");
        std::fs::write(&to, "what was publishee").expect("space on the disk");
        may_be().expect_err("it was edited");
    }

    #[test]
    fn what_was_made_with_ads_is_known_again_by_its_bytes() {
        let place = tempfile::tempdir().expect("a folder");
        let (data, to) = (place.path().join("data"), place.path().join("a.mp3"));
        std::fs::write(&to, "content and ads").expect("space on the disk");
        results(&data).made(&to);
        let may_replace = || results(&data).may_replace(&to, NOTHING_IS);
        let touches: [fn(&Path); 3] = [
            |path| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                std::fs::set_permissions(path, mode).expect("it is ours");
            },
            |path| {
                let other = path.with_extension("other");
                let _ = std::fs::remove_file(&other);
                std::fs::hard_link(path, other).expect("another name");
            },
            |path| {
                let file = std::fs::File::options().append(true).open(path);
                let now = std::time::SystemTime::now();
                file.and_then(|file| file.set_modified(now)).expect("it is ours");
            },
        ];
        for touch in touches {
            until_it_shows(&to, || touch(&to));
            may_replace().expect("it is what was written");
        }
        // Also when it was copied, as from a backup.
        let bytes = std::fs::read(&to).expect("it is there");
        std::fs::remove_file(&to).expect("it is there");
        std::fs::write(&to, bytes).expect("space on the disk");
        may_replace().expect("nothing is lost");
        std::fs::write(&to, "content and aDs").expect("space on the disk");
        may_replace().expect_err("it was edited");
        // What an earlier version noted is without a hash.
        std::fs::write(&to, "content and ads").expect("space on the disk");
        may_replace().expect("it is what was written");
        let note = data.join("results").join("one");
        let old = Written::now(&to).expect("it is there").line();
        std::fs::write(note, &old).expect("space on the disk");
        may_replace().expect("it is what was written");
        until_it_shows(&to, || touches[0](&to));
        may_replace().expect_err("nobody knows its bytes");
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
