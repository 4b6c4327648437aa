//! Why a pipeline that stopped did so: what the creative is in that nothing may decode, or has that ads cannot have.
//!
//! GStreamer tells what it lacks as if something ought to be installed; here it is mostly what is not allowed, and it is
//! the format that has to be named.

use gstreamer as gst;

use super::allowed::Wanted;
use super::job::Report;

/// What a pipeline said that it lacks, and what kind of file was found.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    file: Option<gst::Caps>,
    /// Kinds of streams or files with what they are called.
    kinds: Vec<(gst::Caps, String)>,
    /// The last error of a part of the pipeline, which may have gone no further.
    hidden: Option<gst::glib::Error>,
}

impl Lacking {
    /// Hears that the file is of a kind.
    pub(super) fn handle_type(&mut self, caps: gst::Caps) {
        self.file = Some(caps);
    }

    /// Hears a message of the pipeline.
    pub(super) fn handle_message(&mut self, message: &gst::MessageRef) {
        let Some(said) = message.structure().filter(|said| said.name() == "missing-plugin") else {
            return;
        };
        let Ok(caps) = said.get::<gst::Caps>("detail") else {
            return;
        };
        let name = said.get::<String>("name").unwrap_or_default();
        let name = [" decoder", " demuxer"]
            .into_iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(&name);
        let name = name.to_owned();
        self.kinds.push((caps, name));
    }

    /// Hears an error of a part of the pipeline.
    pub(super) fn handle_hidden(&mut self, error: gst::glib::Error) {
        self.hidden = Some(error);
    }

    /// What to report of a pipeline that stopped without an error of its own: that of a part of it.
    pub(super) fn hidden(&self, wanted: Wanted) -> Option<Report> {
        self.hidden.as_ref().map(|error| self.verdict(wanted, error))
    }

    /// What to report of an error of the pipeline.
    pub(super) fn verdict(&self, wanted: Wanted, error: &gst::glib::Error) -> Report {
        let no_decoder =
            error.matches(gst::CoreError::MissingPlugin) || error.matches(gst::StreamError::CodecNotFound);
        // There is no kind of file that it could be.
        let no_media =
            error.matches(gst::StreamError::TypeNotFound) || error.matches(gst::StreamError::WrongType);
        let has = |class: &str| {
            let mut kinds = self.kinds.iter().flat_map(|(kind, _)| kind.iter());
            kinds.any(|kind| kind.name() == class)
        };
        let encrypted = ["application/x-cenc", "application/x-webm-enc"];
        let is = |kind: &gst::Caps, class: &str| kind.iter().any(|kind| kind.name().starts_with(class));
        let named = self.kinds.iter().find(|(kind, _)| match wanted {
            Wanted::Sound => {
                let is_the_file = self.file.as_ref().is_some_and(|file| file.can_intersect(kind));
                is(kind, "audio/") || is_the_file
            }
            Wanted::Pictures => is(kind, "video/"),
            Wanted::Image => false,
        });
        match (wanted, named) {
            (_, Some((_, name))) if no_decoder => Report::Unsupported {
                what: format!("it is in {name}, which is no format that ads are taken in"),
            },
            (_, None) if no_decoder && encrypted.iter().any(|kind| has(kind)) => Report::Unsupported {
                what: "it is encrypted".to_owned(),
            },
            (Wanted::Sound, None) if no_decoder => Report::NoAudio,
            (Wanted::Pictures | Wanted::Image, _) if no_decoder || no_media => Report::NoPicture,
            _ => Report::Undecodable {
                reason: error.to_string(),
            },
        }
    }
}

/// What decoded pictures of these caps have that ads cannot have.
pub(super) fn beyond_ads(caps: &gst::CapsRef) -> Option<String> {
    let told = caps.structure(0)?.get::<&str>("colorimetry").ok()?;
    // GStreamer's names, or else its numbers of range, matrix, transfer and primaries.
    let hdr = match (told, told.split(':').nth(2)) {
        ("bt2100-pq", _) | (_, Some("14")) => "PQ",
        ("bt2100-hlg", _) | (_, Some("15")) => "HLG",
        _ => return None,
    };
    Some(format!(
        "its colours are HDR ({hdr}), and ads are made without HDR"
    ))
}
