//! Decisions: from a break's ad source to the ads that would play, by VAST 2.0–4.3.
//!
//! The parts, in the order in which a decision passes through them:
//! [`macros`] fill the request's URL; [`fetch`] gets documents under a deadline; [`vast`] parses them; [`resolve`] (pure)
//! follows wrappers, merges what they carry and orders the pod; [`select`] (pure) chooses the media file; the result is a
//! [`Decision`]. Only [`fetch`] does I/O.
//!
//! Invariants: a decision always comes, within the deadline, and an ad never blocks content: whatever goes wrong is a
//! [`Problem`] with its VAST error code and the URLs to tell it to. Not for fetching creatives or for playing.

pub mod decision;
pub mod document;
pub mod fetch;
pub mod limits;
pub mod macros;
pub mod resolve;
pub mod select;
pub mod vast;

pub use decision::{
    Ad, AdKind, Category, Companion, Decision, FrequencyCap, LeftOut, MediaFile, Offset, Problem, Tracking,
    UniversalAdId, VastCode, Verification, WrapperHop,
};
pub use fetch::{
    BreakDecision, BreakPlace, Context, DEADLINE, Fetch, FetchError, HOP, decide_break, decide_breaks,
};
pub use select::MediaPreference;
