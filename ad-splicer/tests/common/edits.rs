//! Edit lists put into MP4 that ffmpeg made.

/// The file with another edit list for its first track: durations in milliseconds, media times in the track's scale.
pub(crate) fn with_edits(mut bytes: Vec<u8>, edits: &[(u32, i32)]) -> Vec<u8> {
    let find = |bytes: &[u8], kind: &[u8], from: usize| {
        from + bytes[from..]
            .windows(4)
            .position(|window| window == kind)
            .unwrap()
    };
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let elst = find(&bytes, b"elst", 0) - 4;
    let old = word(&bytes, elst) as usize;
    let mut new = Vec::new();
    new.extend((16 + 12 * edits.len() as u32).to_be_bytes());
    new.extend(b"elst\0\0\0\0");
    new.extend((edits.len() as u32).to_be_bytes());
    for (duration, time) in edits {
        new.extend(duration.to_be_bytes());
        new.extend(time.to_be_bytes());
        new.extend(0x0001_0000_u32.to_be_bytes());
    }
    let longer = new.len() as u32 - old as u32;
    bytes.splice(elst..elst + old, new);
    // The movie box stands behind the data, so that no offset moves.
    assert!(find(&bytes, b"mdat", 0) < elst);
    for kind in [b"moov", b"trak", b"edts"] {
        let at = find(&bytes, kind, find(&bytes, b"moov", 0)) - 4;
        let len = word(&bytes, at) + longer;
        bytes[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
    bytes
}
