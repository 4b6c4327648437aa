//! What kind of media a file holds, for feeds and HTTP: by how it is coded, or by its name's ending where that is all there is.

use std::path::Path;

use ad_splicer::splice::Codec;

/// By the name's ending.
pub(crate) fn of_name(name: &str) -> &'static str {
    match Path::new(name)
        .extension()
        .and_then(|e| e.to_str())
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("mp3") => "audio/mpeg",
        Some("m4a" | "m4b") => "audio/mp4",
        Some("aac") => "audio/aac",
        Some("ogg" | "oga" | "opus") => "audio/ogg",
        Some("flac") => "audio/flac",
        Some("wav") => "audio/wav",
        Some("mp4" | "m4v") => "video/mp4",
        // Without pictures too: that is known only when it is read.
        Some("webm") => "video/webm",
        _ => "application/octet-stream",
    }
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
