//! Where every frame of a file is.
//!
//! Where each frame of a file of one bit rate is follows from where the first ones and the last ones are ([`super::even`]), and with an index of the file ([`crate::frame_index`]) frames are counted from its marks: most of such files need not be read. A file is: ID3v2 tags, perhaps some junk, an information frame (see [`super::Xing`]), audio frames, tags. The audio is taken only if it is without gaps up to where nothing is heard any more (tags, zeros, line ends, and whatever else holds no two frames that follow each other); a last frame that is incomplete is no part of it, and an error if the information frame counts it.

use std::ops::Range;
use std::time::Duration;

use super::even::{Even, PROBED};
use super::free::{self, First};
use super::header::{Header, HeaderError};
use super::xing::{Gapless, Xing};
use crate::content::Content;
use crate::frame_index::{self, FEW_FRAMES, FrameIndex};
use crate::frames::id3v2;
use crate::frames::marked::{Counted, Frames, Marked};
use crate::frames::tail;
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// How far after the tags the first frame may be.
const SEARCH: usize = 64 * 1024;
/// How many ID3v2 tags in a row are stepped over.
const MAX_TAGS: usize = 8;

/// Longest tags before the audio, in bytes: a splice holds them in memory.
const MOST_TAG_BYTES: u64 = 64 << 20;

/// The information frame of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoFrame {
    /// What it says.
    pub xing: Xing,
    /// Its length in bytes.
    pub len: usize,
}

/// The beginning of a file: where the frames begin, and what they are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// How long the tags at the beginning are. What follows them up to the first frame is of no use.
    pub tags: u64,
    /// Offset of the first frame, be it audio or information.
    pub start: u64,
    /// The first frame's header.
    pub header: Header,
    /// The information frame, if the first frame is one.
    pub info: Option<InfoFrame>,
}

impl Head {
    /// Offset of the first audio frame.
    pub fn audio(&self) -> u64 {
        self.start + self.info.as_ref().map_or(0, |info| info.len as u64)
    }

    /// Whether the information frame says how many frames there are, and ends where the audio does: that of a file which was
    /// joined with another, or of which not all is there, is of something else.
    pub fn says_its_end(&self, content: &dyn Content, deadline: Duration) -> Result<bool, SpliceError> {
        let xing = self.info.as_ref().map(|info| &info.xing);
        let Some((Some(_), Some(bytes))) = xing.map(|xing| (xing.frames, xing.bytes)) else {
            return Ok(false);
        };
        let end = self.start + u64::from(bytes);
        Ok(end <= content.len() && tail::is_tail(&mut Window::new(content, deadline), end)?)
    }

    /// Whether the information frame says that there is more than so many audio frames in so many bytes of the file.
    fn says_more(&self, frames: u64, len: u64) -> bool {
        let xing = self.info.as_ref().map(|info| &info.xing);
        let said = xing.and_then(|xing| xing.frames).unwrap_or_default();
        let bytes = xing.and_then(|xing| xing.bytes).unwrap_or_default();
        u64::from(said) > frames || self.start + u64::from(bytes) > len
    }

    /// The content ends within what begins at `offset`; its information frame may say where it should.
    fn truncated(&self, content: &dyn Content, offset: u64) -> SpliceError {
        let bytes = self.info.as_ref().and_then(|info| info.xing.bytes);
        let due = bytes.map(|bytes| self.start + u64::from(bytes));
        SpliceError::truncated(content, offset, due)
    }
}

/// The header at an offset, in a stream that `like` is of.
fn header_at(
    window: &mut Window<'_>,
    like: Header,
    offset: u64,
) -> Result<Result<Header, HeaderError>, SpliceError> {
    if like.is_free() {
        Ok(like.of_next(window.get(offset, 4)?))
    } else {
        first_at(window, offset)
    }
}

