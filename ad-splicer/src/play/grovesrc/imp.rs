//! The element behind [`super::GroveSrc`]. Lock order: `settings` before `state`; neither is held while content is read.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer::subclass::prelude::*;
use gstreamer_base as gst_base;
use gstreamer_base::prelude::*;
use gstreamer_base::subclass::base_src::CreateSuccess;
use gstreamer_base::subclass::prelude::*;

use super::SCHEME;
use crate::content::Content;

/// How long one read may hold: a pipeline that is stopped or sought waits at most this long.
const SLICE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Settings {
    uri: Option<String>,
}

/// See [`super::GroveSrc`].
#[derive(Default)]
pub struct GroveSrc {
    settings: Mutex<Settings>,
    /// What is being read, while started.
    state: Mutex<Option<Arc<dyn Content>>>,
    /// A read is to end, since the pipeline is flushed.
    flushing: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // It is whole whatever panicked beside it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GroveSrc {
    /// Fills the buffer, unless the content ends before or the pipeline is flushed. However long bytes take, they are waited for: a player shows that it waits.
    fn read(&self, content: &dyn Content, offset: u64, bytes: &mut [u8]) -> Result<usize, gst::FlowError> {
        let mut done = 0;
        while done < bytes.len() {
            if self.flushing.load(Ordering::Acquire) {
                return Err(gst::FlowError::Flushing);
            }
            match content.read_at(offset + done as u64, &mut bytes[done..], SLICE) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => {}
                Err(error) => {
                    gst::element_imp_error!(
                        self,
                        gst::ResourceError::Read,
                        ["cannot read at byte {}: {error}", offset + done as u64]
                    );
                    return Err(gst::FlowError::Error);
                }
            }
        }
        Ok(done)
    }
}

#[glib::object_subclass]
impl ObjectSubclass for GroveSrc {
    const NAME: &'static str = "GroveSrc";
    type Type = super::GroveSrc;
    type ParentType = gst_base::BaseSrc;
    type Interfaces = (gst::URIHandler,);
}

impl ObjectImpl for GroveSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                glib::ParamSpecString::builder("uri")
                    .nick("URI")
                    .blurb("What is read: grove://…")
                    .mutable_ready()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _: usize, value: &glib::Value, _: &glib::ParamSpec) {
        lock(&self.settings).uri = value.get().ok().flatten();
    }

    fn property(&self, _: usize, _: &glib::ParamSpec) -> glib::Value {
        lock(&self.settings).uri.to_value()
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_format(gst::Format::Bytes);
    }
}

impl GstObjectImpl for GroveSrc {}

impl ElementImpl for GroveSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Grove source",
                "Source/Network",
                "Reads content that a swarm delivers",
                "Grove",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_any();
            gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &caps)
                .into_iter()
                .collect()
        });
        &TEMPLATES
    }
}

impl BaseSrcImpl for GroveSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let uri = lock(&self.settings).uri.clone();
        let uri = uri.ok_or_else(|| gst::error_msg!(gst::ResourceError::Settings, ["no URI was given"]))?;
        let content = super::open(&uri)
            .map_err(|error| gst::error_msg!(gst::ResourceError::OpenRead, ["cannot open {uri}: {error}"]))?;
        *lock(&self.state) = Some(content);
        self.flushing.store(false, Ordering::Release);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn size(&self) -> Option<u64> {
        lock(&self.state).as_ref().map(|content| content.len())
    }

    fn create(
        &self,
        offset: u64,
        buffer: Option<&mut gst::BufferRef>,
        length: u32,
    ) -> Result<CreateSuccess, gst::FlowError> {
        let content = lock(&self.state).clone().ok_or(gst::FlowError::Flushing)?;
        let left = content.len().saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length as usize);
        let mut bytes = vec![0; length];
        let count = self.read(content.as_ref(), offset, &mut bytes)?;
        if count == 0 {
            return Err(gst::FlowError::Eos);
        }
        bytes.truncate(count);
        if let Some(buffer) = buffer {
            buffer
                .copy_from_slice(0, &bytes)
                .map_err(|_| gst::FlowError::Error)?;
            buffer.set_size(count);
            return Ok(CreateSuccess::FilledBuffer);
        }
        let mut buffer = gst::Buffer::from_slice(bytes);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_offset(offset);
            buffer.set_offset_end(offset + count as u64);
        }
        Ok(CreateSuccess::NewBuffer(buffer))
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.flushing.store(true, Ordering::Release);
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.flushing.store(false, Ordering::Release);
        Ok(())
    }
}

impl URIHandlerImpl for GroveSrc {
    const URI_TYPE: gst::URIType = gst::URIType::Src;

    fn protocols() -> &'static [&'static str] {
        &[SCHEME]
    }

    fn uri(&self) -> Option<String> {
        lock(&self.settings).uri.clone()
    }

    fn set_uri(&self, uri: &str) -> Result<(), glib::Error> {
        if lock(&self.state).is_some() {
            return Err(glib::Error::new(gst::URIError::BadState, "it is being read"));
        }
        lock(&self.settings).uri = Some(uri.to_owned());
        Ok(())
    }
}
