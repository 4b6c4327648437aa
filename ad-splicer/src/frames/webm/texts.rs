//! Chapters and tags of a WebM file.

use super::ebml::{self, Body, Node};
use super::{Entry, Webm};
use crate::chapters::next_later;

/// A chapter: its number, its title, and its beginning and end in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chapter {
    pub(crate) id: u64,
    pub(crate) title: String,
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
}

/// The chapters of the file's first edition, in its order.
pub(crate) fn chapters(webm: &Webm) -> Vec<Chapter> {
    let editions = webm
        .nodes
        .iter()
        .filter(|(_, node)| node.id == ebml::CHAPTERS)
        .flat_map(|(_, node)| node.all(ebml::EDITION_ENTRY));
    editions
        .take(1)
        .flat_map(|edition| edition.all(ebml::CHAPTER_ATOM))
        .map(|atom| Chapter {
            id: atom.unsigned(ebml::CHAPTER_UID).unwrap_or(0),
            title: atom
                .all(ebml::CHAPTER_DISPLAY)
                .find_map(|display| display.text(ebml::CHAPTER_STRING))
                .unwrap_or_default(),
            start: atom.unsigned(ebml::CHAPTER_START).unwrap_or(0),
            end: atom.unsigned(ebml::CHAPTER_END),
        })
        .collect()
}

/// Where each of these chapters, which stand beside each other, begins and ends, in nanoseconds: those that do not say so last until the next one that begins later.
fn spans(atoms: &[&Node]) -> Vec<(u64, Option<u64>)> {
    let start = |atom: &Node| atom.unsigned(ebml::CHAPTER_START).unwrap_or(0);
    let starts: Vec<u64> = atoms.iter().map(|atom| start(atom)).collect();
    let ends = atoms.iter().zip(next_later(&starts));
    let ends = ends.map(|(atom, next)| atom.unsigned(ebml::CHAPTER_END).or(next));
    starts.iter().copied().zip(ends).collect()
}

/// Takes out the chapters of which `gone` says so by their beginnings and ends, and lists of which none is left; gives whether any chapter is left in what holds some.
pub(crate) fn leave_out(node: &mut Node, gone: &dyn Fn(u64, Option<u64>) -> bool) -> bool {
    let atoms: Vec<&Node> = node.all(ebml::CHAPTER_ATOM).collect();
    let left = spans(&atoms).into_iter().map(|(start, end)| !gone(start, end));
    let mut left = left.collect::<Vec<_>>().into_iter();
    if let Body::Children(children) = &mut node.body {
        children.retain_mut(|child| match child.id {
            ebml::CHAPTER_ATOM => left.next().unwrap_or(true) && leave_out(child, gone),
            ebml::EDITION_ENTRY => leave_out(child, gone),
            _ => true,
        });
    }
    let holds = |id| node.all(id).next().is_some();
    match node.id {
        ebml::CHAPTERS => holds(ebml::EDITION_ENTRY),
        ebml::EDITION_ENTRY => holds(ebml::CHAPTER_ATOM),
        _ => true,
    }
}

/// Moves the times of all chapters.
pub(crate) fn move_chapters(node: &mut Node, moved: &dyn Fn(u64) -> u64) {
    for child in node.children_mut() {
        match (child.id, &mut child.body) {
            (ebml::CHAPTER_START | ebml::CHAPTER_END, Body::Bytes(bytes)) => {
                if let Some(time) = ebml::unsigned(bytes) {
                    *bytes = moved(time).to_be_bytes().to_vec();
                }
            }
            _ => move_chapters(child, moved),
        }
    }
}

/// Says anew in tags how long the tracks are, in nanoseconds, and takes out what else would have to be counted again.
pub(crate) fn set_lengths(tags: &mut Node, lengths: &dyn Fn(Option<u64>) -> u64) {
    const COUNTED: [&str; 3] = ["BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES"];
    for tag in tags.children_mut().iter_mut().filter(|tag| tag.id == ebml::TAG) {
        let target = tag
            .all(ebml::TARGETS)
            .find_map(|targets| targets.unsigned(ebml::TAG_TRACK_UID));
        let Body::Children(children) = &mut tag.body else {
            continue;
        };
        let name = |node: &Node| node.text(ebml::TAG_NAME).unwrap_or_default();
        children.retain(|node| node.id != ebml::SIMPLE_TAG || !COUNTED.contains(&name(node).as_str()));
        for node in children {
            if node.id == ebml::SIMPLE_TAG && name(node) == "DURATION" {
                let nanos = lengths(target);
                let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
                let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                let text = format!("{hours:02}:{minutes:02}:{seconds:02}.{rest:09}");
                node.set(ebml::TAG_STRING, text.as_bytes());
            }
        }
    }
}

