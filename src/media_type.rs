//! What kind of media a file holds, for feeds and HTTP: by how it is coded, or by its name's ending where that is all there is.

use std::path::Path;

use ad_splicer::splice::Codec;

/// By the name's ending.
pub(crate) fn of_name(name: &str) -> &'static str {
    ad_splicer::decide::select::of_name(name).unwrap_or("application/octet-stream")
}

/// Whether a name's ending says that it is media.
pub(crate) fn is_named_media(name: &str) -> bool {
    ad_splicer::decide::select::of_name(name).is_some()
}

/// By the coding.
pub(crate) fn of_codec(codec: Codec) -> &'static str {
    match codec {
        Codec::Mp3 => "audio/mpeg",
        Codec::Wav => "audio/wav",
        Codec::Flac => "audio/flac",
        Codec::Adts => "audio/aac",
        Codec::M4a => "audio/mp4",
        Codec::Mp4 => "video/mp4",
        Codec::OggOpus | Codec::OggVorbis => "audio/ogg",
        Codec::WebmOpus => "audio/webm",
        Codec::WebmVp9 => "video/webm",
        _ => "application/octet-stream",
    }
}

/// Says it when a file will have the name of another kind of media than it holds: some programs go by the name. Nothing is said of kinds that
/// are not known here.
pub(crate) fn tell_misnamed(path: &Path, holds: &'static str) {
    let named = path.file_name().and_then(|name| name.to_str()).map(of_name);
    if let Some(named) = named.filter(|named| is_other(named, holds)) {
        eprintln!(
            "note: {} is named like {named} and holds {holds}: some programs go by the name",
            path.display()
        );
    }
}

/// Whether these are two kinds of file; with or without pictures the kind is one.
fn is_other(one: &'static str, other: &'static str) -> bool {
    let kind = |media_type: &'static str| match media_type.split_once('/') {
        Some(("audio" | "video", kind)) => Some(kind),
        _ => None,
    };
    matches!((kind(one), kind(other)), (Some(one), Some(other)) if one != other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_kinds_are_told_from_those_that_fit() {
        for (named, holds, other) in [
            ("a.mp3", "audio/mp4", true),
            ("a.MP3", "audio/mpeg", false),
            ("a.aac", "audio/mp4", true),
            ("a.mp4", "audio/mp4", false),
            ("a.webm", "audio/webm", false),
            ("a.opus", "audio/ogg", false),
            ("a.bin", "audio/mp4", false),
            ("a", "audio/mp4", false),
            ("a.mp3", "application/octet-stream", false),
        ] {
            assert_eq!(is_other(of_name(named), holds), other, "{named} {holds}");
        }
    }
}
