//! What the fuzzers reach of this folder that nobody else does.

use std::sync::Arc;
use std::time::Duration;

use super::{aac, flac, id3v2, mp4, ogg, opus, vorbis, vp9, wav, webm};
use crate::picture::{
    Colour, Frame, H264Profile, ParameterSets, Picture, PictureCoding, PictureFormat, Turn,
};
use crate::splice::{self, Ad, At, Break, Options, StreamFormat};
use crate::time::ContentTime;

/// Reads and moves the chapters of a tag: an edited tag is a tag of the length that it says, with the same chapters.
pub fn id3v2(bytes: &[u8]) {
    let chapters = id3v2::chapters(bytes);
    let edited = id3v2::edit(
        bytes,
        &mut |chapter| Some((chapter.start, chapter.end)),
        &mut |time| time,
        1_000,
    );
    if let Some(length) = bytes.get(..id3v2::HEADER_LEN).and_then(id3v2::tag_len)
        && length == bytes.len() as u64
    {
        let header = edited.get(..id3v2::HEADER_LEN).and_then(id3v2::tag_len);
        assert_eq!(header, Some(edited.len() as u64));
        assert_eq!(id3v2::chapters(&edited), chapters);
    }
}

/// Takes pictures out of what a child wrote: decoding can begin with the first, and no byte of them was added.
pub fn pictures(bytes: &[u8]) {
    let h264 = PictureCoding::H264 {
        profile: H264Profile::High,
        set: 0,
    };
    for coding in [h264, PictureCoding::Vp9] {
        let format = PictureFormat {
            width: 320,
            height: 180,
            pixel: (1, 1),
            rate: (25, 1),
            coding,
            colour: Colour::Bt709,
            full_range: false,
            turn: Turn::None,
        };
        let Some(picture) = Picture::parse(bytes, format) else {
            continue;
        };
        assert!(picture.frames[0].sync);
        let kept: usize = picture.frames.iter().map(|frame| frame.bytes.len()).sum();
        assert!(kept < bytes.len());
    }
}

/// Nothing is waited for.
fn options() -> Options {
    Options {
        read_deadline: Duration::ZERO,
        ..Options::default()
    }
}

/// A break of an ad of a moment.
fn break_at(at: At, stream: &StreamFormat) -> [Break; 1] {
    [Break {
        at,
        replace: Duration::ZERO,
        ads: vec![Ad {
            id: String::new(),
            pcm: vec![0.1; 500 * usize::from(stream.channels)].into(),
            picture: stream.picture.map(|format| Arc::new(shown(format))),
        }],
    }]
}

/// One picture in this format, as it could have come out of a child.
fn shown(format: PictureFormat) -> Picture {
    Picture {
        sets: matches!(format.coding, PictureCoding::H264 { .. }).then(|| ParameterSets {
            sequence: vec![0x67, 0x64, 0, 12],
            picture: vec![0x68],
        }),
        frames: vec![Frame {
            bytes: vec![0, 0, 0, 1, 0x65].into(),
            sync: true,
        }],
        format,
        rate: format.rate,
    }
}

/// Lays out a break in the middle, and one before everything, where it can be: what would be coded is left for later.
pub fn laid_out(content: &Vec<u8>) {
    let options = Options {
        later: true,
        ..options()
    };
    let Ok(stream) = splice::probe(content, &options) else {
        return;
    };
    let middle = ContentTime::from_nanos(stream.duration.as_nanos() / 2);
    for at in [At::Start, At::Time(middle)] {
        if let Ok(rendition) = splice::prepare(content, &break_at(at, &stream), &options) {
            assert_eq!(rendition.report().ads.len(), 1);
            assert!(!rendition.is_empty());
        }
    }
}

/// Puts an ad of a moment before all sound, where it can be: then the rendition is as long as it says.
fn with_ad(content: &Vec<u8>, options: &Options) {
    let Ok(stream) = splice::probe(content, options) else {
        return;
    };
    let breaks = break_at(At::Start, &stream);
    if let Ok(rendition) = splice::prepare(content, &breaks, options) {
        let mut out = Vec::new();
        if rendition.write_to(content, &mut out, options).is_ok() {
            assert_eq!(out.len() as u64, rendition.len());
        }
    }
}

/// Reads Ogg: what was scanned can be read, and covered by its own pages; pages are looked for by their positions too. Packets are looked at as Opus.
pub fn ogg(bytes: &[u8]) {
    let content = bytes.to_vec();
    let Ok(Some(headers)) = ogg::headers(&content, 2, Duration::ZERO) else {
        return;
    };
    let _ = opus::Head::parse(&headers.packets[0]);
    if let Ok(Some(parted)) = ogg::Parted::open(&content, &headers, Duration::ZERO, opus::samples) {
        for first in [0, parted.packets / 2, parted.packets - 1] {
            let _ = parted.cover(&(first..parted.packets));
            let _ = parted.cover(&(first..first + 1));
        }
    }
    let options = options();
    with_ad(&content, &options);
    // Headers may be any packets.
    let head = match ogg::headers(&content, 3, Duration::ZERO) {
        Ok(Some(three)) => vorbis::Head::parse(&three.packets[0], &three.packets[2]),
        _ => vorbis::Head::parse(&headers.packets[0], &headers.packets[1]),
    };
    let mut seen = 0;
    let pages = ogg::Pages::scan(&content, &headers, Duration::ZERO, &mut |packet, _| {
        seen += 1;
        let _ = opus::samples(packet);
        if let Ok(Some(head)) = &head {
            let _ = head.block(packet);
        }
        Ok(())
    });
    let Ok(pages) = pages else { return };
    assert_eq!(seen, pages.packets);
    let read = pages.read(&content, 0..pages.packets, Duration::ZERO);
    let read = read.expect("what was scanned can be read");
    assert_eq!(read.len() as u64, pages.packets);
    for first in 0..pages.packets.min(8) {
        for (page, parts) in pages.cover(&(first..pages.packets)) {
            assert!(page.header.only(parts).body() <= page.header.body());
        }
    }
}

