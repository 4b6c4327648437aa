//! Telling what a document is that a person named: VAST (or its JSON form) or VMAP. Lenient in encodings, strict in size.
//!
//! Not for following anything that it says.

use super::decision::VastCode;
use super::vast::{self, VastError};
use crate::cues::vmap::{self, Vmap, VmapError};
use crate::xml;

/// Longest document that is read, in bytes.
pub const MOST_BYTES: usize = xml::MOST_BYTES;

/// A document that can be resolved.
#[derive(Debug, Clone)]
pub enum Read {
    /// The text of a VAST document that parses.
    Vast(String),
    /// A VMAP document, and its `version`.
    Vmap(Option<String>, Vmap),
}

/// Why a document is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is not VAST, and nothing else that is understood.
    #[error(transparent)]
    Vast(#[from] VastError),
    /// It is VMAP, and wrong.
    #[error(transparent)]
    Vmap(#[from] VmapError),
}

impl ReadError {
    /// The VAST error code: 100, 101 or 102. VMAP 1.0 has no codes of its own; its faults are the schema's.
    pub fn code(&self) -> VastCode {
        match self {
            Self::Vast(error) => error.code(),
            Self::Vmap(VmapError::Xml(_)) => VastCode::XML,
            Self::Vmap(_) => VastCode::SCHEMA,
        }
    }
}

/// Reads a document as it came.
pub fn read(bytes: &[u8]) -> Result<Read, ReadError> {
    let text = xml::decode(bytes).map_err(VastError::Xml)?;
    if vast::is_json(&text) {
        vast::parse(&text)?;
        return Ok(Read::Vast(text));
    }
    let root = xml::parse(&text).map_err(VastError::Xml)?;
    if root.is("VMAP") {
        let version = root.attribute("version").map(str::to_owned);
        return Ok(Read::Vmap(version, vmap::parse(&text)?));
    }
    vast::parse(&text)?;
    Ok(Read::Vast(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> u16 {
        read(bytes).expect_err("not usable").code().0
    }

    #[test]
    fn documents_are_told_apart_and_faults_have_their_code() {
        assert!(matches!(read(b"<VAST version='3.0'/>"), Ok(Read::Vast(_))));
        let vmap = b"<vmap:VMAP xmlns:vmap='http://www.iab.net/vmap-1.0' version='1.0'/>";
        assert!(matches!(read(vmap), Ok(Read::Vmap(Some(version), _)) if version == "1.0"));
        assert_eq!(code(b"rubbish"), 100);
        assert_eq!(code(b"<html/>"), 101);
        assert_eq!(code(b"<VAST version='9.0'/>"), 102);
        assert_eq!(code(b"<VMAP version='3.0'/>"), 101);
        assert_eq!(code(b"<VMAP><AdBreak/></VMAP>"), 101);
        assert_eq!(code(b"<VMAP><AdBreak></VMAP>"), 100);
    }
}
