//! The only maker of HTTP clients, and the judge of every dial.
//!
//! A `.torrent`, a tracker or an ad response may name any host. Whatever it names, the decision is made on the
//! *resolved* address, at connect and again on each redirect, and the connection goes to exactly the addresses
//! that were judged: so a name that resolves to a private address, or a redirect to one, cannot be reached.
//!
//! Invariants:
//! - a request only ever connects to an address for which [`Gate::check`] said yes;
//! - what a person typed ([`Gate::trust`]) is accepted for that host *and* port, nothing else;
//! - credentials (`Authorization`, `Cookie`) never follow a redirect to another origin;
//! - no proxy is taken from the environment, so that the first invariant holds.
//!
//! Not for: caching, retries, cookies, or what the bytes mean.

mod address;
mod request;
mod retry_after;
mod status;

pub use address::{Class, classify, household, is_meaningful_to};
pub use request::{Family, Request, Response};
pub use reqwest::header;
pub use reqwest::{Method, StatusCode};
pub use retry_after::http_date;
pub use status::may_pass;
pub use url::Url;

use rustls::CertificateError;
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many HTTP clients (one for each host, port, set of addresses and limit on connecting) are kept for their connections.
const MAX_CLIENTS: usize = 64;
/// How long a resolution is used before the name is resolved and judged again.
const RESOLUTION_LIFETIME: Duration = Duration::from_secs(30);
/// Longest wait for a name to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Installs ring as the process's rustls provider. May be called any number of times, from any thread.
pub fn install_crypto_provider() {
    // An error only says that a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What a [`Gate`] lets through, and its limits.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Accept private, link-local and loopback addresses, whoever named them.
    pub allow_private: bool,
    /// Source addresses for outgoing connections: the first of the destination's family is used.
    /// Unspecified addresses (`0.0.0.0`, `::`) are ignored.
    pub local_addresses: Vec<IpAddr>,
    /// `User-Agent` of requests that do not set their own.
    pub user_agent: String,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest silence while waiting for a response's head or for its next bytes.
    pub read_timeout: Duration,
    /// Names that are not resolved by the system, like lines of `/etc/hosts`. The addresses are judged all the same.
    pub hosts: HashMap<String, Vec<IpAddr>>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            allow_private: false,
            local_addresses: Vec::new(),
            user_agent: concat!("Grove/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            hosts: HashMap::new(),
        }
    }
}

