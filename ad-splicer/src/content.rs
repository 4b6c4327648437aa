//! How the ad-splicer reads content: bytes at an offset, with a deadline.
//!
//! The content may still be downloading; a read waits until the bytes are there, or says that they did not come in time. Where the bytes come from (peers, an origin,
//! a file) is not known here. Content is read roughly in order, except that its head, its tail and the surroundings of cues may be asked for first.

use std::any::Any;
use std::fs::{File, FileType};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt as _};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::frame_index::FrameIndex;

/// Random access to content of known length whose bytes may not all be here yet.
pub trait Content: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Reads some bytes at `offset` into `buffer`, and says how many; 0 only at the end or for an empty buffer. Blocks until at least one byte is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] when nothing came within `deadline`; whatever the source says otherwise.
    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize>;

    /// The index of its frames that came with its identity, when there is one.
    fn frame_index(&self) -> Option<&FrameIndex> {
        None
    }

    /// Where to keep what was found out about it, so that nobody has to find it out again.
    fn findings(&self) -> Option<&Findings> {
        None
    }

    /// The file that it is, byte for byte, when all of it is here: then the kernel can copy from it.
    fn file(&self) -> Option<&File> {
        None
    }

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` from `offset`; each read has `deadline` of its own.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the content ends before, and those of [`Content::read_at`].
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(offset + done as u64, &mut buffer[done..], deadline) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What was found out about content: one thing, for as long as the content is held. It follows from the bytes alone.
#[derive(Debug, Default)]
pub struct Findings(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Findings {
    /// What was found out before, if it is of this kind.
    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.get().and_then(|found| Arc::clone(found).downcast().ok())
    }

    /// Keeps what was found out, unless something is kept.
    pub(crate) fn keep<T: Send + Sync + 'static>(&self, found: &Arc<T>) {
        // Who was first found the same.
        let _ = self.0.set(found.clone());
    }
}

/// Content that is a whole file on this machine.
#[derive(Debug)]
pub struct FileContent {
    file: File,
    len: u64,
    findings: Findings,
}

impl FileContent {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// Those of opening it; and [`io::ErrorKind::InvalidInput`] for what is no file, such as a pipe: it can be read in order only, and nobody knows how long it is.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(Self::open_file(path)?)
    }

    /// The same, to be read otherwise.
    pub(crate) fn open_file(path: &Path) -> io::Result<File> {
        // Whoever opens a pipe waits for somebody to write into it.
        if let Some(what) = no_file(std::fs::metadata(path)?.file_type()) {
            let reason = format!("it is {what}, not a file");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        File::open(path)
    }

    /// An open file, as long as it is now. Reading does not move its position.
    pub fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let findings = Findings::default();
        Ok(Self { file, len, findings })
    }
}

/// What it is that is no file and no folder: a pipe, a socket or a device, with its article.
pub fn no_file(kind: FileType) -> Option<&'static str> {
    let kinds = [
        (kind.is_fifo(), "a pipe"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device() || kind.is_block_device(), "a device"),
    ];
    kinds.into_iter().find(|(is_it, _)| *is_it).map(|(_, what)| what)
}

impl Content for FileContent {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], _deadline: Duration) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn findings(&self) -> Option<&Findings> {
        Some(&self.findings)
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

/// Content in memory: for tests and small files.
impl Content for Vec<u8> {
    fn len(&self) -> u64 {
        Vec::len(self) as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], _deadline: Duration) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.get(offset..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
}