/// Reads WebM: what was found lies within the file, and what is about the whole can be written and read again.
pub fn webm(bytes: &[u8]) {
    let content = bytes.to_vec();
    let Ok(Some(mut file)) = webm::Webm::read(&content, Duration::ZERO) else {
        return;
    };
    let _ = webm::texts::chapters(&file);
    let options = options();
    let _ = splice::probe(&content, &options);
    with_ad(&content, &options);
    let index = webm::Index::scan(&mut file, &content, Duration::ZERO, &mut |_, packet| {
        let _ = opus::samples(packet);
        let _ = (vp9::Frame::parse(packet), vp9::is_one_picture(packet));
        Ok(())
    });
    for (_, node) in &file.nodes {
        let written = node.write();
        let head = webm::ebml::Head::parse(&written).expect("what was written has a head");
        let again = webm::ebml::Node::parse(head.id, &written[head.len..]);
        assert_eq!(again.as_ref(), Ok(node));
    }
    let Ok(index) = index else { return };
    for (i, block) in index.blocks.iter().enumerate() {
        let range = block.offset..block.offset + u64::from(block.size);
        let element = block.element().unwrap_or(range.clone());
        assert!(element.start <= range.start && range.end <= element.end);
        assert!(element.end <= content.len() as u64 && block.track() < file.tracks.len());
        assert!(index.clusters[index.cluster_of(i)].first <= i);
    }
    let read = webm::read(&content, &index.blocks, Duration::ZERO);
    assert_eq!(read.map(|read| read.len()).ok(), Some(index.blocks.len()));
}

/// Reads MP4 as content and for its chapters, and lays out a break in it.
pub fn mp4(bytes: &[u8]) {
    let content = bytes.to_vec();
    let _ = mp4::chapters(&content, Duration::ZERO);
    laid_out(&content);
}

/// Reads WAV, FLAC and ADTS: what is said to be sound lies within the bytes, and an ad can be put before it in the first two; in the last a break is laid out.
pub fn sound(bytes: &[u8]) {
    let content = bytes.to_vec();
    let len = bytes.len() as u64;
    if let Ok(Some(file)) = wav::Wav::parse(&content, Duration::ZERO) {
        assert!(file.offset(file.samples) <= len);
        if let Ok(after) = file.after(&content, Duration::ZERO) {
            let edit = &mut |chunk: &mut wav::Chunk| wav::move_cues(chunk, |sample| sample / 2);
            let _ = file.write(file.samples, after, edit);
        }
    }
    if let Ok(Some(head)) = flac::head(&content, Duration::ZERO)
        && let Ok(index) = flac::Index::scan(&content, &head, Duration::ZERO)
    {
        assert!(index.end() <= len);
        for frame in 0..index.frames().min(8) {
            assert!(index.start(frame) < index.samples());
        }
    }
    if wav::Wav::parse(&content, Duration::ZERO).is_ok_and(|file| file.is_some())
        || flac::head(&content, Duration::ZERO).is_ok_and(|head| head.is_some())
    {
        with_ad(&content, &options());
    }
    if let Ok(Some(head)) = aac::head(&content, Duration::ZERO)
        && let Ok(index) = aac::Index::scan(&content, &head, Duration::ZERO)
    {
        let offset = |frame| index.offset(frame).expect("it was scanned") as usize;
        for frame in 0..index.frames() {
            assert!(aac::packet(&bytes[offset(frame)..offset(frame + 1)]).is_some());
        }
        laid_out(&content);
    }
    let _ = aac::Config::parse(bytes);
}

/// Decodes a FLAC frame, whose checksums are made right first. What it holds, if it fits, is the same when it is encoded and decoded again.
pub fn flac_frame(bytes: &[u8]) {
    const BITS: u32 = 16;
    let Some((frame, header)) = flac::sealed(bytes) else {
        return;
    };
    let Ok(channels) = flac::decode(&frame, BITS) else {
        return;
    };
    let bits = header.bits.unwrap_or(BITS);
    let fits = |sample: &i32| (-(1 << (bits - 1))..1 << (bits - 1)).contains(sample);
    if channels.iter().flatten().all(fits) {
        let again = flac::encode(&header, &channels, bits);
        assert_eq!(flac::decode(&again, bits).expect("an encoded frame"), channels);
    }
}
