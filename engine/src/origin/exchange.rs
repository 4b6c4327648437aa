//! One exchange with a web seed: what it is asked, and what its answer means for this range.
//!
//! Not here: what follows for the seed, and who is asked next (the parent module); when it is waited for no longer
//! ([`super::asking`]).

use super::asking::{Asking, GivenUp};
use super::begun::{Progress, is_little};
use super::headers::content_range;
use super::page::{begins_with_markup, is_named_page, is_page};
use super::{Origin, Sink};
use crate::swarm::BLOCK_SIZE;
use bytes::Bytes;
use gate::{StatusCode, Url, header};
use std::ops::Range;
use std::time::Duration;

/// What one request came to.
pub(super) enum Attempt {
    /// The range is done, or the sink wants no more.
    Done,
    /// Up to this block, then something that may pass. `beside`: it has perhaps no place for it beside so many others that it answers.
    Later {
        why: String,
        after: Option<Duration>,
        beside: Option<u32>,
    },
    /// Up to this block, then nothing, and another seed may be asked.
    Silent(String),
    /// Up to this block: it sends no more at a time.
    Part,
    /// Up to this block; another seed is probably faster.
    Slow,
    /// It is of no use now and may be one day: for this file, or for all (`host`).
    Refused { why: String, host: bool },
    /// This seed is of no use any more.
    Never(String),
    /// It sends the whole file only, and another seed may not.
    PreferOthers,
}

impl Attempt {
    fn later(why: String) -> Self {
        Self::Later {
            why,
            after: None,
            beside: None,
        }
    }
}

/// As a captive portal does that misses its cookie.
fn leads_nowhere(error: &gate::Error) -> bool {
    matches!(
        error,
        gate::Error::TooManyRedirects { .. } | gate::Error::Location { .. }
    )
}