/// How many units of a second a time in nanoseconds is, to the nearest.
pub(crate) fn samples_of(nanos: u64, rate: u32) -> u64 {
    ((u128::from(nanos) * u128::from(rate) + 500_000_000) / 1_000_000_000) as u64
}

impl Entry {
    /// Samples that are decoded before what is heard.
    pub(crate) fn skip(&self, rate: u32) -> Option<u64> {
        self.delay.map(|delay| samples_of(delay, rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebml::element;

    #[test]
    fn lengths_in_tags_are_set_and_counts_are_left_out() {
        let simple = |name: &str, value: &str| {
            let name = element(ebml::TAG_NAME, name.as_bytes());
            element(
                ebml::SIMPLE_TAG,
                &[name, element(ebml::TAG_STRING, value.as_bytes())].concat(),
            )
        };
        let target = element(ebml::TARGETS, &element(ebml::TAG_TRACK_UID, &[7]));
        let tag = |tags: &[Vec<u8>]| element(ebml::TAG, &[target.clone(), tags.concat()].concat());
        let title = simple("TITLE", "Ep");
        let before = tag(&[
            simple("DURATION", "00:00:12.008000000\0\0"),
            simple("BPS", "1"),
            title.clone(),
        ]);
        let mut node = Node::parse(ebml::TAGS, &before).unwrap();
        set_lengths(&mut node, &|uid| {
            assert_eq!(uid, Some(7));
            3_723_000_000_001
        });
        let after = tag(&[simple("DURATION", "01:02:03.000000001"), title]);
        assert_eq!(node, Node::parse(ebml::TAGS, &after).unwrap());
    }

    #[test]
    fn chapters_of_which_nothing_is_left_go() {
        let atom = |start: u8, end: Option<u8>, within: &[u8]| {
            let start = element(ebml::CHAPTER_START, &[start]);
            let end = end.map_or(Vec::new(), |end| element(ebml::CHAPTER_END, &[end]));
            element(ebml::CHAPTER_ATOM, &[&start[..], &end, within].concat())
        };
        let edition = |atoms: &[Vec<u8>]| element(ebml::EDITION_ENTRY, &atoms.concat());
        let inner = [atom(5, Some(6), &[]), atom(11, Some(20), &[])].concat();
        let listed = [atom(0, None, &inner), atom(5, None, &[]), atom(10, Some(30), &[])];
        // Whatever ends by 10.
        let gone = |start: u64, end: Option<u64>| start >= 5 && end.is_some_and(|end| end <= 10);
        let body = [edition(&listed), edition(&listed[1..2])].concat();
        let mut node = Node::parse(ebml::CHAPTERS, &body).unwrap();
        assert!(leave_out(&mut node, &gone));
        // The last of a list ends where everything does.
        let left = [atom(0, None, &atom(11, Some(20), &[])), atom(10, Some(30), &[])];
        let body = [edition(&left), edition(&listed[1..2])].concat();
        assert_eq!(node, Node::parse(ebml::CHAPTERS, &body).unwrap());
        assert!(!leave_out(&mut node, &|_, _| true));
        assert!(node.children().is_empty());
    }

    #[test]
    fn times_of_chapters_move() {
        let atom = |start: &[u8]| element(ebml::CHAPTER_ATOM, &element(ebml::CHAPTER_START, start));
        let chapters = |start: &[u8]| element(ebml::EDITION_ENTRY, &atom(start));
        let mut node = Node::parse(ebml::CHAPTERS, &chapters(&[5])).unwrap();
        move_chapters(&mut node, &|time| time + 3);
        let after = Node::parse(ebml::CHAPTERS, &chapters(&8_u64.to_be_bytes())).unwrap();
        assert_eq!(node, after);
    }
}
