//! MP4 (ISO/IEC 14496-12): the box tree and the sample tables. Pure.
//!
//! Boxes that are not known are kept as they are, so that a rewrite loses nothing.

mod boxes;
mod chapters;
mod edits;
mod fragments;
mod length;
mod streamed;
mod tables;
mod whole;

pub(crate) use boxes::{Atom, TopBox, read_tree, top_level};
pub(crate) use chapters::{blank, chapters, sample_of, titles};
pub(crate) use edits::{Edit, Pause, edit_list, edit_with_pauses, put_edit, replace_edit, set_edit};
pub(crate) use fragments::{gather, track_id};
pub(crate) use length::{stated_length, true_length};
pub(crate) use streamed::{Part, Sample, beginning, fragment};
pub(crate) use tables::{
    Chunks, Samples, Tables, audio_config, avc_config, edit_chapters, full_duration, move_chunks,
    nero_chapters, priming, remove_tables, set_avc_config, set_description, set_durations, set_tables,
    told_of, turn_of,
};
pub(crate) use whole::{leave_out_priming, take_tags};