/// The header of what may be the first frame, or the first of free format.
fn first_at(window: &mut Window<'_>, offset: u64) -> Result<Result<Header, HeaderError>, SpliceError> {
    let found = Header::of(window.get(offset, 4)?);
    if found != Err(HeaderError::FreeFormat) {
        return Ok(found);
    }
    match free::first(window.get(offset, free::LOOKED_AT)?) {
        First::Frame(header) => Ok(Ok(header)),
        First::None => Ok(found),
        First::Beyond => Err(SpliceError::Unsupported(
            "the content is MP3 of free format with more bits a second than any bit rate that has a name: few players decode that, and no ads can be put into it".into(),
        )),
    }
}

/// Finds the first frame; `None` when there is none where one should be. Two frames of one stream must follow each other (or one frame end the file), so that random bytes are not taken for a frame.
pub fn find_head(content: &dyn Content, deadline: Duration) -> Result<Option<Head>, SpliceError> {
    let mut window = Window::new(content, deadline);
    let mut start = 0;
    for _ in 0..MAX_TAGS {
        match id3v2::tag_len(window.get(start, id3v2::HEADER_LEN)?) {
            Some(len) => start += len,
            None => break,
        }
    }
    if start > MOST_TAG_BYTES {
        return Err(SpliceError::Unsupported(format!(
            "the tags before the audio are longer than {MOST_TAG_BYTES} bytes"
        )));
    }
    let mut other = None;
    for offset in start..start.saturating_add(SEARCH as u64).min(content.len()) {
        let header = match first_at(&mut window, offset)? {
            Ok(header) => header,
            Err(error) => {
                if offset == start && error != HeaderError::NoSync {
                    other = Some(error);
                }
                continue;
            }
        };
        let next = offset + header.frame_len() as u64;
        let follows = match header_at(&mut window, header, next)? {
            Ok(second) => second.same_stream(header),
            Err(_) => next <= content.len() && tail::is_tail(&mut window, next)?,
        };
        if follows {
            // A tag too, although not one that is edited.
            let is_ape = window.get(start, 8)?.starts_with(b"APETAGEX");
            let frame = window.get(offset, header.frame_len())?;
            let info = Xing::parse(header, frame).map(|xing| InfoFrame {
                xing,
                len: header.frame_len(),
            });
            return Ok(Some(Head {
                tags: if is_ape { offset } else { start },
                start: offset,
                header,
                info,
            }));
        }
    }
    match other {
        Some(error) => Err(SpliceError::NotAudio(format!("the content is {error}"))),
        None => Ok(None),
    }
}

/// The same of what has to be MP3.
fn head_of(content: &dyn Content, deadline: Duration) -> Result<Head, SpliceError> {
    find_head(content, deadline)?
        .ok_or_else(|| SpliceError::NotAudio("the content holds no audio frames".into()))
}

/// Where two frames of one stream follow each other, at or after `offset`; bytes that only look like a frame are none.
fn goes_on_at(window: &mut Window<'_>, like: Header, offset: u64) -> Result<Option<u64>, SpliceError> {
    let mut at = offset;
    loop {
        let bytes = window.at_least(at, 1)?;
        let Some(skipped) = bytes.iter().position(|byte| *byte == 0xFF) else {
            at += bytes.len() as u64;
            if at >= window.len() {
                return Ok(None);
            }
            continue;
        };
        at += skipped as u64;
        if let Ok(first) = next_header(window, like, at)?
            && next_header(window, first, at + first.frame_len() as u64)?
                .is_ok_and(|next| next.same_stream(first))
        {
            return Ok(Some(at));
        }
        at += 1;
    }
}

/// The header at an offset that is not the first of its stream.
fn next_header(
    window: &mut Window<'_>,
    like: Header,
    offset: u64,
) -> Result<Result<Header, HeaderError>, SpliceError> {
    let bytes = window.get(offset, 4)?;
    Ok(if like.is_free() {
        like.of_next(bytes)
    } else {
        Header::of(bytes)
    })
}

