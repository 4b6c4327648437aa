//! Where the file of a URL goes while it comes: into what is kept of it, or to stdout.
//!
//! Not for: asking for it (`fetching`).

use std::io::Write as _;

use anyhow::Context as _;
use bytes::Bytes;

use crate::output::reader_gone;
use crate::partial::Partial;
use crate::validator::Validator;

/// Where it goes while it comes.
pub(crate) enum Out {
    Kept(Partial),
    /// Read by somebody at once: nothing of it can be taken back.
    Stdout {
        bytes: u64,
        total: Option<u64>,
        validator: Option<Validator>,
    },
}

impl Out {
    pub(super) fn is_stdout(&self) -> bool {
        matches!(self, Out::Stdout { .. })
    }

    pub(super) fn have(&self) -> u64 {
        match self {
            Out::Kept(partial) => partial.have(),
            Out::Stdout { bytes, .. } => *bytes,
        }
    }

    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Out::Kept(partial) => partial.total(),
            Out::Stdout { total, .. } => *total,
        }
    }

    pub(super) fn validator(&self) -> Option<&Validator> {
        match self {
            Out::Kept(partial) => partial.validator(),
            Out::Stdout { validator, .. } => validator.as_ref(),
        }
    }

    /// What the same command goes on from; of what goes to stdout what was written.
    pub(super) fn kept(&self) -> u64 {
        match self {
            Out::Kept(partial) => partial.kept(),
            Out::Stdout { bytes, .. } => *bytes,
        }
    }

    pub(super) fn take(&mut self, part: Part) -> anyhow::Result<()> {
        match (self, part) {
            (Out::Kept(partial), Part::Begin(version, total)) => partial.begin(version, total),
            (Out::Kept(partial), Part::Total(total)) => {
                partial.set_total(total);
                Ok(())
            }
            (Out::Kept(partial), Part::Bytes(bytes)) => partial.append(&bytes),
            (Out::Kept(partial), Part::Keep) => partial.keep(),
            (Out::Stdout { validator, total, .. }, Part::Begin(version, all)) => {
                *validator = version;
                *total = all;
                Ok(())
            }
            (Out::Stdout { total, .. }, Part::Total(all)) => {
                *total = Some(all);
                Ok(())
            }
            (Out::Stdout { bytes, .. }, Part::Bytes(more)) => {
                let written = std::io::stdout().lock().write_all(&more);
                *bytes += more.len() as u64;
                written.context("cannot write the result").map_err(reader_gone)
            }
            (Out::Stdout { .. }, Part::Keep) => {
                let written = std::io::stdout().lock().flush();
                written.context("cannot write the result").map_err(reader_gone)
            }
        }
    }
}

/// What the writer of an answer is told, in order.
pub(super) enum Part {
    /// All of a version follows.
    Begin(Option<Validator>, Option<u64>),
    /// So long it is.
    Total(u64),
    Bytes(Bytes),
    Keep,
}