/// An address that the policy refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} is at {address}, a {class} address, which is refused unless you name {host} with its port yourself{}",
    if class.is_private() { " or allow private addresses" } else { "" }
)]
pub struct Forbidden {
    /// The host as it was named.
    pub host: String,
    /// The address it resolved to.
    pub address: SocketAddr,
    /// Why it is refused.
    pub class: Class,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither `http` nor `https`.
    #[error("cannot request {url}: only http and https are spoken here")]
    Scheme {
        /// The URL.
        url: String,
    },
    /// The text is no URL.
    #[error("{text:?} is not a URL: {source}")]
    Url {
        /// The text.
        text: String,
        /// Why.
        source: url::ParseError,
    },
    /// The name could not be resolved.
    #[error("the address of {host} cannot be found: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// Every address of the host is refused.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// More than ten redirects.
    #[error("requesting {url}: more than {max} redirects")]
    TooManyRedirects {
        /// The URL that was asked for first.
        url: String,
        /// The limit.
        max: usize,
    },
    /// A redirect whose `Location` is no URL.
    #[error("requesting {url}: the redirect to {location:?} is not a URL")]
    Location {
        /// The URL that redirected.
        url: String,
        /// The header.
        location: String,
    },
    /// The HTTP client could not be made.
    #[error("cannot prepare a request for {url}: {source}")]
    Client {
        /// The URL.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The connection or the exchange failed.
    #[error("requesting {url}: {}", why(url, cause))]
    Http {
        /// The URL.
        url: String,
        /// Why. All of it is told in the message.
        cause: reqwest::Error,
    },
    /// Nothing came for too long.
    #[error("requesting {url}: no answer within {seconds:.1} s")]
    Timeout {
        /// The URL.
        url: String,
        /// The limit that passed.
        seconds: f64,
    },
    /// The body is longer than the caller takes.
    #[error("requesting {url}: the answer is longer than {max} bytes")]
    TooLong {
        /// The URL.
        url: String,
        /// The limit in bytes.
        max: u64,
    },
}

impl Error {
    /// Whether asking again later could help: false for what the policy, the URL or the caller's limits refuse.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. } | Self::Http { .. } | Self::Timeout { .. }
        )
    }

    /// Whether the same request may do better in a moment: no name, policy or certificate is in its way.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Timeout { .. } => true,
            Self::Http { cause, .. } => innermost(cause).and_then(of_tls).is_none(),
            _ => false,
        }
    }

    /// Whether no connection was to be had, and that was clear at once: nobody listens, or no way leads there.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Http { cause, .. } if cause.is_connect() && !cause.is_timeout())
    }

    /// The same error, naming scheme, host and port alone: for URLs whose path may be a secret too.
    #[must_use]
    pub fn without_path(mut self) -> Self {
        if let Self::Scheme { url }
        | Self::TooManyRedirects { url, .. }
        | Self::Location { url, .. }
        | Self::Client { url, .. }
        | Self::Http { url, .. }
        | Self::Timeout { url, .. }
        | Self::TooLong { url, .. } = &mut self
            && let Ok(parsed) = Url::parse(url)
        {
            *url = parsed.origin().ascii_serialization();
        }
        self
    }
}

/// A URL as it may be shown and logged: without user name and password, and without its query, which may be a key to what it leads to.
pub fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    // A URL that cannot have a user has none.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    if shown.query().is_some() {
        shown.set_query(Some("…"));
    }
    shown.to_string().replace("?%E2%80%A6", "?…")
}

/// Why an exchange failed: in plain words where they say more, with the system's own behind them.
fn why(url: &str, error: &reqwest::Error) -> String {
    let io = innermost(error);
    let parsed = Url::parse(url).ok();
    if let (Some(rustls::Error::InvalidCertificate(wrong)), Some(host)) =
        (io.and_then(of_tls), parsed.as_ref().and_then(Url::host_str))
    {
        return certificate(host, wrong);
    }
    let place = parsed.and_then(|url| {
        let (host, port) = (url.host_str()?, url.port_or_known_default()?);
        Some(format!("{host}:{port}"))
    });
    match (io, place) {
        (Some(io), Some(place)) if error.is_connect() => match io.kind() {
            ErrorKind::ConnectionRefused => format!("nobody listens at {place}: {io}"),
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                format!("no way leads to {place}: {io}")
            }
            _ => chain(error),
        },
        (_, Some(place)) if error.is_connect() && error.is_timeout() => {
            format!("{place} does not answer: {}", chain(error))
        }
        _ => chain(error),
    }
}