/// Whether what there is of the sound, up to `until`, ends within a frame that begins at `offset`.
fn is_cut_at(window: &mut Window<'_>, like: Header, offset: u64, until: u64) -> Result<bool, SpliceError> {
    let left = until.saturating_sub(offset);
    Ok(match header_at(window, like, offset)? {
        Ok(header) => header.same_stream(like) && header.frame_len() as u64 > left,
        // Shorter than a header.
        Err(_) => left < 4 && !tail::is_tail(window, offset)?,
    })
}

/// Where every audio frame of a file is. Frames are counted without the information frame.
pub struct Index<'a> {
    content: &'a dyn Content,
    deadline: Duration,
    head: Head,
    first: Header,
    /// What frames of free format are like, if there are any.
    like: Header,
    offsets: Offsets,
    constant: bool,
    /// Bytes of an incomplete frame after the last one.
    left_over: u64,
}

impl std::fmt::Debug for Index<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("head", &self.head)
            .field("offsets", &self.offsets)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Offsets {
    Counted(Counted),
    /// As they follow from a part of them.
    Even(Even),
}

impl<'a> Index<'a> {
    /// Reads the header of each frame: all of the content is read once.
    pub fn scan(content: &'a dyn Content, deadline: Duration) -> Result<Self, SpliceError> {
        let head = head_of(content, deadline)?;
        let mut window = Window::new(content, deadline);
        let tags = tail::tags_at(&mut window)?;
        let mut offset = head.audio();
        let mut offsets = vec![offset];
        let mut first = None;
        let mut like = head.header;
        let mut constant = true;
        let mut changes = false;
        while offset < content.len() {
            let Ok(header) = header_at(&mut window, like, offset)? else {
                break;
            };
            changes = !header.same_stream(head.header);
            if changes {
                break;
            }
            if header.is_free() {
                like = header;
            }
            let first = *first.get_or_insert(header);
            constant &= header.bit_rate() == first.bit_rate();
            let next = offset + header.frame_len() as u64;
            if next > content.len() {
                break;
            }
            // A tag that begins within the last frame took the place of its end. Where frames go on, it is none.
            if (offset..next).contains(&tags) && header_at(&mut window, like, next)?.is_err() {
                break;
            }
            offset = next;
            offsets.push(offset);
        }
        let Some(first) = first else {
            return Err(SpliceError::NotAudio("the content holds no audio frames".into()));
        };
        let counted = offsets.len() as u64 - 1;
        let until = if offset < tags { tags } else { content.len() };
        let left_over = if !changes && is_cut_at(&mut window, like, offset, until)? {
            if head.says_more(counted, content.len()) {
                return Err(head.truncated(content, offset));
            }
            until - offset
        } else {
            let (rest, is_tagged) = tail::behind(&mut window, offset)?;
            match goes_on_at(&mut window, like, rest)? {
                Some(on) if is_tagged => {
                    return Err(SpliceError::Unsupported(format!(
                        "tags at byte {offset} stand in the middle of the audio, which goes on at byte {on}: several files were put one behind the other, and players do not agree on how long that is (`ffmpeg -i FILE -c copy` makes one of it)"
                    )));
                }
                Some(_) if changes => {
                    return Err(SpliceError::Unsupported(format!(
                        "the sample rate or the number of channels changes at byte {offset}"
                    )));
                }
                Some(_) => return Err(SpliceError::Corrupt { offset }),
                None => {}
            }
            // Zeros may stand where a download has not come to. The information frame may be counted among the others.
            let is_tagged = is_tagged || tags < content.len();
            if offset < content.len() && !is_tagged && head.says_more(counted + 1, content.len()) {
                return Err(head.truncated(content, offset));
            }
            0
        };
        let index = Self {
            content,
            deadline,
            head,
            first,
            like,
            offsets: Offsets::Counted(Counted::Read(offsets)),
            constant,
            left_over,
        };
        if index.samples() == 0 {
            return Err(SpliceError::NotAudio("the content holds no audio samples".into()));
        }
        Ok(index)
    }

