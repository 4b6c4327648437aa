//! What a request to the gateway names, and whether it was meant for the gateway at all. Pure.
//!
//! A source stands in the path as it is, query and all (`/https://example.org/ep1.mp3?x=1`), or percent-encoded as a whole. What stands behind the
//! gateway's own address there means what it would mean alone. `/chapters/`, an episode that is percent-encoded as a whole, and the address of
//! JSON name its chapters.
//!
//! **Whom it answers.** A name in `Host` that is not this machine's own says that a web page had its name lead here (DNS rebinding): it could
//! read what it is told. A browser says so, too, when a page of another site puts our address into itself: it would have its visitors'
//! machines fetch, and count, what they never asked for. Both are refused. Following a link is not: the person sees where it leads.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use axum::http::uri::Authority;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::{Host, Url};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// What this is, and how it is used.
    Root,
    /// A podcast's feed.
    Feed(Url),
    /// The chapters of an episode, and where they stand as its publisher wrote them.
    Chapters { episode: String, place: Url },
    /// Something that can be played: a URL or a magnet link.
    Source(String),
}

/// What stands at the gateway before the address of the chapters of an episode.
pub(super) fn chapters_of(episode: &str) -> String {
    format!("chapters/{}/", utf8_percent_encode(episode, NON_ALPHANUMERIC))
}

/// How often the gateway's own address may stand before a source.
const MOST_NESTED: usize = 8;

/// What a path with its query names, at a gateway that listens at `listening` and was asked as `host`; otherwise what is wrong with it.
pub(super) fn asked(path_and_query: &str, host: &str, listening: SocketAddr) -> Result<Asked, Unknown> {
    let mut asked = once(path_and_query)?;
    for _ in 0..MOST_NESTED {
        let url = match &asked {
            // The feed names neither by our own address.
            Asked::Chapters { episode, place } => {
                let both = [Some(place.clone()), Url::parse(episode).ok()];
                if both.iter().flatten().any(|url| leads_here(url, host, listening)) {
                    return Err(Unknown::Chapters);
                }
                None
            }
            Asked::Feed(url) => Some(url.clone()),
            Asked::Source(text) => Url::parse(text).ok(),
            Asked::Root => None,
        };
        let Some(inner) = url.filter(|url| leads_here(url, host, listening)) else {
            return Ok(asked);
        };
        asked = once(&inner[url::Position::BeforePath..url::Position::AfterQuery])?;
    }
    Err(Unknown::Path)
}

/// Whether it is an address of the gateway, as far as it knows them: a neighbour may have the same port.
fn leads_here(url: &Url, host: &str, listening: SocketAddr) -> bool {
    if url.scheme() != "http" {
        return false;
    }
    let is_as_asked =
        Url::parse(&format!("http://{host}/")).is_ok_and(|asked| asked.origin() == url.origin());
    let is_known = || match url.host() {
        Some(Host::Ipv4(ip)) => is_own(ip.into(), listening),
        Some(Host::Ipv6(ip)) => is_own(ip.into(), listening),
        Some(Host::Domain(name)) => is_local_name(name),
        None => false,
    };
    is_as_asked || url.port_or_known_default() == Some(listening.port()) && is_known()
}

/// Whether it is this machine's alone, or what the gateway listens at.
fn is_own(ip: IpAddr, listening: SocketAddr) -> bool {
    ip.is_loopback() || ip == listening.ip()
}

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn once(path_and_query: &str) -> Result<Asked, Unknown> {
    let rest = path_and_query.strip_prefix('/').unwrap_or(path_and_query);
    if rest.is_empty() {
        return Ok(Asked::Root);
    }
    if let Some(feed) = rest.strip_prefix("feed/") {
        return match named(feed).map(|text| Url::parse(&text)) {
            Some(Ok(url)) if is_web(&url) => Ok(Asked::Feed(url)),
            _ => Err(Unknown::Feed),
        };
    }
    if let Some(chapters) = rest.strip_prefix("chapters/") {
        let parts = chapters.split_once('/');
        let both = parts.and_then(|(episode, place)| Some((source(&named(episode)?)?, named(place)?)));
        return match both.map(|(episode, place)| (episode, Url::parse(&place))) {
            Some((episode, Ok(place))) if is_web(&place) => Ok(Asked::Chapters { episode, place }),
            _ => Err(Unknown::Chapters),
        };
    }
    let text = named(rest).ok_or(Unknown::Path)?;
    source(&text).map(Asked::Source).ok_or(Unknown::Url)
}

/// What can be played, as it is known here.
fn source(text: &str) -> Option<String> {
    if text.starts_with("magnet:") && !text.contains(char::is_control) {
        return Some(text.to_owned());
    }
    Url::parse(text).ok().filter(is_web).map(String::from)
}

