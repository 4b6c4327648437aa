//! What a child may read with, and what its pipelines are made of. Everything else is taken out of its registry.
//!
//! In are the formats that ads are delivered in: by ad servers (MP4, WebM, MP3), by agencies and broadcasters (MPEG-2,
//! ProRes, DNxHD, transport streams), and from old archives (AVI, FLV, Windows Media). What is not installed cannot be
//! read. Not in, on purpose: playlists, anything that leads to other files or addresses, trackers, consoles' formats.

use super::job::Job;

/// Containers that hold sound or pictures.
const CONTAINERS: &[&str] = &[
    "qtdemux",
    "matroskademux",
    "oggdemux",
    "tsdemux",
    "mpegpsdemux",
    "flvdemux",
    "avidemux",
    "asfdemux",
];

/// For a job of sound.
const SOUND: &[&str] = &[
    // Tags around streams.
    "id3demux",
    "apedemux",
    // Containers of sound alone.
    "wavparse",
    "aiffparse",
    "auparse",
    // Codecs.
    "mpegaudioparse",
    "mpg123audiodec",
    "aacparse",
    "avdec_aac",
    "avdec_aac_latm",
    "avdec_alac",
    "vorbisdec",
    "opusparse",
    "opusdec",
    "flacparse",
    "flacdec",
    "ac3parse",
    "avdec_ac3",
    "avdec_eac3",
    "avdec_wmav1",
    "avdec_wmav2",
    "avdec_wmapro",
    "avdec_adpcm_ima_qt",
    "adpcmdec",
    "avdec_adpcm_swf",
    "alawdec",
    "mulawdec",
];

/// For a job of pictures.
const PICTURES: &[&str] = &[
    "h264parse",
    "avdec_h264",
    "h265parse",
    "avdec_h265",
    "mpeg4videoparse",
    "avdec_mpeg4",
    "vp8dec",
    "vp9parse",
    "vp9dec",
    "av1parse",
    "dav1ddec",
    "av1dec",
    "mpegvideoparse",
    "avdec_mpegvideo",
    "avdec_mpeg2video",
    "avdec_prores",
    "avdec_dnxhd",
    "avdec_mjpeg",
    "theoradec",
    "avdec_flv",
    "avdec_vp6f",
    "avdec_msmpeg4",
    "avdec_wmv1",
    "avdec_wmv2",
    "avdec_wmv3",
    "vc1parse",
    "avdec_vc1",
];

/// For a job of one image.
const IMAGE: &[&str] = &["pngdec", "jpegdec"];

/// What every pipeline is made of.
const PLUMBING: &[&str] = &[
    "pipeline",
    "bin",
    "appsrc",
    "appsink",
    "decodebin",
    "typefind",
    "multiqueue",
    "queue",
    "queue2",
    "capsfilter",
    "audioconvert",
    "audioresample",
];

/// What the pipeline of a job of pictures is made of, beside [`PLUMBING`].
const PICTURE_PLUMBING: &[&str] = &[
    "deinterlace",
    "videoconvert",
    "videoflip",
    "videoscale",
    "videorate",
    "imagefreeze",
];

/// What is wanted of a creative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Sound,
    Pictures,
    Image,
}

impl Wanted {
    pub(super) fn of(job: &Job) -> Self {
        match (job.picture, job.still) {
            (Some(_), Some(_)) => Self::Image,
            (Some(_), None) => Self::Pictures,
            (None, _) => Self::Sound,
        }
    }
}

/// What may be decoded with; not all of it has to be installed.
pub(super) fn decoders(wanted: Wanted) -> impl Iterator<Item = &'static str> {
    let lists: [&[&str]; 2] = match wanted {
        Wanted::Sound => [CONTAINERS, SOUND],
        Wanted::Pictures => [CONTAINERS, PICTURES],
        Wanted::Image => [IMAGE, &[]],
    };
    lists.into_iter().flatten().copied()
}

/// What nothing goes without.
pub(super) fn plumbing(wanted: Wanted) -> impl Iterator<Item = &'static str> {
    let more = if wanted == Wanted::Sound {
        &[]
    } else {
        PICTURE_PLUMBING
    };
    PLUMBING.iter().chain(more).copied()
}
