//! `grovesrc`: content as a GStreamer source element, found by URIs of the scheme `grove`, so that `playbin3` alone can play a link.
//!
//! It lives in this process only: [`register`] says how a URI becomes [`Content`]. In a program that has registered it this plays:
//!
//! ```text
//! gst::ElementFactory::make("playbin3").property("uri", "grove://…")
//! ```
//!
//! Not for: resolving links (the opener does), ads (the opener may give a rendition), or other programs' pipelines.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_base as gst_base;

use crate::content::Content;

mod imp;

glib::wrapper! {
    /// The element.
    pub struct GroveSrc(ObjectSubclass<imp::GroveSrc>) @extends gst_base::BaseSrc, gst::Element, gst::Object, @implements gst::URIHandler;
}

/// The scheme of its URIs.
pub const SCHEME: &str = "grove";

/// Makes content of a URI. It is called when a pipeline starts, from a thread of GStreamer's, and should not block for long: the content may still be arriving.
pub type Opener = dyn Fn(&str) -> io::Result<Arc<dyn Content>> + Send + Sync;

/// How URIs are opened now. Never held while anything is opened.
static OPENER: RwLock<Option<Arc<Opener>>> = RwLock::new(None);

/// Makes the element known in this process. Asked again, only the opener is replaced.
///
/// # Errors
/// When GStreamer cannot be initialised, or does not take the element.
pub fn register(opener: Arc<Opener>) -> Result<(), glib::Error> {
    gst::init()?;
    let before = OPENER
        .write()
        .unwrap_or_else(PoisonError::into_inner)
        .replace(opener);
    if before.is_none() {
        gst::Element::register(None, "grovesrc", gst::Rank::PRIMARY, GroveSrc::static_type())
            .map_err(|error| glib::Error::new(gst::CoreError::Failed, &error.message))?;
    }
    Ok(())
}

fn open(uri: &str) -> io::Result<Arc<dyn Content>> {
    let opener = OPENER.read().unwrap_or_else(PoisonError::into_inner).clone();
    match opener {
        Some(opener) => opener(uri),
        None => Err(io::Error::other("nothing opens such URIs")),
    }
}
