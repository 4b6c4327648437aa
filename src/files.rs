//! Files that are written whole or not at all: beside their place, synced, then renamed. Only what can be made again is not synced, unless it takes another's place: as after `cp`, a power cut may lose it.
//!
//! Links at a place stay: the file that they lead to is replaced. What the system has in `/dev` and `/proc` is never replaced.
//!
//! What is being written is locked. So what a killed command left is known by nobody holding it, and the next one that writes there removes it. What is still being
//! written when a command ends (threads that cannot be stopped may be at it) is removed then ([`abandon`]).
//!
//! Not for: state that is changed often; that is in databases.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ad_splicer::content::no_file;
use anyhow::Context as _;
use engine::node::Torrent;

use crate::output::Explain as _;
use crate::placing::Placing;

/// Writes these bytes.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_file(path, &Placing::default(), |out| {
        out.write_all(bytes)?;
        Ok(bytes.len() as u64)
    })
    .map(drop)
}

/// Writes what `fill` gives; the folder is made if it is not there. Gives what `fill` gave: the number of bytes.
pub(crate) fn write_file(
    path: &Path,
    placing: &Placing,
    fill: impl FnOnce(&mut std::fs::File) -> anyhow::Result<u64>,
) -> anyhow::Result<u64> {
    let mut whole = Whole::begin(path)?;
    let bytes = fill(whole.file());
    let bytes = bytes.with_context(|| whole.doing())?;
    whole.finish(placing, Synced::Always)?;
    Ok(bytes)
}

/// Whether a file is on the disk when it gets its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Synced {
    #[default]
    Always,
    /// Only when it takes another's place: for what can be made again from files that stay.
    Replacing,
}

/// A file that is being written, beside its place until it is whole. Without [`Whole::finish`] nothing is left of it.
pub(crate) struct Whole<'a> {
    path: &'a Path,
    /// Where it will really be.
    place: PathBuf,
    file: Beside,
}

impl<'a> Whole<'a> {
    /// Begins a file that will be at `path`; the folder is made if it is not there.
    pub(crate) fn begin(path: &'a Path) -> anyhow::Result<Self> {
        let doing = || format!("cannot write {}", path.display());
        let place = room_for(path).with_context(doing)?;
        let file = beside(&place).with_context(doing)?;
        Ok(Self { path, place, file })
    }

    /// What is written into.
    pub(crate) fn file(&mut self) -> &mut std::fs::File {
        self.file.file.as_file_mut()
    }

    /// What did not succeed when something about it failed.
    pub(crate) fn doing(&self) -> String {
        format!("cannot write {}", self.path.display())
    }

    /// Puts it in its place.
    pub(crate) fn finish(self, placing: &Placing, synced: Synced) -> anyhow::Result<()> {
        let doing = self.doing();
        persist(self.file, &self.place, placing, synced).context(doing)
    }
}

