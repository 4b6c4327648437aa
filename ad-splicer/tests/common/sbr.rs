//! HE-AAC that does not say so, made of AAC-LC: Debian has no encoder of it. Extensions of packets stand in fill elements (ISO/IEC 14496-3 §4.5.2.8.2).

/// Of an extension: SBR, SBR after a checksum, and what says nothing.
pub(crate) const SBR: u8 = 0xD;
pub(crate) const SBR_CHECKED: u8 = 0xE;
pub(crate) const FILL: u8 = 0x0;

/// A packet of AAC with an extension of this type in a fill element before its end.
fn with_extension(packet: &[u8], kind: u8) -> Vec<u8> {
    let mut bits: Vec<bool> = packet
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    // Behind its end are zeros up to a whole byte.
    let end = bits.iter().rposition(|bit| *bit).unwrap() + 1;
    assert!(bits[end - 3..end].iter().all(|bit| *bit), "it has an end");
    bits.truncate(end - 3);
    // A fill element of four bytes: the type, and then no header, or a checksum.
    let mut put = |value: u32, count: u32| bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    put(6, 3);
    put(4, 4);
    put(u32::from(kind), 4);
    put(0, 28);
    put(7, 3);
    let byte = |bits: &[bool]| (0..8).fold(0, |byte, i| byte << 1 | u8::from(bits.get(i) == Some(&true)));
    bits.chunks(8).map(byte).collect()
}

const HEADER: usize = 7;

/// The frames of ADTS: header and packet.
pub(crate) fn frames(stream: &[u8]) -> Vec<(&[u8], &[u8])> {
    let (mut found, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let len = usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5] >> 5);
        let (frame, after) = rest.split_at(len);
        found.push(frame.split_at(HEADER));
        rest = after;
    }
    found
}

/// ADTS with such an extension in each packet.
pub(crate) fn extended(stream: &[u8], kind: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for (header, packet) in frames(stream) {
        let packet = with_extension(packet, kind);
        let mut header: [u8; HEADER] = header.try_into().unwrap();
        let now = packet.len() + HEADER;
        header[3] = header[3] & !3 | (now >> 11) as u8;
        header[4] = (now >> 3) as u8;
        header[5] = header[5] & 0x1F | (now << 5) as u8;
        out.extend(header);
        out.extend(packet);
    }
    out
}
