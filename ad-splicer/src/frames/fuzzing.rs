//! What the fuzzers reach of this folder that nobody else does.

use super::id3v2;

/// Reads and moves the chapters of a tag: an edited tag is a tag of the length that it says.
pub fn id3v2(bytes: &[u8]) {
    let _ = id3v2::chapters(bytes);
    let edited = id3v2::edit(bytes, &mut |chapter| (chapter.start, chapter.end), 1_000);
    if let Some(length) = bytes.get(..id3v2::HEADER_LEN).and_then(id3v2::tag_len)
        && length == bytes.len() as u64
    {
        let header = edited.get(..id3v2::HEADER_LEN).and_then(id3v2::tag_len);
        assert_eq!(header, Some(edited.len() as u64));
        let _ = id3v2::chapters(&edited);
    }
}