/// Whether something can be written there, as far as one can tell before. No folder is made; a file without a name is, for a moment, where the
/// first folder that is missing would be.
pub(crate) fn can_write(path: &Path) -> anyhow::Result<()> {
    let try_it = || {
        let place = behind_links(path)?;
        let (mut folder, mut missing) = (folder_of(&place), vec![place.file_name()]);
        while !folder.exists() && folder.file_name().is_some() {
            missing.push(folder.file_name());
            folder = folder_of(folder);
        }
        tempfile::tempfile_in(folder)?;
        // A name may be too long for the file system.
        let mut names = missing.iter().flatten();
        names.try_for_each(|name| match std::fs::symlink_metadata(folder.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
    };
    try_it().with_context(|| format!("cannot write {}", path.display()))
}

/// Copies a file in place of whatever stands at `to`. Where the file system can, both share their blocks.
pub(crate) fn copy_file(from: &Path, to: &Path, placing: &Placing) -> anyhow::Result<()> {
    let doing = || format!("cannot copy {} to {}", from.display(), to.display());
    let mut source = std::fs::File::open(from).with_context(doing)?;
    let place = room_for(to).with_context(doing)?;
    let mut file = beside(&place).with_context(doing)?;
    // Between files the standard library has the kernel copy, which reflinks where it can.
    std::io::copy(&mut source, file.file.as_file_mut()).with_context(doing)?;
    persist(file, &place, placing, Synced::Always).with_context(doing)
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
pub(crate) fn place_file(kept: &impl Kept, to: &Path, placing: &Placing) -> anyhow::Result<()> {
    let from = &kept.path();
    if is_same_file(from, to) {
        return Ok(placing.begin()?);
    }
    let place = room_for(to).with_context(|| format!("cannot write {}", to.display()))?;
    let linked = tempfile::Builder::new()
        .prefix(PREFIX)
        .suffix(SUFFIX)
        .make_in(folder_of(&place), |path| kept.link(path))
        .and_then(|linked| {
            placing.begin()?;
            let (mut linked, mut placed) = (Some(linked), Ok(()));
            kept.touch(&mut || {
                if let Some(linked) = linked.take() {
                    placed = linked.persist(&place);
                }
            });
            placed.map_err(|error| error.error)
        });
    match linked {
        Ok(()) => Ok(()),
        Err(error) if placing.is_stopped() => Err(error.into()),
        Err(error) => {
            tracing::debug!(from = %from.display(), "no link: {error}");
            copy_file(from, to, placing)
        }
    }
}

/// Moves a file in place of whatever stands at `to`: by its name alone, or as a copy where that is on another disk.
pub(crate) fn move_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let moving = || {
        let place = room_for(to)?;
        set_mode(&std::fs::File::open(from)?)?;
        std::io::Result::Ok(std::fs::rename(from, place))
    };
    let moved = moving().with_context(|| format!("cannot write {}", to.display()))?;
    if moved.is_err() {
        copy_file(from, to, &Placing::default())?;
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
    let place = behind_links(to).unwrap_or_else(|_| to.to_owned());
    let there = folder_of(&place).ancestors().find_map(|folder| {
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

/// What a person named to write to: `-` for what leads to our stdout, as `/dev/stdout` does.
pub(crate) fn or_stdout(path: PathBuf) -> PathBuf {
    let ours = || {
        File::from(std::io::stdout().as_fd().try_clone_to_owned().ok()?)
            .metadata()
            .ok()
    };
    let is_ours = || {
        use std::os::unix::fs::MetadataExt as _;
        let (ours, there) = (ours()?, std::fs::metadata(&path).ok()?);
        Some((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
    };
    match follow(&path) {
        Ok(Followed::System) if is_ours() == Some(true) => PathBuf::from("-"),
        _ => path,
    }
}

/// Refuses to do something with a device, a pipe or a socket, which may be read for ever. What is not there is not judged.
pub(crate) fn check_regular(path: &Path, doing: &str) -> anyhow::Result<()> {
    let kind = std::fs::metadata(path).map(|about| about.file_type());
    let refused = |what: &str| {
        crate::output::bad_input(format!(
            "cannot {doing} {}: it is {what}, not a file",
            path.display()
        ))
    };
    match kind.ok().and_then(no_file) {
        Some(_) if is_terminal_as_stdin(path) => Err(refused("a terminal")).hint(|| {
            let path = path.display();
            format!("let another command write into it, as in `cat FILE | grove … {path}`")
        }),
        Some(what) => Err(refused(what)),
        None => Ok(()),
    }
}

/// Whether it is stdin by one of its names, into which nothing is written.
fn is_terminal_as_stdin(path: &Path) -> bool {
    let names = ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    names.iter().any(|name| path == Path::new(name)) && std::io::stdin().is_terminal()
}

/// Whether it is a pipe by the name that the system gives to what is open here.
pub(crate) fn is_open_pipe(path: &Path) -> bool {
    let is_pipe = std::fs::metadata(path).is_ok_and(|about| about.file_type().is_fifo());
    is_pipe && matches!(follow(path), Ok(Followed::System))
}

/// Where links lead.
enum Followed {
    To(PathBuf),
    /// Through what the system made of something that is open, or to its devices.
    System,
}

/// More links than any system follows.
const MOST_LINKS: usize = 64;

fn follow(path: &Path) -> std::io::Result<Followed> {
    let mut place = path.to_owned();
    for links in 0..MOST_LINKS {
        let is_link = std::fs::symlink_metadata(&place).is_ok_and(|about| about.is_symlink());
        if !is_link && links == 0 {
            return Ok(Followed::To(place));
        }
        // A folder that is not there is none of the system's.
        let folder = folder_of(&place).canonicalize();
        if folder.is_ok_and(|folder| is_of_system(&folder)) {
            return Ok(Followed::System);
        }
        if !is_link {
            return Ok(Followed::To(place));
        }
        let target = std::fs::read_link(&place)?;
        place = folder_of(&place).join(target);
    }
    Err(std::io::Error::other("too many links lead on from here"))
}

fn is_of_system(folder: &Path) -> bool {
    folder.starts_with("/proc") || (folder.starts_with("/dev") && !folder.starts_with("/dev/shm"))
}

/// The file that is meant by a place, behind its links. Refuses what no file may take the place of: a device, a pipe or a socket, which root could
/// replace, and what leads to one, or to something that is open.
fn behind_links(path: &Path) -> std::io::Result<PathBuf> {
    let refused = |what: &str| {
        let why = format!("{what}; with `-o -` it all goes to stdout");
        Err(std::io::Error::new(ErrorKind::InvalidInput, why))
    };
    match std::fs::metadata(path) {
        Ok(about) => {
            if let Some(what) = no_file(about.file_type()) {
                return refused(&format!("it is {what}"));
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    match follow(path)? {
        Followed::To(place) => Ok(place),
        Followed::System => refused("it leads into /dev or /proc, where nothing is replaced"),
    }
}

const PREFIX: &str = ".grove-";
const SUFFIX: &str = ".part";

/// Where a file is to be written: its folder is made if it is not there.
fn room_for(path: &Path) -> std::io::Result<PathBuf> {
    let place = behind_links(path)?;
    std::fs::create_dir_all(folder_of(&place))?;
    Ok(place)
}

/// What is being written; nothing more is begun once that was abandoned.
static BEING_WRITTEN: Mutex<Option<BTreeSet<PathBuf>>> = Mutex::new(Some(BTreeSet::new()));

fn being_written() -> MutexGuard<'static, Option<BTreeSet<PathBuf>>> {
    BEING_WRITTEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what is still being written: the command ends, and nobody will put it in its place.
pub(crate) fn abandon() {
    for path in being_written().take().into_iter().flatten() {
        let _ = std::fs::remove_file(path);
    }
}

/// A file in the folder of what it is to become.
struct Beside {
    file: tempfile::NamedTempFile,
    _known: Known,
}

/// The name of what is being written, until it is not any more.
struct Known(PathBuf);

impl Known {
    fn new(path: &Path) -> std::io::Result<Self> {
        let mut all = being_written();
        let all = all.as_mut();
        let all = all.ok_or_else(|| std::io::Error::other("the command is at its end"))?;
        all.insert(path.to_owned());
        Ok(Self(path.to_owned()))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        if let Some(all) = being_written().as_mut() {
            all.remove(&self.0);
        }
    }
}

fn beside(place: &Path) -> std::io::Result<Beside> {
    let folder = folder_of(place);
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
            let known = Known::new(file.path())?;
            return Ok(Beside { file, _known: known });
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

fn persist(beside: Beside, path: &Path, placing: &Placing, synced: Synced) -> std::io::Result<()> {
    let Beside { file, _known } = beside;
    if synced == Synced::Always || path.exists() {
        file.as_file().sync_all()?;
    }
    set_mode(file.as_file())?;
    placing.begin()?;
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
                copy_file(&whole, place, &Placing::default()),
                place_file(&There(whole.clone()), place, &Placing::default()),
                move_file(&whole, place),
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

    /// A way to write something whole.
    type Way<'a> = &'a dyn Fn(&Path) -> anyhow::Result<()>;

    #[test]
    fn links_stay_and_what_they_lead_to_is_replaced() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir(at("far")).expect("a folder");
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, at(name)).expect("a link");
        link("far/one", "far-link");
        link("far-link", "link");
        link("/dev/fd/0", "open");
        link("/proc/self/cmdline", "proc");
        link("round", "round");
        std::fs::write(at("whole"), "whole").expect("space on the disk");
        let whole = at("whole");
        let ways: [Way<'_>; 4] = [
            &|to| write_whole(to, b"whole"),
            &|to| copy_file(&whole, to, &Placing::default()),
            &|to| place_file(&There(whole.clone()), to, &Placing::default()),
            &|to| {
                std::fs::write(at("own"), "whole")?;
                move_file(&at("own"), to)
            },
        ];
        for write in ways {
            // Where nothing is yet, and where something is.
            for _ in 0..2 {
                write(&at("link")).expect("it can be written");
                assert_eq!(std::fs::read(at("far/one")).expect("it is there"), b"whole");
                assert!(at("link").is_symlink() && at("far-link").is_symlink());
                // (It may be another name of what was written.)
                std::fs::remove_file(at("far/one")).expect("it is there");
                std::fs::write(at("far/one"), "other").expect("space on the disk");
            }
            std::fs::remove_file(at("far/one")).expect("it is there");
            for name in ["open", "proc", "round"] {
                write(&at(name)).expect_err(name);
                can_write(&at(name)).expect_err(name);
                assert!(at(name).is_symlink(), "{name}");
            }
        }
        assert!(is_on_one_disk(&whole, &at("link")));
        let error = can_write(&at("proc")).expect_err("the system's");
        assert!(
            format!("{error:#}").contains("leads into /dev or /proc"),
            "{error:#}"
        );
    }

    #[test]
    fn what_cannot_be_written_is_told_before_and_nothing_is_made() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("file"), "").expect("space on the disk");
        let long = "n".repeat(300);
        for wrong in [
            &long,
            &format!("new/{long}"),
            &format!("new/{long}/file"),
            "file/within",
        ] {
            can_write(&at(wrong)).expect_err(wrong);
        }
        for right in ["file", "other", "new/folder/file"] {
            can_write(&at(right)).expect(right);
        }
        let there = std::fs::read_dir(place.path()).expect("the folder").count();
        assert_eq!(there, 1);
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
        assert!(other.file.path().exists() && theirs.exists());
        drop(other);
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["theirs.part", "whole"]);
    }
}
