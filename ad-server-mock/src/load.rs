//! Reads the hierarchy from TOML: the format, its checks, and the hashing of the creatives it names.
//!
//! Every refusal names the file, the line and the reason. Unknown keys are refused, so that a misspelt one is not
//! silently nothing. Not for writing to the store: see [`crate::store`].
//!
//! ```toml
//! [[advertiser]]
//! id = "aurora"                     # letters, digits, '.', '_', '-'
//! name = "Aurora Coffee"
//! domain = "aurora.example"         # optional
//! category = "IAB8-18"              # optional; two of one category never share a pod
//!
//! [[advertiser.campaign]]
//! id = "aurora-spring"
//! budget = 500.00                   # currency units; without it there is no limit
//! currency = "USD"                  # optional
//!
//! [[advertiser.campaign.flight]]
//! id = "aurora-spring-1"
//! start = 2026-01-01                # optional; a date is UTC
//! end = 2026-12-31                  # optional; a date is included
//! goal = 10000                      # optional, impressions
//! cap = 12000                       # optional, impressions
//! price_per_thousand = 25.0
//! priority = 8                      # optional, 1 comes before 16
//! pacing = "even"                   # optional: even, daily (both need start and end; daily a goal too) or fast
//! kind = "spot"                     # optional: spot, or sponsorship (stands after the spots of its pod)
//! frequency = { count = 3, hours = 24 }         # optional, for each viewer who gives a token
//! targeting = { shows = ["harbour"], countries = ["ES"] }   # optional: shows, episodes, positions, countries, devices, types
//!
//! [[advertiser.campaign.flight.creative]]
//! id = "aurora-15s"
//! file = "aurora.mp3"               # relative to this file
//! duration = 15.0                   # seconds
//! title = "Aurora, fifteen seconds" # optional, and so are the rest
//! click_through = "https://aurora.example/spring"
//! weight = 2
//! universal_ad_id = { registry = "ad-id.org", id = "AURO1234000H" }
//!
//! [[advertiser.campaign.flight.creative]]
//! id = "aurora-elsewhere"
//! tag = "https://ads.example/vast?…"  # another server's VAST in place of a file: the answer is a wrapper
//! duration = 30
//!
//! [[publisher]]
//! id = "harbour-media"
//! name = "Harbour Media"
//! share = 70                        # per cent of what is billed in its shows
//!
//! [[publisher.show]]
//! id = "harbour"                    # what a question for ads calls show
//! title = "The Harbour"             # optional, and so are the rest
//! share = 75
//! blocked = ["IAB7-39"]
//! separation = "download"           # two of one category: never in one pod, or never in one download
//! ```

mod files;
mod reader;
mod tables;
#[cfg(test)]
mod tests;

use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

pub(crate) use self::files::{Hashed, hash, media_type_of, modified};
use self::reader::Reader;
use self::tables::Document;
use crate::catalog::Catalog;

/// Where categories come from unless the file says otherwise.
pub(crate) const CATEGORY_AUTHORITY: &str = "https://iabtechlab.com/standards/content-taxonomy/";
/// Registry used for a creative without an identifier of its own: the id is then its SHA-256.
pub(crate) const OWN_REGISTRY: &str = "grove-sha256";
/// A larger TOML file is surely a mistake.
const LARGEST_TOML: u64 = 16 << 20;

/// Why a TOML file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read at all.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The TOML file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file says something that cannot be accepted.
    #[error("cannot load {}, line {line}: {reason}", path.display())]
    Bad {
        /// The TOML file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong, with the field's name.
        reason: String,
    },
}

/// A refusal inside one file: where (a byte range) and why.
struct Refusal(Range<usize>, String);

fn refuse<T>(at: &Spanned<T>, reason: impl Into<String>) -> Refusal {
    Refusal(at.span(), reason.into())
}

/// Reads and checks one TOML file and hashes the creatives it names. Blocks on the disk.
pub fn read(path: &Path) -> Result<Catalog, LoadError> {
    let fail = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(LARGEST_TOML + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    let line_of = |at: usize| 1 + text.bytes().take(at).filter(|b| *b == b'\n').count();
    let bad = |line, reason| LoadError::Bad {
        path: path.to_owned(),
        line,
        reason,
    };
    if text.len() as u64 > LARGEST_TOML {
        return Err(bad(1, format!("the file is larger than {LARGEST_TOML} bytes")));
    }
    let document: Document = toml::from_str(&text)
        .map_err(|e| bad(line_of(e.span().map_or(0, |s| s.start)), e.message().to_owned()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    Reader::new(folder)
        .document(document)
        .map_err(|Refusal(span, reason)| bad(line_of(span.start), reason))
}