    /// Reads the first frames and the last ones of a file whose information frame says that all have one bit rate. `None` when they do not bear that out, or when it is short: then only
    /// [`Index::scan`] can tell. What lies between is checked where it is read.
    pub fn even(content: &'a dyn Content, deadline: Duration) -> Result<Option<Self>, SpliceError> {
        let head = head_of(content, deadline)?;
        let claim = head.info.as_ref().filter(|info| info.xing.constant);
        let Some(frames) = claim.and_then(|info| info.xing.frames).map(u64::from) else {
            return Ok(None);
        };
        if frames < FEW_FRAMES {
            return Ok(None);
        }
        let mut window = Window::new(content, deadline);
        let mut offset = head.audio();
        let mut offsets = vec![offset];
        let mut first = None;
        for _ in 0..PROBED {
            match header_at(&mut window, head.header, offset)? {
                Ok(header) if header.same_stream(head.header) => {
                    if first.get_or_insert(header).bit_rate() != header.bit_rate() {
                        return Ok(None);
                    }
                    offset += header.frame_len() as u64;
                    offsets.push(offset);
                }
                _ => return Ok(None),
            }
        }
        let Some((first, even)) = first.and_then(|first| Some((first, Even::fit(first, &offsets, frames)?)))
        else {
            return Ok(None);
        };
        let end = even.offset(frames);
        if end > content.len() {
            return Ok(None);
        }
        for frame in frames - PROBED..frames {
            let fits = header_at(&mut window, first, even.offset(frame))?.is_ok_and(|header| {
                let len = even.offset(frame + 1) - even.offset(frame);
                header.same_stream(first)
                    && header.bit_rate() == first.bit_rate()
                    && header.frame_len() as u64 == len
            });
            if !fits {
                return Ok(None);
            }
        }
        // A tag took the place of the end, there are more frames than were claimed, or they go on behind tags.
        let (rest, _) = tail::behind(&mut window, end)?;
        if tail::tags_at(&mut window)? < end
            || header_at(&mut window, first, end)?.is_ok()
            || goes_on_at(&mut window, first, rest)?.is_some()
        {
            return Ok(None);
        }
        let index = Self {
            content,
            deadline,
            head,
            first,
            like: first,
            offsets: Offsets::Even(even),
            constant: true,
            left_over: 0,
        };
        Ok((index.samples() > 0).then_some(index))
    }

