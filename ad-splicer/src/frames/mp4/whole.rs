//! What a movie box that was made here takes over from the one of the content, and how its sound begins.

use super::boxes::Atom;
use super::tables::{full_duration, priming, set_priming};

/// Leaves samples out at the beginning of the only track, by an edit list. Nothing is done to a box that makes no sense.
pub(crate) fn leave_out_priming(moov: &mut Atom, samples: u32) {
    let Some(movie) = moov.bytes(&[b"mvhd"]).and_then(full_duration) else {
        return;
    };
    let tracks = moov.children_mut().into_iter().flatten();
    for track in tracks.filter(|child| &child.kind == b"trak") {
        let Some(media) = track.bytes(&[b"mdia", b"mdhd"]).and_then(full_duration) else {
            continue;
        };
        let heard = media.duration.saturating_sub(samples.into());
        let lasts = u128::from(heard) * u128::from(movie.timescale) / u128::from(media.timescale.max(1));
        // Version, one entry: how long, from where, at which speed.
        let mut list = vec![0, 0, 0, 28, b'e', b'l', b's', b't', 0, 0, 0, 0, 0, 0, 0, 1];
        list.extend(u32::try_from(lasts).unwrap_or(u32::MAX).to_be_bytes());
        list.extend(samples.to_be_bytes());
        list.extend([0, 1, 0, 0]);
        let Some(children) = track.children_mut() else {
            continue;
        };
        children.retain(|child| &child.kind != b"edts");
        children.insert(children.len().min(1), Atom::raw(*b"edts", list));
    }
}

/// Takes over tags, cover art and Nero's chapters, with this delay in iTunes' tag.
pub(crate) fn take_tags(moov: &mut Atom, old: &Atom, delay: u32) {
    let tags = old.children().iter().find(|child| &child.kind == b"udta");
    let (Some(tags), Some(children)) = (tags, moov.children_mut()) else {
        return;
    };
    children.retain(|child| &child.kind != b"udta");
    children.push(tags.clone());
    if priming(moov).is_some() {
        set_priming(moov, delay);
    }
}
