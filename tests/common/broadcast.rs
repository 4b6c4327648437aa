//! SCTE-35 messages (ANSI/SCTE 35 2023r1 §9) and their way into a transport stream that ffmpeg wrote, which cannot
//! write them itself.
//!
//! Not for: reading them.

/// Bytes of a packet (ISO/IEC 13818-1 §2.4.3.2).
const PACKET: usize = 188;
/// Where ffmpeg puts the programme map, and where the messages go.
const MAP_PID: u16 = 0x1000;
const MESSAGES_PID: u16 = 0x500;

/// A `splice_insert` that leaves the network at a timestamp of 90 kHz (or at once), for so many seconds.
pub fn splice_insert(event: u32, pts: Option<u64>, seconds: Option<u64>) -> Vec<u8> {
    let mut command = event.to_be_bytes().to_vec();
    command.push(0x7f);
    // Out of network, the programme as a whole; whether a duration is there; whether it is immediate.
    let duration = if seconds.is_some() { 0x20 } else { 0 };
    let immediate = if pts.is_none() { 0x10 } else { 0 };
    command.push(0xc0 | duration | immediate | 0x0f);
    let time = |flags: u8, ticks: u64| {
        let bytes = ticks.to_be_bytes();
        [&[flags | (bytes[3] & 1)][..], &bytes[4..]].concat()
    };
    command.extend(pts.map(|pts| time(0xfe, pts)).unwrap_or_default());
    command.extend(
        seconds
            .map(|seconds| time(0xfe, seconds * 90_000))
            .unwrap_or_default(),
    );
    command.extend([0, 1, 0, 0]);
    let length = u16::try_from(command.len()).expect("a short command");
    let mut section = vec![0xfc, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff];
    section.push(0xf0 | length.to_be_bytes()[0]);
    section.extend([length.to_be_bytes()[1], 5]);
    section.extend(command);
    section.extend([0, 0]);
    finish(section, 0x30)
}

/// The stream with each section placed after such a part of its packets, in that order, and announced.
pub fn with_messages(stream: &[u8], sections: &[(f64, Vec<u8>)]) -> Vec<u8> {
    let mut packets: Vec<Vec<u8>> = stream.chunks(PACKET).map(announced).collect();
    let count = packets.len();
    let numbered: Vec<_> = sections.iter().zip(0_u8..).collect();
    for ((part, section), counter) in numbered.into_iter().rev() {
        packets.insert(index(count, *part), packet(section, counter));
    }
    packets.concat()
}

/// The stream with one section, and the byte where its packet begins.
pub fn place(stream: &[u8], part: f64, section: &[u8]) -> (usize, Vec<u8>) {
    let at = index(stream.len() / PACKET, part) * PACKET;
    (at, with_messages(stream, &[(part, section.to_vec())]))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss
)] // a part of a small file
fn index(packets: usize, part: f64) -> usize {
    (packets as f64 * part) as usize
}

/// One packet that holds a whole section.
fn packet(section: &[u8], counter: u8) -> Vec<u8> {
    let pid = MESSAGES_PID.to_be_bytes();
    let mut packet = vec![0x47, 0x40 | pid[0], pid[1], 0x10 | counter, 0];
    packet.extend(section);
    packet.resize(PACKET, 0xff);
    packet
}

/// A packet of ffmpeg's; the programme map also names the messages.
fn announced(packet: &[u8]) -> Vec<u8> {
    let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
    if pid != MAP_PID {
        return packet.to_vec();
    }
    // ffmpeg's map is one section at the packet's beginning, after a pointer of nothing.
    let section = &packet[5..];
    let length = usize::from(u16::from_be_bytes([section[1] & 0x0f, section[2]]));
    // The programme has no descriptors yet: this one says whose messages they are (SCTE 35 §8.1).
    assert_eq!(section[11], 0, "ffmpeg's programme has descriptors");
    let mut map = section[..11].to_vec();
    map.extend([6, 5, 4]);
    map.extend(b"CUEI");
    map.extend(&section[12..3 + length - 4]);
    let pid = MESSAGES_PID.to_be_bytes();
    map.extend([0x86, 0xe0 | pid[0], pid[1], 0xf0, 0]);
    let mut out = packet[..5].to_vec();
    out.extend(finish(map, 0xb0));
    out.resize(PACKET, 0xff);
    out
}

/// The section with its length (and the bits before it) and its checksum.
fn finish(mut section: Vec<u8>, bits: u8) -> Vec<u8> {
    let length = u16::try_from(section.len() - 3 + 4).expect("a short section");
    section[1] = bits | length.to_be_bytes()[0];
    section[2] = length.to_be_bytes()[1];
    let crc = section.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ (u32::from(*byte) << 24), |crc, _| {
            (crc << 1) ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    });
    section.extend(crc.to_be_bytes());
    section
}