/// Why nothing is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// It begins with no scheme that leads anywhere.
    Path,
    /// It is no URL.
    Url,
    /// What stands behind `/feed/` is no URL.
    Feed,
    /// What stands behind `/chapters/` is not an episode and a URL.
    Chapters,
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// The text that a path stands for, when it begins with a scheme, or does so once it is decoded.
fn named(rest: &str) -> Option<String> {
    if let Some(text) = with_scheme(rest) {
        return Some(text);
    }
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let decoded = percent_decode_str(path).decode_utf8().ok()?;
    let mut text = with_scheme(&decoded)?;
    if let Some(query) = query {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(query);
    }
    Some(text)
}

/// The text as it is meant: some programs make one slash of two.
fn with_scheme(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    match scheme.to_ascii_lowercase().as_str() {
        "magnet" => Some(format!("magnet:{rest}")),
        scheme @ ("http" | "https") => {
            let rest = rest.strip_prefix('/')?;
            Some(format!("{scheme}://{}", rest.strip_prefix('/').unwrap_or(rest)))
        }
        _ => None,
    }
}

/// Whether `Host` names the gateway, which listens at `listening`: by an address of this machine alone, `localhost`, or the address that a
/// person had it listen on.
pub(super) fn is_ours(host: &str, listening: SocketAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_end_matches('.');
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(name).parse::<IpAddr>() {
        // No name can be made to lead here by an address.
        return is_own(ip, listening) || listening.ip().is_unspecified();
    }
    is_local_name(name)
}

