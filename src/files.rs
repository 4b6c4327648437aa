//! Files that are written whole or not at all: beside their place, synced, then renamed.
//!
//! What is being written is locked. So what a killed command left is known by nobody holding it, and the next one that writes there removes it.
//!
//! Not for: state that is changed often; that is in databases.

use std::fs::TryLockError;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use engine::node::Torrent;

/// Writes these bytes.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_file(path, |out| {
        out.write_all(bytes)?;
        Ok(bytes.len() as u64)
    })
    .map(drop)
}

/// Writes what `fill` gives; the folder is made if it is not there. Gives what `fill` gave: the number of bytes.
pub(crate) fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut std::fs::File) -> anyhow::Result<u64>,
) -> anyhow::Result<u64> {
    let mut whole = Whole::begin(path)?;
    let bytes = fill(whole.file());
    let bytes = bytes.with_context(|| whole.doing())?;
    whole.finish()?;
    Ok(bytes)
}

/// A file that is being written, beside its place until it is whole. Without [`Whole::finish`] nothing is left of it.
pub(crate) struct Whole<'a> {
    path: &'a Path,
    file: tempfile::NamedTempFile,
}

impl<'a> Whole<'a> {
    /// Begins a file that will be at `path`; the folder is made if it is not there.
    pub(crate) fn begin(path: &'a Path) -> anyhow::Result<Self> {
        let doing = || format!("cannot write {}", path.display());
        let file = beside(path).with_context(doing)?;
        Ok(Self { path, file })
    }

    /// What is written into.
    pub(crate) fn file(&mut self) -> &mut std::fs::File {
        self.file.as_file_mut()
    }

    /// What did not succeed when something about it failed.
    pub(crate) fn doing(&self) -> String {
        format!("cannot write {}", self.path.display())
    }

    /// Puts it in its place.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let doing = self.doing();
        persist(self.file, self.path).context(doing)
    }
}

/// Whether something can be written there: the folder is made if it is not there, and so is a file beside it, for a moment.
pub(crate) fn can_write(path: &Path) -> anyhow::Result<()> {
    let doing = || format!("cannot write {}", path.display());
    beside(path).map(drop).with_context(doing)
}

/// Copies a file in place of whatever stands at `to`. Where the file system can, both share their blocks.
pub(crate) fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let doing = || format!("cannot copy {} to {}", from.display(), to.display());
    let mut source = std::fs::File::open(from).with_context(doing)?;
    let folder = folder_of(to);
    std::fs::create_dir_all(folder).with_context(doing)?;
    let mut file = replacing(to).and_then(|()| beside(folder)).with_context(doing)?;
    // Between files the standard library has the kernel copy, which reflinks where it can.
    std::io::copy(&mut source, file.as_file_mut()).with_context(doing)?;
    persist(file, to).with_context(doing)
}

/// Content that is kept somewhere else, and can have other names.
pub(crate) trait Kept {
    /// Where it is.
    fn path(&self) -> PathBuf;
    /// Gives it another name.
    fn link(&self, to: &Path) -> std::io::Result<()>;
    /// Does something with that name, or with its permissions.
    fn touch(&self, doing: &mut dyn FnMut());
}

/// A file of a torrent, by its place in the metainfo.
impl Kept for (&Torrent, usize) {
    fn path(&self) -> PathBuf {
        let (torrent, file) = self;
        let mut path = torrent.content_path().to_owned();
        if !torrent.metainfo().is_single_file() {
            path.extend(torrent.metainfo().files()[*file].path());
        }
        path
    }

    fn link(&self, to: &Path) -> std::io::Result<()> {
        self.0.link(self.1, to)
    }

    fn touch(&self, doing: &mut dyn FnMut()) {
        self.0.touch(self.1, doing);
    }
}

/// Puts content that is kept elsewhere in place of whatever stands at `to`: by another name, where that can be, or else as a copy.
pub(crate) fn place_file(kept: &impl Kept, to: &Path) -> anyhow::Result<()> {
    let from = &kept.path();
    if is_same_file(from, to) {
        return Ok(());
    }
    let folder = room_for(to).with_context(|| format!("cannot write {}", to.display()))?;
    let linked = tempfile::Builder::new()
        .prefix(PREFIX)
        .suffix(SUFFIX)
        .make_in(folder, |path| kept.link(path))
        .and_then(|linked| {
            let (mut linked, mut placed) = (Some(linked), Ok(()));
            kept.touch(&mut || {
                if let Some(linked) = linked.take() {
                    placed = linked.persist(to);
                }
            });
            placed.map_err(|error| error.error)
        });
    match linked {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::debug!(from = %from.display(), "no link: {error}");
            copy_file(from, to)
        }
    }
}

/// Moves a file in place of whatever stands at `to`: by its name alone, or as a copy where that is on another disk.
pub(crate) fn move_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let moving = || {
        room_for(to)?;
        set_mode(&std::fs::File::open(from)?)?;
        std::io::Result::Ok(std::fs::rename(from, to))
    };
    let moved = moving().with_context(|| format!("cannot write {}", to.display()))?;
    if moved.is_err() {
        copy_file(from, to)?;
        // What is left of it is in nobody's way.
        let _ = std::fs::remove_file(from);
    }
    Ok(())
}