/// The system's own error behind one of HTTP.
fn innermost(error: &reqwest::Error) -> Option<&std::io::Error> {
    let outermost: &(dyn std::error::Error + 'static) = error;
    let causes = std::iter::successors(Some(outermost), |cause| cause.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .last()
}

/// The error of TLS that an error of the system stands for, however often it was wrapped.
fn of_tls(error: &std::io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner
        .downcast_ref()
        .or_else(|| of_tls(inner.downcast_ref::<std::io::Error>()?))
}

/// What is wrong with a host's certificate, and who can do something about it.
fn certificate(host: &str, wrong: &CertificateError) -> String {
    use CertificateError as Wrong;
    match wrong {
        Wrong::Expired | Wrong::ExpiredContext { .. } => format!(
            "the certificate of {host} has expired: whoever runs {host} must renew it, unless this machine's clock is wrong"
        ),
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => format!(
            "the certificate of {host} is not valid yet: this machine's clock may be wrong, or whoever runs {host} must renew it"
        ),
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => format!(
            "the certificate that {host} shows is for another name: the address may be wrong, or something between answers in its place"
        ),
        // webpki has no error of its own for a server that signed for itself as if it were an authority.
        other if *other == Wrong::UnknownIssuer || format!("{other:?}").contains("CaUsedAsEndEntity") => {
            format!(
                "nobody whom this machine trusts has signed the certificate of {host} (it may be self-signed): whoever runs {host} needs one \
             that is signed, or this machine must be told to trust its issuer"
            )
        }
        other => format!("the certificate of {host} cannot be used: {other}"),
    }
}

/// An error with its causes: reqwest's own text stops at "error sending request".
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    // The URL is in our own message already; reqwest's first line only repeats it.
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}

/// The policy, what the person trusts, and the clients. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Policy,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    trusted: HashSet<(String, u16)>,
    resolved: HashMap<(String, u16), (Instant, Vec<SocketAddr>)>,
    clients: HashMap<ClientKey, (Instant, reqwest::Client)>,
}

/// What makes two requests able to share connections.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ClientKey {
    host: String,
    tls: bool,
    addresses: Vec<SocketAddr>,
    connect_timeout: Duration,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("policy", &self.inner.policy)
            .finish_non_exhaustive()
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(Policy::default())
    }
}

impl Gate {
    /// A gate with this policy, which trusts nobody yet.
    pub fn new(policy: Policy) -> Self {
        install_crypto_provider();
        Self {
            inner: Arc::new(Inner {
                policy,
                state: Mutex::default(),
            }),
        }
    }

    /// The policy that was given.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The maps stay consistent whatever panicked beside them.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts `host` (a name or an address, brackets allowed) at `port`, whatever it resolves to: a person typed it.
    pub fn trust(&self, host: &str, port: u16) {
        self.state().trusted.insert((normal_host(host), port));
    }

