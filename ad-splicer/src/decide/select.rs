//! Which media file of a creative to play: by type, codec, size and bitrate, never by document order.
//!
//! Pure. Files that cannot be played at all are left out: streaming ones (their segments would have to be fetched by the
//! decoder, which has no network), interactive ones, unknown types. `Mezzanine` files never get here.

use serde::{Deserialize, Serialize};

use super::{
    decision::{LeftOut, MediaFile},
    vast::MediaFileElement,
};

/// What the content is, and so what suits it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaPreference {
    /// Sound alone: audio files before video files, whose picture would be thrown away.
    Audio {
        /// Aim for this many kbit/s or the next above it.
        bitrate: u32,
    },
    /// Picture and sound.
    Video {
        /// The content's width in pixels.
        width: u32,
        /// The content's height in pixels.
        height: u32,
    },
    /// Sound alone when there is any, else picture and sound: for looking at a response without content.
    Either {
        /// As for audio.
        bitrate: u32,
        /// As for video.
        width: u32,
        /// As for video.
        height: u32,
    },
}

impl Default for MediaPreference {
    fn default() -> Self {
        Self::Audio { bitrate: 192 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Audio,
    Video,
}

fn kind(mime: &str) -> Option<Kind> {
    match mime {
        "audio/mpeg" | "audio/mp3" | "audio/mpeg3" | "audio/x-mpeg" | "audio/mpg" | "audio/mp4"
        | "audio/x-m4a" | "audio/m4a" | "audio/aac" | "audio/aacp" | "audio/x-aac" | "audio/wav"
        | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" | "audio/ogg" | "audio/opus" | "audio/vorbis"
        | "application/ogg" | "audio/flac" | "audio/x-flac" | "audio/webm" => Some(Kind::Audio),
        "video/mp4" | "video/x-m4v" | "video/webm" | "video/ogg" | "video/quicktime" | "video/3gpp"
        | "video/x-matroska" => Some(Kind::Video),
        mime => rare(mime),
    }
}

/// What is played too, but tried after all others.
fn rare(mime: &str) -> Option<Kind> {
    match mime {
        "audio/aiff" | "audio/x-aiff" | "audio/x-ms-wma" | "audio/ac3" | "audio/eac3" | "audio/basic"
        | "audio/amr" | "audio/x-caf" | "audio/x-matroska" => Some(Kind::Audio),
        "video/x-msvideo" | "video/avi" | "video/x-flv" | "video/x-ms-wmv" | "video/x-ms-asf"
        | "video/mpeg" | "video/mp2t" => Some(Kind::Video),
        _ => None,
    }
}

/// The type that a file's name tells by its ending, when it is one that is played.
pub fn of_name(name: &str) -> Option<&'static str> {
    let (_, extension) = name.rsplit_once('.')?;
    match extension.to_ascii_lowercase().as_str() {
        "mp3" | "mp2" => Some("audio/mpeg"),
        "m4a" | "m4b" => Some("audio/mp4"),
        "aac" => Some("audio/aac"),
        "wav" => Some("audio/wav"),
        "ogg" | "oga" | "opus" => Some("audio/ogg"),
        "flac" => Some("audio/flac"),
        "mka" => Some("audio/x-matroska"),
        "aif" | "aiff" | "aifc" => Some("audio/aiff"),
        "caf" => Some("audio/x-caf"),
        "wma" => Some("audio/x-ms-wma"),
        "ac3" => Some("audio/ac3"),
        "eac3" => Some("audio/eac3"),
        "au" | "snd" => Some("audio/basic"),
        "amr" => Some("audio/amr"),
        "mp4" | "m4v" => Some("video/mp4"),
        // Without pictures too: that is known only when it is read.
        "webm" => Some("video/webm"),
        "mkv" => Some("video/x-matroska"),
        "mov" | "qt" => Some("video/quicktime"),
        "3gp" => Some("video/3gpp"),
        "ogv" => Some("video/ogg"),
        "avi" => Some("video/x-msvideo"),
        "flv" => Some("video/x-flv"),
        "wmv" => Some("video/x-ms-wmv"),
        "asf" => Some("video/x-ms-asf"),
        "mpg" | "mpeg" | "vob" => Some("video/mpeg"),
        "ts" | "m2ts" | "mts" => Some("video/mp2t"),
        _ => None,
    }
}

/// Codecs that every GStreamer installation this works on decodes; an unlisted one is tried last.
fn codec_rank(codec: Option<&str>) -> u8 {
    let Some(codec) = codec else { return 0 };
    let codec = codec.to_ascii_lowercase().replace(['.', '-', ' '], "");
    let known = [
        "avc", "h264", "mp4a", "aac", "mp3", "opus", "vorbis", "flac", "vp8", "vp9", "vp0", "av1", "pcm",
    ];
    u8::from(!known.iter().any(|name| codec.starts_with(name)))
}

/// Why a file can never be played here; `None` for one that may.
fn unusable(file: &MediaFileElement) -> Option<String> {
    if file.streaming {
        return Some("it is streaming: its segments would have to be fetched while it is decoded".to_owned());
    }
    // Some documents write apiFramework="VAST" on plain files.
    if let Some(api) = file.api_framework.as_deref()
        && !api.eq_ignore_ascii_case("vast")
    {
        return Some(format!("it is interactive ({api}), which is not run"));
    }
    match mime_of(file) {
        None => Some("it tells no type, and its name tells none".to_owned()),
        Some(mime) if kind(mime).is_none() => Some(format!("its type {mime} is not one that is played")),
        Some(_) => None,
    }
}

fn mime_of(file: &MediaFileElement) -> Option<&str> {
    match file.mime.as_deref() {
        Some(mime) if !mime.is_empty() => Some(mime),
        _ => of_name(file.url.split(['?', '#']).next().unwrap_or_default()),
    }
}

/// The files that can never be played, and why, in document order.
pub fn left_out(files: &[MediaFileElement]) -> Vec<LeftOut> {
    files
        .iter()
        .filter_map(|file| {
            Some(LeftOut {
                url: file.url.clone(),
                reason: unusable(file)?,
            })
        })
        .collect()
}

/// Why the first of the usable files is the chosen one: one sentence; `None` when there is none.
pub fn reason(usable: &[MediaFile], preference: MediaPreference) -> Option<String> {
    let chosen = usable.first()?;
    if usable.len() == 1 {
        return Some("it is the only one that can be played".to_owned());
    }
    let is_audio = |file: &MediaFile| kind(&file.mime) == Some(Kind::Audio);
    let of_its_kind = usable
        .iter()
        .filter(|file| is_audio(file) == is_audio(chosen))
        .count();
    let what = match (preference, is_audio(chosen)) {
        (_, true) if of_its_kind == 1 => "it is the only one that is sound alone".to_owned(),
        (MediaPreference::Audio { bitrate } | MediaPreference::Either { bitrate, .. }, true) => {
            format!("its bitrate is the nearest to {bitrate} kbit/s, from above if possible")
        }
        (MediaPreference::Video { .. }, true) => "there is no picture to be had".to_owned(),
        (MediaPreference::Audio { .. }, false) => {
            "it has the smallest picture, which is thrown away".to_owned()
        }
        (MediaPreference::Video { width, height } | MediaPreference::Either { width, height, .. }, false) => {
            format!("its picture is the largest that fits {width}x{height}, or else the smallest")
        }
    };
    Some(format!(
        "of {} that can be played, with known codecs first, {what}",
        usable.len()
    ))
}

/// The usable files, best first. Equal ones are ordered by URL, so that document order never decides.
pub fn choose(files: &[MediaFileElement], preference: MediaPreference) -> Vec<MediaFile> {
    let mut usable: Vec<(Kind, MediaFile)> = files
        .iter()
        .filter(|file| unusable(file).is_none())
        .filter_map(|file| {
            let mime = mime_of(file)?;
            let kind = kind(mime)?;
            let file = MediaFile {
                url: file.url.clone(),
                mime: mime.to_owned(),
                codec: file.codec.clone(),
                width: file.width,
                height: file.height,
                bitrate: file.bitrate,
                bytes: file.bytes,
            };
            Some((kind, file))
        })
        .collect();
    usable.sort_by_cached_key(|(kind, file)| {
        let pixels = u64::from(file.width) * u64::from(file.height);
        // The largest that fits, else the smallest that does not; the best bitrate of that size.
        let fitting = |width: u32, height: u32| {
            let most = u64::from(width) * u64::from(height);
            let size = if pixels <= most {
                most - pixels
            } else {
                (1 << 40) + pixels
            };
            (size, u64::from(u32::MAX - file.bitrate.unwrap_or(0)))
        };
        let (class, (first, second)) = match (preference, kind) {
            (MediaPreference::Audio { bitrate } | MediaPreference::Either { bitrate, .. }, Kind::Audio) => {
                (0, (0, distance_from_above(bitrate, file.bitrate)))
            }
            (MediaPreference::Audio { .. }, Kind::Video) => {
                (1, (pixels, u64::from(file.bitrate.unwrap_or(u32::MAX))))
            }
            (MediaPreference::Video { width, height }, Kind::Video) => (0, fitting(width, height)),
            (MediaPreference::Either { width, height, .. }, Kind::Video) => (1, fitting(width, height)),
            (MediaPreference::Video { .. }, Kind::Audio) => (1, (0, distance_from_above(192, file.bitrate))),
        };
        (
            rare(&file.mime).is_some(),
            class,
            codec_rank(file.codec.as_deref()),
            first,
            second,
            file.url.clone(),
        )
    });
    usable.into_iter().map(|(_, file)| file).collect()
}

/// The wanted bitrate or the next above it first, then what is below it, the highest first, then what tells none.
fn distance_from_above(wanted: u32, bitrate: Option<u32>) -> u64 {
    match bitrate {
        Some(bitrate) if bitrate >= wanted => u64::from(bitrate - wanted),
        Some(bitrate) => (1 << 33) + u64::from(wanted - bitrate),
        None => 1 << 40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(url: &str, mime: &str, kbps: u32, width: u32, height: u32) -> MediaFileElement {
        MediaFileElement {
            url: url.into(),
            mime: Some(mime.into()),
            bitrate: Some(kbps),
            width,
            height,
            ..MediaFileElement::default()
        }
    }

    fn urls(files: &[MediaFileElement], preference: MediaPreference) -> Vec<String> {
        choose(files, preference)
            .into_iter()
            .map(|file| file.url)
            .collect()
    }

    #[test]
    fn rule_6_the_media_file_is_chosen_by_type_codec_size_and_bitrate_never_by_document_order() {
        let mut files = vec![
            file("v", "video/mp4", 600, 640, 360),
            file("flash", "application/x-shockwave-flash", 600, 640, 360),
            file("low", "audio/mpeg", 64, 0, 0),
            file("mid", "audio/mpeg", 192, 0, 0),
            file("high", "audio/mp4", 320, 0, 0),
            MediaFileElement {
                codec: Some("wma2".into()),
                ..file("odd", "audio/mpeg", 192, 0, 0)
            },
            MediaFileElement {
                streaming: true,
                ..file("hls", "audio/mpeg", 192, 0, 0)
            },
            MediaFileElement {
                api_framework: Some("VPAID".into()),
                ..file("vpaid", "audio/mpeg", 192, 0, 0)
            },
            MediaFileElement {
                url: "http://x/un.mp3?y".into(),
                ..MediaFileElement::default()
            },
        ];
        let expected = ["mid", "high", "low", "http://x/un.mp3?y", "odd", "v"];
        for _ in 0..files.len() {
            files.rotate_left(1);
            assert_eq!(urls(&files, MediaPreference::default()), expected);
        }
    }

    #[test]
    fn rule_6_video_gets_the_largest_file_that_fits() {
        let files = [
            file("360", "video/mp4", 600, 640, 360),
            file("1080", "video/mp4", 5_000, 1_920, 1_080),
            file("720 slow", "video/mp4", 1_000, 1_280, 720),
            file("720", "video/mp4", 2_000, 1_280, 720),
            file("sound", "audio/mpeg", 192, 0, 0),
        ];
        let preference = MediaPreference::Video {
            width: 1_280,
            height: 720,
        };
        assert_eq!(
            urls(&files, preference),
            ["720", "720 slow", "360", "1080", "sound"]
        );
    }

    #[test]
    fn what_a_published_creative_may_be_named_is_played_and_rare_kinds_come_last() {
        for name in [
            "a.MOV", "a.avi", "a.flv", "a.wmv", "a.mpg", "a.ts", "a.mkv", "a.aiff", "a.wma", "a.ac3", "a.mp2",
        ] {
            let mime = of_name(name).unwrap_or_else(|| panic!("{name} tells a type"));
            assert_eq!(
                urls(&[file(name, mime, 600, 640, 360)], MediaPreference::default()),
                [name]
            );
        }
        assert_eq!(of_name("a.exe"), None);
        let files = [
            file("a.wma", "audio/x-ms-wma", 192, 0, 0),
            file("b.mp4", "video/mp4", 600, 640, 360),
        ];
        assert_eq!(urls(&files, MediaPreference::default()), ["b.mp4", "a.wma"]);
    }

    #[test]
    fn rule_6_what_is_left_out_and_why_one_is_chosen_is_said() {
        let files = [
            file("flash", "application/x-shockwave-flash", 600, 640, 360),
            MediaFileElement {
                streaming: true,
                ..file("hls", "audio/mpeg", 192, 0, 0)
            },
            MediaFileElement {
                api_framework: Some("SIMID".into()),
                ..file("simid", "video/mp4", 192, 0, 0)
            },
            file("low", "audio/mpeg", 64, 0, 0),
            file("high", "audio/mpeg", 128, 0, 0),
            file("picture", "video/mp4", 600, 640, 360),
        ];
        let left_out = left_out(&files);
        let named: Vec<_> = left_out.iter().map(|file| file.url.as_str()).collect();
        assert_eq!(named, ["flash", "hls", "simid"]);
        assert!(left_out[0].reason.contains("shockwave") && left_out[2].reason.contains("SIMID"));
        let why = |preference| reason(&choose(&files, preference), preference).expect("one is usable");
        assert!(why(MediaPreference::default()).contains("192 kbit/s"));
        let large = MediaPreference::Video {
            width: 1_280,
            height: 720,
        };
        assert!(why(large).contains("1280x720"));
        assert!(
            reason(&choose(&files[5..], large), large)
                .expect("one")
                .contains("only one")
        );
        assert_eq!(reason(&[], large), None);
    }

    #[test]
    fn rule_6_without_content_sound_comes_first_and_else_the_picture_that_fits() {
        let either = MediaPreference::Either {
            bitrate: 192,
            width: 1_280,
            height: 720,
        };
        let files = [
            file("360", "video/mp4", 600, 640, 360),
            file("720", "video/mp4", 2_000, 1_280, 720),
            file("sound", "audio/mpeg", 64, 0, 0),
        ];
        assert_eq!(urls(&files, either), ["sound", "720", "360"]);
        assert_eq!(urls(&files[..2], either), ["720", "360"]);
    }
}
