//! One request: its redirects, its time limits, its body.
//!
//! Every hop is resolved and judged anew by the [`Gate`]. Not for retries: who asked knows whether asking again helps.

use crate::retry_after::retry_after;
use crate::{Error, Gate, Method, StatusCode, Url, shown};
use bytes::{Bytes, BytesMut};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 10;

/// A request that has not been sent.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    gate: Gate,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    timeout: Option<Duration>,
    connecting: Option<Duration>,
    follow: bool,
    family: Option<Family>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: &SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl Request {
    pub(crate) fn new(gate: Gate, method: Method, url: Url) -> Self {
        Self {
            gate,
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            timeout: None,
            connecting: None,
            follow: true,
            family: None,
        }
    }

    /// Sets a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a header from text. A value that HTTP cannot carry is left out.
    pub fn header_text(self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.header(name, value),
            Err(_) => self,
        }
    }

    /// Sets `User-Agent` for this request.
    pub fn user_agent(self, value: &str) -> Self {
        self.header_text(header::USER_AGENT, value)
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Limits the whole exchange: all hops and the body. Without it only silence is limited
    /// ([`Policy::read_timeout`](crate::Policy::read_timeout)).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Limits each hop's connecting, in place of [`Policy::connect_timeout`](crate::Policy::connect_timeout).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connecting = Some(timeout);
        self
    }

    /// Whether redirects are followed (the default). Otherwise the 3xx response is the answer.
    pub fn follow_redirects(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Has it go to addresses of this family only, on each hop.
    pub fn over(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// Sends it, follows at most ten redirects, and returns once the final response's head is here, whatever its
    /// status.
    pub async fn send(self) -> Result<Response, Error> {
        self.send_noting(&mut false).await
    }

    /// [`Request::send`], which makes `heard` true from when on a server may know of the request: the first one, whatever
    /// becomes of its redirects. That holds also where this is dropped halfway.
    pub async fn send_noting(self, heard: &mut bool) -> Result<Response, Error> {
        let Self {
            gate,
            mut method,
            url: first,
            mut headers,
            mut body,
            timeout,
            connecting,
            follow,
            family,
        } = self;
        let deadline = timeout.map(|t| (Instant::now() + t, t));
        let read_timeout = gate.policy().read_timeout;
        let mut url = first.clone();
        for _ in 0..=MAX_REDIRECTS {
            let client = limit(deadline, None, &url, gate.client_for(&url, family, connecting)).await??;
            let mut request = client
                .request(method.clone(), url.clone())
                .headers(headers.clone());
            if let Some(body) = &body {
                request = request.body(body.clone());
            }
            let heard_before = std::mem::replace(heard, true);
            let sent = limit(deadline, Some(read_timeout), &url, request.send()).await?;
            let response = sent.map_err(|source| {
                // Nothing is sent before the connection stands.
                *heard = heard_before || !source.is_connect();
                Error::Http {
                    url: shown(&url),
                    cause: source.without_url(),
                }
            })?;
            let location = match response.headers().get(header::LOCATION) {
                Some(location) if follow && is_redirect(response.status()) => location,
                _ => {
                    return Ok(Response {
                        content_length: response.content_length(),
                        inner: response,
                        url,
                        deadline,
                        read_timeout,
                        peeked: None,
                    });
                }
            };
            let next = location
                .to_str()
                .ok()
                .and_then(|l| url.join(l).ok())
                .ok_or_else(|| Error::Location {
                    url: shown(&url),
                    location: String::from_utf8_lossy(location.as_bytes()).into_owned(),
                })?;
            if next.origin() != url.origin() {
                for secret in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
                    headers.remove(secret);
                }
            }
            // Fetch standard, "HTTP-redirect fetch": these become GET without a body.
            let status = response.status();
            if status == StatusCode::SEE_OTHER && method != Method::HEAD
                || matches!(status, StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND)
                    && method == Method::POST
            {
                method = Method::GET;
                body = None;
                headers.remove(header::CONTENT_TYPE);
            }
            url = next;
        }
        Err(Error::TooManyRedirects {
            url: shown(&first),
            max: MAX_REDIRECTS,
        })
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Runs `future` until the exchange's deadline or the limit on silence, whichever is first.
async fn limit<F: Future>(
    deadline: Option<(Instant, Duration)>,
    silence: Option<Duration>,
    url: &Url,
    future: F,
) -> Result<F::Output, Error> {
    let quiet = silence.map(|s| (Instant::now() + s, s));
    let first = [deadline, quiet].into_iter().flatten().min_by_key(|(at, _)| *at);
    match first {
        None => Ok(future.await),
        Some((at, total)) => tokio::time::timeout_at(at, future)
            .await
            .map_err(|_| Error::Timeout {
                url: shown(url),
                seconds: total.as_secs_f64(),
            }),
    }
}

/// A response whose head has arrived.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    url: Url,
    deadline: Option<(Instant, Duration)>,
    read_timeout: Duration,
    /// Of all of the body: what is left of it is less, later on.
    content_length: Option<u64>,
    /// What was looked at before.
    peeked: Option<Bytes>,
}

impl Response {
    /// The address that answered, where it is known.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.inner.remote_addr()
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    /// A header as text, when it is there and is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.inner.headers().get(name)?.to_str().ok()
    }

    /// How the body is encoded although nothing but the file as it is was asked for, as `gzip`; `None` when it is not.
    pub fn encoding(&self) -> Option<&str> {
        let encoding = self.header(header::CONTENT_ENCODING)?.trim();
        (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
    }

    /// When it asks to be asked again: from now on after so long.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(self.header(header::RETRY_AFTER)?)
    }

    /// The URL that answered, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The length that the server promised, in bytes.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The next part of the body; `None` at its end. Nothing is buffered ahead of the caller beyond the socket.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(peeked) = self.peeked.take().filter(|peeked| !peeked.is_empty()) {
            return Ok(Some(peeked));
        }
        let next = limit(
            self.deadline,
            Some(self.read_timeout),
            &self.url,
            self.inner.chunk(),
        )
        .await?;
        next.map_err(|source| Error::Http {
            url: shown(&self.url),
            cause: source.without_url(),
        })
    }

    /// How the body begins, as far as it came at once, which [`Self::chunk`] gives again; empty where there is none.
    pub async fn peek(&mut self) -> Result<&[u8], Error> {
        if self.peeked.is_none() {
            let first = self.chunk().await?;
            self.peeked = Some(first.unwrap_or_default());
        }
        Ok(self.peeked.as_deref().unwrap_or_default())
    }

    /// The whole body, refused as soon as it is longer than `max` bytes.
    pub async fn bytes_limited(mut self, max: u64) -> Result<Bytes, Error> {
        let too_long = |url: &Url| Error::TooLong { url: shown(url), max };
        if self.content_length().is_some_and(|n| n > max) {
            return Err(too_long(&self.url));
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() as u64 + chunk.len() as u64 > max {
                return Err(too_long(&self.url));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }
}