    /// [`Gate::trust`] for the host and port of a URL that a person typed.
    pub fn trust_url(&self, url: &Url) {
        if let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) {
            self.trust(host, port);
        }
    }

    /// Whether a connection to `address`, which was named as `host`, is allowed.
    pub fn check(&self, address: SocketAddr, host: &str) -> Result<(), Forbidden> {
        let class = classify(address.ip());
        if class == Class::Global
            || (self.inner.policy.allow_private && class.is_private())
            || self
                .state()
                .trusted
                .contains(&(normal_host(host), address.port()))
        {
            return Ok(());
        }
        Err(Forbidden {
            host: host.to_owned(),
            address,
            class,
        })
    }

    /// The addresses of `host` that are allowed; an error when there is none.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let name = normal_host(host);
        let all: Vec<SocketAddr> = if let Ok(ip) = name.parse::<IpAddr>() {
            vec![SocketAddr::new(ip, port)]
        } else if let Some(ips) = self.inner.policy.hosts.get(&name) {
            ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
        } else {
            let fresh = self
                .state()
                .resolved
                .get(&(name.clone(), port))
                .and_then(|(at, addresses)| (at.elapsed() < RESOLUTION_LIFETIME).then(|| addresses.clone()));
            match fresh {
                Some(addresses) => addresses,
                None => self.resolve_by_system(&name, port).await?,
            }
        };
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in all {
            match self.check(address, &name) {
                Ok(()) => allowed.push(address),
                Err(e) => refused = Some(e),
            }
        }
        match refused {
            Some(e) if allowed.is_empty() => Err(e.into()),
            None if allowed.is_empty() => Err(no_address(host)),
            _ => Ok(allowed),
        }
    }

    async fn resolve_by_system(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let lookup = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((name, port)));
        let result = match lookup.await {
            Ok(result) => result,
            Err(_) => Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "no answer in time",
            )),
        };
        let mut addresses: Vec<SocketAddr> = result
            .map_err(|source| Error::Resolve {
                host: name.to_owned(),
                source,
            })?
            .collect();
        addresses.dedup();
        let mut state = self.state();
        if state.resolved.len() >= MAX_CLIENTS * 4 {
            state
                .resolved
                .retain(|_, (at, _)| at.elapsed() < RESOLUTION_LIFETIME);
            if state.resolved.len() >= MAX_CLIENTS * 4 {
                state.resolved.clear();
            }
        }
        state
            .resolved
            .insert((name.to_owned(), port), (Instant::now(), addresses.clone()));
        Ok(addresses)
    }

    /// A `GET` request.
    pub fn get(&self, url: Url) -> Request {
        self.request(Method::GET, url)
    }

    /// A request; nothing happens before [`Request::send`].
    pub fn request(&self, method: Method, url: Url) -> Request {
        Request::new(self.clone(), method, url)
    }

    /// The client for one hop: pinned to addresses that were judged just now.
    async fn client_for(
        &self,
        url: &Url,
        family: Option<Family>,
        connecting: Option<Duration>,
    ) -> Result<reqwest::Client, Error> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(Error::Scheme { url: shown(url) });
        };
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err(Error::Scheme { url: shown(url) }),
        };
        let mut addresses = self.resolve(host, port).await?;
        if let Some(family) = family {
            addresses.retain(|address| Family::of(address) == family);
            if addresses.is_empty() {
                return Err(no_address(host));
            }
        }
        let local = self.local_address_for(&mut addresses);
        let key = ClientKey {
            host: normal_host(host),
            tls,
            addresses,
            connect_timeout: connecting.unwrap_or(self.inner.policy.connect_timeout),
        };
        {
            let mut state = self.state();
            if let Some((used, client)) = state.clients.get_mut(&key) {
                *used = Instant::now();
                return Ok(client.clone());
            }
        }
        let policy = &self.inner.policy;
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(key.connect_timeout)
            .tcp_nodelay(true)
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(8)
            .user_agent(&policy.user_agent)
            .local_address(local);
        if host.parse::<IpAddr>().is_err() && !host.starts_with('[') {
            builder = builder.resolve_to_addrs(host, &key.addresses);
        }
        if !tls {
            // Plain HTTP must work on a machine that has no certificate store.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        let client = builder.build().map_err(|source| Error::Client {
            url: shown(url),
            source,
        })?;
        let mut state = self.state();
        if state.clients.len() >= MAX_CLIENTS {
            let oldest = state
                .clients
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(k, _)| k.clone());
            if let Some(oldest) = oldest {
                state.clients.remove(&oldest);
            }
        }
        state.clients.insert(key, (Instant::now(), client.clone()));
        Ok(client)
    }

    /// Whether requests may go out over this family: without a source address of it, when some were named, they may not.
    pub fn speaks(&self, family: Family) -> bool {
        let local = &self.inner.policy.local_addresses;
        local.is_empty()
            || local
                .iter()
                .any(|ip| Family::of(&SocketAddr::new(*ip, 0)) == family)
    }

    /// The source address to bind, leaving in `addresses` only those of its family.
    fn local_address_for(&self, addresses: &mut Vec<SocketAddr>) -> Option<IpAddr> {
        let local = &self.inner.policy.local_addresses;
        let usable = |a: &SocketAddr| {
            local
                .iter()
                .copied()
                .find(|l| l.is_ipv4() == a.is_ipv4() && !l.is_unspecified())
        };
        let chosen = addresses.iter().find_map(usable)?;
        addresses.retain(|a| a.is_ipv4() == chosen.is_ipv4());
        Some(chosen)
    }
}

fn no_address(host: &str) -> Error {
    Error::Resolve {
        host: host.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::NotFound, "it has no address"),
    }
}

/// Lower case, without the brackets of an IPv6 literal and without the final dot of a full name.
fn normal_host(host: &str) -> String {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase()
}