/// Whether a page of another site put our address into itself.
pub(super) fn is_embedded_elsewhere(headers: &HeaderMap) -> bool {
    let says = |name, value| headers.get(name).is_some_and(|said| said == value);
    let visited = says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document");
    says("sec-fetch-site", "cross-site") && !visited
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str) -> Result<Asked, Unknown> {
        super::asked(path, "127.0.0.1:4768", "127.0.0.1:4768".parse().unwrap())
    }

    fn source(path: &str) -> Option<String> {
        match asked(path) {
            Ok(Asked::Source(text)) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn a_path_names_a_source_as_it_is_or_encoded() {
        for (path, text) in [
            ("/https://example.org/ep1.mp3", "https://example.org/ep1.mp3"),
            (
                "/https://example.org/a%20b.mp3?t=1&u=%2F",
                "https://example.org/a%20b.mp3?t=1&u=%2F",
            ),
            (
                "/https%3A%2F%2Fexample.org%2Fa%2520b.mp3%3Ft%3D1",
                "https://example.org/a%20b.mp3?t=1",
            ),
            (
                "/https%3A//example.org/ep1.mp3?t=1",
                "https://example.org/ep1.mp3?t=1",
            ),
            ("/https:/example.org/ep1.mp3", "https://example.org/ep1.mp3"),
            ("/HTTP://example.org:8000/x", "http://example.org:8000/x"),
            (
                "/magnet:?xt=urn:btmh:1220aa&dn=x",
                "magnet:?xt=urn:btmh:1220aa&dn=x",
            ),
            (
                "/magnet%3A%3Fxt%3Durn%3Abtmh%3A1220aa",
                "magnet:?xt=urn:btmh:1220aa",
            ),
        ] {
            assert_eq!(source(path).as_deref(), Some(text), "{path}");
        }
        assert_eq!(asked("/"), Ok(Asked::Root));
        let feed = Url::parse("https://example.org/feed.xml?a=1").unwrap();
        assert_eq!(
            asked("/feed/https://example.org/feed.xml?a=1"),
            Ok(Asked::Feed(feed))
        );
    }

    #[test]
    fn chapters_are_named_with_their_episode() {
        let place = "https://example.org/c.json?v=1";
        for episode in [
            "https://example.org/a%20b.mp3?a=1&b=%2F",
            "magnet:?xt=urn:btmh:1220aa&dn=x",
        ] {
            let named = asked(&format!("/{}{place}", chapters_of(episode)));
            let place = Url::parse(place).unwrap();
            assert_eq!(
                named,
                Ok(Asked::Chapters {
                    episode: episode.into(),
                    place
                })
            );
            assert_eq!(
                source(&format!("/{episode}")).as_deref(),
                Some(episode),
                "what is played is the same"
            );
        }
    }

    #[test]
    fn what_stands_behind_our_own_address_is_meant() {
        let here = "http://127.0.0.1:4768";
        let episode = "https://example.org/ep1.mp3?a=1";
        for path in [
            format!("/{here}/{episode}"),
            format!("/{here}/http://localhost:4768/{episode}"),
            "/http%3A%2F%2F127.0.0.1%3A4768%2Fhttps%3A%2F%2Fexample.org%2Fep1.mp3?a=1".to_owned(),
        ] {
            assert_eq!(source(&path).as_deref(), Some(episode), "{path}");
        }
        let feed = Asked::Feed(Url::parse("https://example.org/f.xml").unwrap());
        assert_eq!(
            asked(&format!("/feed/{here}/feed/https://example.org/f.xml")),
            Ok(feed)
        );
        assert_eq!(asked(&format!("/{here}/")), Ok(Asked::Root));
        assert_eq!(asked(&format!("/{here}/x")), Err(Unknown::Path));
        let endless = format!("/{}{episode}", format!("{here}/").repeat(20));
        assert_eq!(asked(&endless), Err(Unknown::Path));
        for other in [
            "http://127.0.0.1:4769/https://x.example/",
            "https://127.0.0.1:4768/https://x.example/",
        ] {
            assert_eq!(source(&format!("/{other}")).as_deref(), Some(other));
        }
    }

    #[test]
    fn a_neighbour_with_the_same_port_is_another() {
        let meant = |host: &str, inner: &str| {
            let path = format!("/http://{inner}/https://x.example/e.mp3");
            let asked = super::asked(&path, host, "0.0.0.0:4768".parse().unwrap());
            asked == Ok(Asked::Source("https://x.example/e.mp3".into()))
        };
        let host = "192.168.1.5:4768";
        for inner in [
            host,
            "127.0.0.1:4768",
            "[::1]:4768",
            "localhost:4768",
            "0.0.0.0:4768",
        ] {
            assert!(meant(host, inner), "{inner}");
        }
        for inner in [
            "192.168.1.20:4768",
            "192.168.1.5:8000",
            "192.168.1.5",
            "nas.example:4768",
        ] {
            assert!(!meant(host, inner), "{inner}");
        }
        // Another port of a router may lead here.
        assert!(meant("192.168.1.1:8080", "192.168.1.1:8080"));
        let episode = "/http://192.168.1.20:4768/e.mp3";
        let asked = super::asked(episode, host, "0.0.0.0:4768".parse().unwrap());
        assert_eq!(asked, Ok(Asked::Source(episode[1..].into())));
    }

    #[test]
    fn what_names_nothing_is_said() {
        for (path, why) in [
            ("/favicon.ico", Unknown::Path),
            ("/file:///etc/passwd", Unknown::Path),
            ("/etc/passwd", Unknown::Path),
            ("/https://", Unknown::Url),
            ("/magnet%3A%3Fxt=%1B[2J", Unknown::Url),
            ("/feed/x", Unknown::Feed),
            ("/feed/magnet:?xt=1", Unknown::Feed),
            ("/chapters/https%3A%2F%2Fx.example%2F1.mp3", Unknown::Chapters),
            (
                "/chapters/https%3A%2F%2Fx.example%2F1.mp3/c.json",
                Unknown::Chapters,
            ),
            ("/chapters/1.mp3/https://x.example/c.json", Unknown::Chapters),
            (
                "/chapters/magnet%3A%3Fxt%3D1/http://localhost:4768/c.json",
                Unknown::Chapters,
            ),
        ] {
            assert_eq!(asked(path), Err(why), "{path}");
        }
    }

    #[test]
    fn only_this_machines_names_are_answered() {
        let here: SocketAddr = "127.0.0.1:4768".parse().unwrap();
        for host in [
            "127.0.0.1:4768",
            "localhost",
            "LOCALHOST:1",
            "[::1]:4768",
            "127.9.9.9",
            "a.localhost.",
        ] {
            assert!(is_ours(host, here), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:4768",
            "192.168.1.5",
            "localhost.evil.example",
            "",
            "a b",
        ] {
            assert!(!is_ours(host, here), "{host}");
        }
        assert!(is_ours("192.168.1.5:4768", "192.168.1.5:4768".parse().unwrap()));
        assert!(is_ours("192.168.1.5:4768", "0.0.0.0:4768".parse().unwrap()));
        assert!(!is_ours("nas.example:4768", "0.0.0.0:4768".parse().unwrap()));
    }

    #[test]
    fn a_page_of_another_site_may_link_here_and_no_more() {
        let headers = |site, mode, dest| {
            let all = [
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ];
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                headers.insert(name, axum::http::HeaderValue::from_static(value));
            }
            headers
        };
        assert!(is_embedded_elsewhere(&headers("cross-site", "no-cors", "audio")));
        assert!(is_embedded_elsewhere(&headers(
            "cross-site",
            "navigate",
            "iframe"
        )));
        assert!(!is_embedded_elsewhere(&headers(
            "cross-site",
            "navigate",
            "document"
        )));
        assert!(!is_embedded_elsewhere(&headers("same-site", "no-cors", "audio")));
        assert!(!is_embedded_elsewhere(&headers("none", "navigate", "document")));
        assert!(!is_embedded_elsewhere(&HeaderMap::new()));
    }
}