    /// Takes what an index says, if that holds at the beginning and at the end of the file. What lies between is checked where it is read. `None` when there is no index, or it is of something else.
    pub fn marked(content: &'a dyn Content, deadline: Duration) -> Result<Option<Self>, SpliceError> {
        let Some(index) = content.frame_index() else {
            return Ok(None);
        };
        let head = head_of(content, deadline)?;
        let start = head.audio();
        if index.start() != start || index.end() > content.len() {
            return Ok(None);
        }
        let mut window = Window::new(content, deadline);
        let first = Header::of(window.get(start, 4)?).ok();
        let Some(first) = first.filter(|first| first.same_stream(head.header)) else {
            return Ok(None);
        };
        let (end, last) = (index.end(), index.frames() - 1);
        let until = tail::tags_at(&mut window)?;
        if until < end {
            return Ok(None);
        }
        let left_over = if is_cut_at(&mut window, first, end, until)? {
            if head.says_more(last + 1, content.len()) {
                return Ok(None);
            }
            until - end
        } else {
            let (rest, _) = tail::behind(&mut window, end)?;
            if header_at(&mut window, first, end)?.is_ok() || goes_on_at(&mut window, first, rest)?.is_some()
            {
                return Ok(None);
            }
            0
        };
        let index = Self {
            content,
            deadline,
            head,
            first,
            like: first,
            offsets: Offsets::Counted(Counted::Marked(Marked::new(index.clone()))),
            constant: false,
            left_over,
        };
        let Offsets::Counted(Counted::Marked(marked)) = &index.offsets else {
            return Ok(None);
        };
        let holds = match marked.stretch(last, &index) {
            Ok(_) => true,
            Err(SpliceError::Corrupt { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok((holds && index.samples() > 0).then_some(index))
    }

    /// What can be given to others as an index; `None` when that is of no use, since there are few frames, or not enough, since they are of free format.
    pub fn to_frame_index(&self) -> Option<FrameIndex> {
        match &self.offsets {
            Offsets::Counted(counted) if !self.like.is_free() => counted.to_index(),
            _ => None,
        }
    }

    /// The beginning of the file.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The first audio frame's header.
    pub fn header(&self) -> Header {
        self.first
    }

    /// How many audio frames there are, at least one.
    pub fn frames(&self) -> u64 {
        match &self.offsets {
            Offsets::Counted(counted) => counted.frames(),
            Offsets::Even(even) => even.frames(),
        }
    }

    /// Bits a second when all frames have the same bit rate.
    pub fn constant_bit_rate(&self) -> Option<u32> {
        self.constant.then(|| self.first.bit_rate())
    }

    /// How many bytes of an incomplete frame follow the last one.
    pub fn left_over(&self) -> u64 {
        self.left_over
    }

    /// Offset of audio frame `frame`; past the last one, of the end of the audio. With an index, the frames around it may be read for it.
    ///
    /// # Errors
    /// [`SpliceError::Corrupt`] where an index does not hold, [`SpliceError::Read`].
    pub fn offset(&self, frame: u64) -> Result<u64, SpliceError> {
        match &self.offsets {
            Offsets::Counted(counted) => counted.offset(frame, self),
            Offsets::Even(even) => Ok(even.offset(frame)),
        }
    }

    /// About where a frame is, the same however the index was come by. Nothing is read for it.
    pub fn about(&self, frame: u64) -> u64 {
        frame_index::about(frame, self.frames(), |mark| match &self.offsets {
            // Only marks are asked for.
            Offsets::Counted(counted) => counted.mark(mark).unwrap_or_default(),
            Offsets::Even(even) => even.offset(mark),
        })
    }

    /// Frames, about `step` apart, of which it is known where they are without reading anything, with their offsets.
    pub fn known(&self, frames: Range<u64>, step: u64) -> Vec<(u64, u64)> {
        match &self.offsets {
            Offsets::Counted(counted) => counted.known(frames, step),
            Offsets::Even(even) => frames
                .step_by(step as usize)
                .map(|frame| (frame, even.offset(frame)))
                .collect(),
        }
    }

    /// The frame that begins at an offset, or the next one; past the last, the number of frames. With an index, only of frames that were asked for before.
    pub fn frame_at(&self, offset: u64) -> u64 {
        match &self.offsets {
            Offsets::Counted(counted) => counted.frame_at(offset),
            Offsets::Even(even) => even.frame_at(offset),
        }
    }

    /// The declared delay and padding; `None` when nothing is declared.
    pub fn gapless(&self) -> Option<Gapless> {
        self.head.info.as_ref().and_then(|info| info.xing.gapless())
    }

    /// How many decoded samples come before content sample 0. (A stream's decoded samples are counted from those of its first audio frame.)
    pub fn skip(&self) -> u64 {
        self.gapless().map_or(0, |gapless| {
            u64::from(gapless.delay) + u64::from(super::DECODER_DELAY)
        })
    }

    /// How many content samples there are.
    pub fn samples(&self) -> u64 {
        let gapless = self.gapless().unwrap_or_default();
        let decoded = self.frames() * u64::from(self.first.samples());
        // The end of the audio is decoded only when the padding covers the decoder's delay.
        decoded
            .saturating_sub(u64::from(gapless.delay) + u64::from(gapless.padding))
            .min(decoded.saturating_sub(self.skip()))
    }

    /// Reads the frames of `range`, each on its own.
    ///
    /// # Errors
    /// [`SpliceError::Corrupt`] where the content is not what the index has it to be, [`SpliceError::Read`].
    pub fn read(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError> {
        let end = range.end.min(self.frames());
        let start = self.offset(range.start)?;
        let len = (self.offset(end)? - start) as usize;
        let bytes = splice::read(self.content, start, len, self.deadline)?;
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        let mut offset = start;
        for frame in range.start..end {
            let next = self.offset(frame + 1)?;
            let len = (next - offset) as usize;
            let (head, tail) = rest
                .split_at_checked(len)
                .ok_or(SpliceError::Corrupt { offset: start })?;
            // The content may have changed since it was scanned.
            if self.like.of_next(head).map(Header::frame_len) != Ok(len) {
                return Err(SpliceError::Corrupt { offset });
            }
            frames.push(head.to_vec());
            rest = tail;
            offset = next;
        }
        Ok(frames)
    }
}

impl Frames for Index<'_> {
    fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>, SpliceError> {
        let len = (range.end - range.start) as usize;
        splice::read(self.content, range.start, len, self.deadline)
    }

    fn len_of(&self, frame: &[u8]) -> Option<usize> {
        let header = Header::of(frame).ok()?;
        header.same_stream(self.head.header).then(|| header.frame_len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DEADLINE: Duration = Duration::from_secs(1);

    fn frames(count: usize) -> Vec<u8> {
        let mut frame = vec![0; 417];
        frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x90, 0x64]);
        frame.repeat(count)
    }

    #[test]
    fn finds_frames_between_tags() {
        let mut bytes = b"ID3\x03\0\0\0\0\x01\x00".to_vec();
        bytes.resize(10 + 128, 0);
        bytes.extend(frames(5));
        bytes.extend(b"TAG");
        bytes.resize(bytes.len() + 125, b' ');
        let index = Index::scan(&bytes, DEADLINE).unwrap();
        assert_eq!(
            (index.frames(), index.offset(0).unwrap(), index.samples()),
            (5, 138, 5 * 1152)
        );
        assert_eq!(index.offset(5).unwrap(), index.offset(99).unwrap());
        assert_eq!(index.constant_bit_rate(), Some(128_000));
        assert_eq!(index.read(1..3).unwrap().len(), 2);
    }

    #[test]
    fn what_stands_between_tags_and_frames_is_no_tag() {
        let id3 = [&b"ID3\x03\0\0\0\0\x01\x00"[..], &[0; 128]].concat();
        let ape = [&b"APETAGEX\xD0\x07\0\0\x20\0\0\0"[..], &[0; 16], &[0; 32]].concat();
        for (before, rubbish, tags) in [
            (&id3, &[0; 5_000][..], id3.len()),
            (&id3, b"rubbish", id3.len()),
            (&id3, b"", id3.len()),
            (&ape, b"", ape.len()),
        ] {
            let bytes = [&before[..], rubbish, &frames(5)].concat();
            let head = find_head(&bytes, DEADLINE).unwrap().unwrap();
            let start = (before.len() + rubbish.len()) as u64;
            assert_eq!((head.tags, head.start), (tags as u64, start));
        }
    }

    #[test]
    fn files_that_were_put_one_behind_the_other_are_no_file() {
        let id3v2 = [&b"ID3\x04\0\0\0\0\x01\x00"[..], &[0; 128]].concat();
        let id3v1 = [&b"TAG"[..], &[b' '; 125]].concat();
        let ape = [&b"APETAGEX\xD0\x07\0\0\x20\0\0\0"[..], &[0; 16], &[0; 32]].concat();
        for tags in [vec![&id3v2], vec![&id3v1], vec![&ape, &id3v1, &id3v2]] {
            let tags: Vec<u8> = tags.into_iter().flatten().copied().collect();
            for audio in [frames(5), [informed(5), frames(5)].concat()] {
                let whole = [&audio[..], &tags, &frames(3)].concat();
                assert!(Index::even(&whole, DEADLINE).unwrap().is_none());
                let error = Index::scan(&whole, DEADLINE).unwrap_err().to_string();
                let named = format!("tags at byte {} stand in the middle", audio.len());
                assert!(error.contains(&named) && error.contains("goes on at"), "{error}");
                let ended = [&audio[..], &tags].concat();
                assert_eq!(
                    Index::scan(&ended, DEADLINE).unwrap().offset(99_999).unwrap(),
                    audio.len() as u64
                );
            }
        }
    }

    #[test]
    fn damage_is_named() {
        let mut cut = [informed(5), frames(5)].concat();
        cut.truncate(5 * 417 + 100);
        assert!(matches!(
            Index::scan(&cut, DEADLINE),
            Err(SpliceError::Truncated { offset: 2085, .. })
        ));
        let mut hole = frames(5);
        hole[2 * 417] = 0;
        assert!(matches!(
            Index::scan(&hole, DEADLINE),
            Err(SpliceError::Corrupt { offset: 834 })
        ));
        let mut mixed = frames(5);
        mixed[2 * 417 + 3] |= 0xC0;
        assert!(matches!(
            Index::scan(&mixed, DEADLINE),
            Err(SpliceError::Unsupported(_))
        ));
        for bytes in [
            vec![],
            b"RIFF....WAVEfmt ".to_vec(),
            vec![0; 100_000],
            b"<html>".to_vec(),
        ] {
            assert!(matches!(
                Index::scan(&bytes, DEADLINE),
                Err(SpliceError::NotAudio(_))
            ));
        }
        let layer2 = Index::scan(&[0xFF, 0xFD, 0x90, 0x64].to_vec(), DEADLINE).unwrap_err();
        assert!(layer2.to_string().contains("layer"), "{layer2}");
    }

    /// An information frame that counts so many.
    fn informed(count: u8) -> Vec<u8> {
        [
            &frames(1)[..36],
            b"Info",
            &[0, 0, 0, 1, 0, 0, 0, count],
            &[0; 417 - 48],
        ]
        .concat()
    }

    #[test]
    fn a_last_frame_that_is_incomplete_and_not_counted_is_left_out() {
        for (whole, left) in [
            (frames(5), 100),
            (frames(5), 3),
            ([informed(5), frames(5)].concat(), 100),
            ([informed(2), frames(5)].concat(), 416),
        ] {
            let bytes = [&whole[..], &frames(1)[..left]].concat();
            let index = Index::scan(&bytes, DEADLINE).unwrap();
            assert_eq!((index.frames(), index.left_over()), (5, left as u64));
            assert_eq!(index.offset(5).unwrap(), whole.len() as u64);
        }
        // What is of another stream, or no frame, is none of the sound.
        for other in [&[0xFF, 0xFB, 0x94, 0x64, 0, 0][..], &[1; 6]] {
            let bytes = [&frames(5)[..], other].concat();
            let index = Index::scan(&bytes, DEADLINE).unwrap();
            assert_eq!((index.frames(), index.left_over()), (5, 0));
        }
    }

    #[test]
    fn what_stands_behind_the_last_frame_is_none_of_the_sound() {
        let html = b"<p>\xFF\xFB\x90\x64 is how a frame begins".repeat(30);
        let known = tail::tests::tails().into_iter();
        for (name, tail) in known.chain([("rubbish", html)]) {
            let whole = [informed(5), frames(5)].concat();
            let with_tail = |whole: &[u8]| [whole, &tail].concat();
            let bytes = with_tail(&whole);
            let index = Index::scan(&bytes, DEADLINE).unwrap();
            let found = (index.frames(), index.offset(5).unwrap(), index.left_over());
            assert_eq!((found, name), ((5, whole.len() as u64, 0), name));
            // Of which a part is missing.
            let short = with_tail(&[informed(9), frames(5)].concat());
            let said = Index::scan(&short, DEADLINE).map(|index| index.frames());
            let is_tag = name.contains('v');
            assert_eq!(said.is_ok(), is_tag, "{name}: {said:?}");
            // An incomplete frame before it, and two whole ones behind it.
            if name.starts_with("APEv2") || name == "ID3v1" {
                let cut = with_tail(&[&frames(5)[..], &frames(1)[..400]].concat());
                let index = Index::scan(&cut, DEADLINE).unwrap();
                assert_eq!((index.frames(), index.left_over(), name), (5, 400, name));
            }
            let on = [&whole[..], &tail, &frames(2)].concat();
            let error = Index::scan(&on, DEADLINE).unwrap_err();
            assert!(
                matches!(error, SpliceError::Corrupt { .. } | SpliceError::Unsupported(_)),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn free_format_is_as_long_as_its_first_frames_are_apart() {
        let free = |len: usize| {
            let mut frame = vec![0; len];
            frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x00, 0x64]);
            frame
        };
        let tag = [&b"ID3\x04\0\0\0\0\x01\x00"[..], &[0; 128]].concat();
        let bytes = [tag.clone(), free(816).repeat(5)].concat();
        let index = Index::scan(&bytes, DEADLINE).unwrap();
        assert_eq!((index.frames(), index.offset(1).unwrap()), (5, 138 + 816));
        assert_eq!(index.constant_bit_rate(), Some(249_900));
        assert_eq!(index.read(1..3).unwrap(), [free(816), free(816)]);

        let error = Index::scan(&[tag, free(1200).repeat(5)].concat(), DEADLINE).unwrap_err();
        assert!(matches!(error, SpliceError::Unsupported(_)), "{error:?}");
        assert!(error.to_string().contains("free format"), "{error}");
    }

    /// Content with an index.
    struct Indexed(Vec<u8>, FrameIndex);

    impl Content for Indexed {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> std::io::Result<usize> {
            self.0.read_at(offset, buffer, deadline)
        }

        fn frame_index(&self) -> Option<&FrameIndex> {
            Some(&self.1)
        }
    }

    #[test]
    fn an_index_counts_when_the_file_begins_and_ends_as_it_says() {
        let info = [&frames(1)[..36], b"Info", &[0; 417 - 40]].concat();
        let bytes = [info, frames(3_000)].concat();
        let index = Index::scan(&bytes, DEADLINE).unwrap().to_frame_index().unwrap();
        let counts = |bytes: &[u8]| {
            let content = Indexed(bytes.to_vec(), index.clone());
            Index::marked(&content, DEADLINE).unwrap().is_some()
        };
        assert!(counts(&bytes));
        // A first frame at another sample rate than that of the information frame, one frame more, and one less.
        let mut other = bytes.clone();
        other[417 + 2] |= 4;
        assert!(!counts(&other));
        assert!(!counts(&[&bytes[..], &frames(1)].concat()));
        // Of one more, there is not all.
        assert!(counts(&[&bytes[..], &frames(1)[..200]].concat()));
        assert!(!counts(&bytes[..bytes.len() - 417]));
    }

    /// Zeros after a tag's header.
    struct LongTag;

    impl Content for LongTag {
        fn len(&self) -> u64 {
            1 << 30
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8], _: Duration) -> std::io::Result<usize> {
            buffer.fill(0);
            if offset == 0 {
                // 0x20 << 21 is 64 MiB.
                buffer[..10].copy_from_slice(b"ID3\x04\0\0\x20\0\0\0");
            }
            Ok(buffer.len())
        }
    }

    #[test]
    fn tags_longer_than_memory_should_hold_are_refused() {
        assert!(matches!(
            find_head(&LongTag, DEADLINE),
            Err(SpliceError::Unsupported(_))
        ));
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..3_000)) {
            let _ = Index::scan(&bytes, DEADLINE);
            bytes.splice(0..0, *b"ID3\x04\0\0\0\0\x01\x00");
            let _ = Index::scan(&bytes, DEADLINE);
        }

        #[test]
        fn mutated_frames_never_panic(changes in proptest::collection::vec((0usize..8 * 417, any::<u8>()), 0..20), keep in 0usize..8 * 417) {
            let mut bytes = frames(8);
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes.truncate(keep);
            if let Ok(index) = Index::scan(&bytes, DEADLINE) {
                prop_assert!(index.offset(index.frames()).unwrap() <= bytes.len() as u64);
                let _ = index.read(0..index.frames());
            }
        }
    }
}