impl Origin {
    /// One request to one seed, which goes on where `progress` is.
    pub(super) async fn attempt(
        &self,
        (seed, file): (usize, usize),
        url: &Url,
        progress: &mut Progress,
        whole: bool,
        sink: &mut impl Sink,
    ) -> Attempt {
        let total_length = self.lengths[file];
        let block_size = u64::from(BLOCK_SIZE);
        let first = u64::from(progress.next) * block_size + progress.begun.len();
        let wanted = first..(u64::from(progress.end) * block_size).min(total_length);
        let is_page_itself = is_named_page(url.path());
        // From here on as it may be shown.
        let (request, url) = (self.gate.get(url.clone()), gate::shown(url));
        let mut request = request.header_text(header::ACCEPT_ENCODING, "identity");
        if !whole {
            request = request.header_text(
                header::RANGE,
                &format!("bytes={}-{}", wanted.start, wanted.end - 1),
            );
        }
        let mut asking = Asking::begin(self, (seed, file), &url, whole);
        let given_up = |why| match why {
            GivenUp::Silent(why) => Attempt::Silent(why),
            GivenUp::Slow => Attempt::Slow,
            GivenUp::Stopped(why) => Attempt::later(why),
        };
        let sent = match asking.wait(request.send()).await {
            Ok(sent) => sent,
            Err(why) => return given_up(why),
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(e) if e.is_transient() || leads_nowhere(&e) => {
                return Attempt::later(e.to_string());
            }
            Err(e @ gate::Error::Forbidden(_)) => {
                return Attempt::Refused {
                    why: e.to_string(),
                    host: true,
                };
            }
            Err(e) => return Attempt::Never(e.to_string()),
        };
        let status = response.status();
        if status.is_success() {
            asking.is_answered();
        }
        let changed = |found: u64| {
            Attempt::Never(format!(
                "the file at {url} was changed: it has {found} bytes, not {total_length}; it has to be published again"
            ))
        };
        let mut opening = None;
        if status == StatusCode::OK && is_page(response.header(header::CONTENT_TYPE)) {
            let is_coded = response.encoding().is_some();
            let is_instead = match response.content_length() {
                // Compressed, it has another length, and it begins as any page does.
                _ if is_page_itself && is_coded => false,
                // A page that is longer or shorter than it was is one that was changed.
                Some(length) => length != total_length && !is_page_itself,
                None if is_page_itself => false,
                None if is_coded => true,
                None => {
                    match asking.wait(response.chunk()).await {
                        Ok(Ok(chunk)) => opening = chunk,
                        Ok(Err(e)) => return Attempt::later(e.to_string()),
                        Err(why) => return given_up(why),
                    }
                    opening.as_deref().is_some_and(begins_with_markup)
                }
            };
            if is_instead {
                return Attempt::later(format!(
                    "the web seed {url} answered with a web page instead of the file, as a captive portal or a server in maintenance does"
                ));
            }
        }
        if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT)
            && let Some(encoding) = response.encoding()
        {
            return Attempt::Never(format!(
                "the web seed {url} sends the file in {encoding} (Content-Encoding), which was not asked for: its server must \
                 send it as it is"
            ));
        }
        let (start, stop) = match status {
            StatusCode::PARTIAL_CONTENT => {
                let text = response
                    .header(header::CONTENT_RANGE)
                    .unwrap_or_default()
                    .to_owned();
                match content_range(&text) {
                    Some((_, Some(total))) if total != total_length => return changed(total),
                    // It may send less than was asked for, and says so (RFC 9110 §15.3.7).
                    Some((range, _)) if range.start == wanted.start && range.end <= wanted.end => {
                        let bytes = range.end - range.start;
                        if let Some(length) = response.content_length().filter(|&length| length != bytes) {
                            return Attempt::Never(format!(
                                "the web seed {url} answered with Content-Length {length}, which contradicts its Content-Range \
                                 {text:?} of {bytes} bytes"
                            ));
                        }
                        (range.start, range.end)
                    }
                    _ => {
                        return Attempt::Never(format!(
                            "the web seed {url} answered bytes {}-{} with Content-Range {text:?}",
                            wanted.start,
                            wanted.end - 1
                        ));
                    }
                }
            }
            StatusCode::OK => {
                if let Some(found) = response.content_length().filter(|&n| n != total_length) {
                    return changed(found);
                }
                // A file that fits the request needs no range; otherwise somebody else may do better.
                if !whole && wanted != (0..total_length) {
                    return Attempt::PreferOthers;
                }
                (0, total_length)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                let total = response
                    .header(header::CONTENT_RANGE)
                    .and_then(|t| t.rsplit('/').next()?.parse().ok());
                return match total {
                    Some(total) if total != total_length => changed(total),
                    _ => Attempt::Never(format!(
                        "the web seed {url} answered 416: it has no bytes {}-{}",
                        wanted.start,
                        wanted.end - 1
                    )),
                };
            }
            _ => {
                let after = response.retry_after();
                let comes_again = match after {
                    Some(after) if !after.is_zero() => {
                        format!(", and asks to come again in {} s", after.as_secs())
                    }
                    _ => String::new(),
                };
                let why = format!("the web seed {url} answered {status}{comes_again}");
                let busy = matches!(
                    status,
                    StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
                );
                return match status {
                    _ if gate::may_pass(status) => Attempt::Later {
                        why,
                        after,
                        beside: (busy && after.is_none()).then(|| asking.beside()),
                    },
                    StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Attempt::Refused { why, host: false },
                    _ => Attempt::Never(why),
                };
            }
        };
        asking.gives();
        let read = self.read_body(
            (seed, file),
            (&url, &mut asking),
            (opening, &mut response),
            start..stop,
            progress,
            sink,
        );
        match read.await.unwrap_or_else(given_up) {
            Attempt::Part if stop >= wanted.end => Attempt::Done,
            Attempt::Part if is_little(stop - start, wanted.end - wanted.start) => Attempt::later(format!(
                "the web seed {url} answered bytes {}-{} with {} of them, which is too little",
                wanted.start,
                wanted.end - 1,
                stop - start
            )),
            attempt => attempt,
        }
    }

    /// Reads the bytes `range` of the file, block by block, of which `first` was read already: [`Attempt::Part`] when they are all here,
    /// [`Attempt::Done`] when the sink wants no more.
    async fn read_body(
        &self,
        (seed, file): (usize, usize),
        (url, asking): (&str, &mut Asking<'_>),
        (mut first, response): (Option<Bytes>, &mut gate::Response),
        range: Range<u64>,
        progress: &mut Progress,
        sink: &mut impl Sink,
    ) -> Result<Attempt, GivenUp> {
        let total_length = self.lengths[file];
        let mut block = (range.start / u64::from(BLOCK_SIZE)) as u32;
        let mut left = range.end - range.start;
        while left > 0 {
            let chunk = match first.take() {
                Some(chunk) => Ok(Some(chunk)),
                None => asking.wait(response.chunk()).await?,
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    let why = format!("the web seed {url} ended {left} bytes early");
                    return Ok(Attempt::later(why));
                }
                Err(e) => return Ok(Attempt::later(e.to_string())),
            };
            sink.received(chunk.len() as u64);
            self.down.take(chunk.len() as u64).await;
            if chunk.len() as u64 > left {
                sink.wasted(chunk.len() as u64 + progress.begun.forget());
                return Ok(Attempt::Never(format!(
                    "the web seed {url} sent more bytes than it said"
                )));
            }
            let bytes = chunk.len() as u64;
            left -= bytes;
            progress.begun.bytes.extend_from_slice(&chunk);
            loop {
                let len = total_length.saturating_sub(u64::from(block) * u64::from(BLOCK_SIZE));
                let len = len.min(u64::from(BLOCK_SIZE)) as usize;
                let begun = &mut progress.begun;
                if len == 0 || begun.bytes.len() < len {
                    break;
                }
                let data = begun.bytes.split_to(len).freeze();
                if !sink.block(seed, block, data).await {
                    sink.wasted(progress.begun.forget());
                    return Ok(Attempt::Done);
                }
                block += 1;
                progress.gave(seed, block);
            }
            if left > 0 {
                asking.brings(bytes)?;
            }
        }
        if range.end == total_length && left == 0 {
            // A body that goes on after the file's end is a longer file.
            if let Ok(Some(more)) = response.chunk().await {
                sink.received(more.len() as u64);
                sink.wasted(more.len() as u64);
                return Ok(Attempt::Never(format!(
                    "the file at {url} was changed: it has more than {total_length} bytes; it has to be published again"
                )));
            }
        }
        // It may end within a block.
        Ok(Attempt::Part)
    }
}
