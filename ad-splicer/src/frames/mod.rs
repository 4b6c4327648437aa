//! Coded frames, read and written without decoding them: pure code, no GStreamer, no I/O but [`crate::content::Content`].
//!
//! One folder for each format. A format's core knows its frame headers, which frames depend on which, and how to start in the middle; [`crate::splice`] joins them.

pub(crate) mod aac;
pub(crate) mod flac;
#[cfg(fuzzing)]
pub mod fuzzing;
pub(crate) mod h264;
pub(crate) mod id3v2;
pub(crate) mod louder;
pub(crate) mod marked;
pub mod mp3;
pub(crate) mod mp4;
pub(crate) mod ogg;
pub(crate) mod opus;
pub(crate) mod padding;
pub(crate) mod tail;
pub(crate) mod vorbis;
pub(crate) mod vorbis_comment;
pub(crate) mod vp9;
pub(crate) mod wav;
pub(crate) mod webm;
pub(crate) mod window;