/// Lets whoever may read a file run it, too. Where that cannot be said of files, it is only noted: all of it is there.
pub(crate) fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let made = std::fs::metadata(path).and_then(|about| {
        let mode = about.permissions().mode();
        let mode = std::fs::Permissions::from_mode(mode | ((mode & 0o444) >> 2));
        std::fs::set_permissions(path, mode)
    });
    if let Err(error) = made {
        eprintln!("note: cannot make {} executable: {error}", path.display());
    }
}

/// Whether what is kept at `from` can be given another name at `to`, as far as one can tell before.
pub(crate) fn is_on_one_disk(from: &Path, to: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| Some(std::fs::metadata(path).ok()?.dev());
    let there = folder_of(to).ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        device(folder)
    });
    there.is_some() && device(from) == there
}

/// Whether two paths lead to the same file or folder.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &Path| std::fs::metadata(path).map(|about| (about.dev(), about.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Says it when the folder of a file that a person named will be made.
pub(crate) fn tell_new_folder(path: &Path) {
    let folder = folder_of(path);
    if !folder.exists() {
        eprintln!("note: there is no folder {}, so it is made", folder.display());
    }
}

/// Refuses what no file may take the place of: a device, a pipe or a socket, which root could replace.
fn replacing(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let Ok(about) = std::fs::metadata(path) else {
        return Ok(());
    };
    let kind = about.file_type();
    if kind.is_char_device() || kind.is_block_device() || kind.is_fifo() || kind.is_socket() {
        let why = "it is a device, a pipe or a socket; with `-o -` it all goes to stdout";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why));
    }
    Ok(())
}

const PREFIX: &str = ".grove-";
const SUFFIX: &str = ".part";

/// The folder of a file that is to be written: it is made if it is not there.
fn room_for(path: &Path) -> std::io::Result<&Path> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder)?;
    replacing(path)?;
    Ok(folder)
}

/// A file in the folder of what it is to become.
fn beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = room_for(path)?;
    remove_left_behind(folder);
    loop {
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .suffix(SUFFIX)
            .tempfile_in(folder)?;
        // Where files cannot be locked, nothing is removed either.
        let locked = file.as_file().try_lock();
        // Another command may have taken it for one that was left behind, before it was locked.
        if !matches!(locked, Err(TryLockError::WouldBlock)) && file.path().exists() {
            return Ok(file);
        }
    }
}

/// Removes what commands that were killed were writing here. A courtesy: what cannot be removed stays.
fn remove_left_behind(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || !name.ends_with(SUFFIX) {
            continue;
        }
        let Ok(file) = std::fs::File::options().write(true).open(entry.path()) else {
            continue;
        };
        if file.try_lock().is_ok() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// As what is no secret: everybody may read it.
fn set_mode(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

fn persist(file: tempfile::NamedTempFile, path: &Path) -> std::io::Result<()> {
    file.as_file().sync_all()?;
    set_mode(file.as_file())?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is whole.
    struct There(PathBuf);

    impl Kept for There {
        fn path(&self) -> PathBuf {
            self.0.clone()
        }

        fn link(&self, to: &Path) -> std::io::Result<()> {
            std::fs::hard_link(&self.0, to)
        }

        fn touch(&self, doing: &mut dyn FnMut()) {
            doing();
        }
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        use std::os::unix::fs::FileTypeExt as _;

        let folder = tempfile::tempdir().expect("a folder");
        let (socket, link) = (folder.path().join("socket"), folder.path().join("link"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        std::os::unix::fs::symlink("socket", &link).expect("a link");
        let whole = folder.path().join("whole");
        write_whole(&whole, b"all of it").expect("it can be written");
        for place in [&socket, &link] {
            let tries = [
                write_whole(place, b"all of it"),
                can_write(place),
                copy_file(&whole, place),
                place_file(&There(whole.clone()), place),
            ];
            for tried in tries {
                let error = format!("{:#}", tried.expect_err("refused"));
                assert!(error.contains("stdout"), "{error}");
            }
        }
        let about = std::fs::symlink_metadata(&socket).expect("it is there");
        assert!(about.file_type().is_socket());
        assert!(
            std::fs::symlink_metadata(&link)
                .expect("it is there")
                .is_symlink()
        );
    }

    #[test]
    fn what_was_left_behind_goes_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let left = folder.path().join(".grove-left.part");
        std::fs::write(&left, b"half").expect("space on the disk");
        let theirs = folder.path().join("theirs.part");
        std::fs::write(&theirs, b"not ours").expect("space on the disk");
        let other = beside(&folder.path().join("other")).expect("a file");
        assert!(!left.exists());
        write_whole(&folder.path().join("whole"), b"all of it").expect("it can be written");
        assert!(other.path().exists() && theirs.exists());
        drop(other);
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["theirs.part", "whole"]);
    }
}
