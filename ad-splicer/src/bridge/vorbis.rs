//! Vorbis by libvorbis, in both directions. Sample `n` that goes into the encoder is sample `n` that comes out of a decoder.

use gstreamer as gst;

use super::task::{Media, Task};
use super::{BridgeError, element, floats, init, raw_caps, run, split_clips};

/// High, so that what is coded twice loses next to nothing.
const QUALITY: f32 = 1.0;

/// Decodes packets of one stream, after its three headers; `expected` samples of each channel are due.
pub(crate) fn decode(
    headers: &[Vec<u8>],
    packets: &[Vec<u8>],
    (rate, channels): (u32, usize),
    expected: usize,
) -> Result<Vec<f32>, BridgeError> {
    if expected == 0 {
        return Ok(Vec::new());
    }
    let task = Task::VorbisDecode {
        rate,
        channels,
        expected,
    };
    let made = task.done(Media::of(headers.iter().chain(packets)))?;
    let clips = made.into_clips(std::iter::once(expected * channels))?;
    Ok(clips.into_iter().flatten().collect())
}

/// The same in this process, of the headers and what follows them.
pub(super) fn decode_here(
    packets: Vec<Vec<u8>>,
    (rate, channels): (u32, usize),
    expected: usize,
) -> Result<Vec<Vec<f32>>, BridgeError> {
    const DOING: &str = "decoding";
    init(DOING)?;
    let caps = gst::Caps::new_empty_simple("audio/x-vorbis");
    let elements = [element("vorbisdec")?, element("audioconvert")?];
    let input = packets.into_iter().map(gst::Buffer::from_slice);
    let raw = raw_caps("F32LE", rate, channels);
    let buffers = run(DOING, &caps, &elements, Some(&raw), input)?;
    split_clips(&buffers, std::iter::once(expected), 1, channels)
}

/// Encodes interleaved samples as a stream of its own: three headers, then packets that hold at least as many samples.
pub(crate) fn encode(pcm: &[f32], rate: u32, channels: usize) -> Result<Vec<Vec<u8>>, BridgeError> {
    let task = Task::VorbisEncode { rate, channels };
    checked(task.done(Media::clip(pcm))?.into_packets()?)
}

/// Three headers, and packets of sound.
fn checked(packets: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, BridgeError> {
    let kinds: Vec<u8> = packets
        .iter()
        .take(4)
        .filter_map(|packet| packet.first().copied())
        .collect();
    match kinds[..] {
        [1, 3, 5, sound] if sound & 1 == 0 => Ok(packets),
        _ => Err(BridgeError::WrongStream(format!("packets of kinds {kinds:?}"))),
    }
}

/// The same in this process.
pub(super) fn encode_here(pcm: &[f32], rate: u32, channels: usize) -> Result<Vec<Vec<u8>>, BridgeError> {
    const DOING: &str = "encoding";
    init(DOING)?;
    let encoder = gst::ElementFactory::make("vorbisenc")
        .property("quality", QUALITY)
        .build()
        .map_err(|_| BridgeError::MissingElement { element: "vorbisenc" })?;
    let raw = raw_caps("F32LE", rate, channels);
    run(DOING, &raw, &[encoder], None, floats(pcm, rate, channels, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_stream_is_refused() {
        let stream = |kinds: &[u8]| kinds.iter().map(|kind| vec![*kind, 7]).collect::<Vec<_>>();
        assert_eq!(checked(stream(&[1, 3, 5, 0, 2])).unwrap().len(), 5);
        for kinds in [&[][..], &[1], &[1, 3, 5], &[1, 3, 5, 1], &[3, 1, 5, 0]] {
            assert!(checked(stream(kinds)).is_err(), "{kinds:?}");
        }
        let hollow = vec![vec![1], vec![], vec![3], vec![5], vec![0]];
        assert!(checked(hollow).is_err(), "a packet without bytes");
    }
}
