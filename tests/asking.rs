//! Web servers that are in trouble when they are asked for a `.torrent` or a feed: they are asked again, and what they may have all the same is not
//! taken for absent, since everybody would then fetch the whole file from them.

mod common;

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::Response;
use common::gateway::Node;
use common::{Finished, Server, grove};
use engine::metainfo::Builder;
use tempfile::TempDir;
use tower_http::services::ServeDir;

const LENGTH: usize = 300_000;

/// What the server answers in place of a document, and how often.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    status: u16,
    retry_after: Option<u32>,
    times: usize,
}

/// A web server with `thing.bin`, the `.torrent` beside it and a feed.
struct Web {
    folder: TempDir,
    server: Server,
    trouble: Arc<Mutex<Trouble>>,
}

impl Web {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path().join("web");
        std::fs::create_dir(&web).expect("a folder");
        let trouble = Arc::new(Mutex::new(Trouble {
            status: 200,
            retry_after: None,
            times: 0,
        }));
        let of_documents = Arc::clone(&trouble);
        let router = Router::new()
            .fallback_service(ServeDir::new(&web))
            .layer(middleware::from_fn(move |request: Request, next: Next| {
                answer(of_documents.clone(), request, next)
            }));
        let server = Server::start(router);
        let data: Vec<u8> = (0..LENGTH)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        std::fs::write(web.join("thing.bin"), &data).expect("space on the disk");
        let builder = Builder::new("thing.bin").web_seed(server.url("thing.bin"));
        let metainfo = builder.hash(&data[..], LENGTH as u64, |_| {});
        let metainfo = metainfo.expect("it can be hashed");
        std::fs::write(web.join("thing.bin.torrent"), metainfo.to_bytes()).expect("space on the disk");
        let feed = format!(
            "<rss version=\"2.0\"><channel><title>t</title><item><title>e</title><guid>e</guid>\
             <enclosure url=\"{}\" length=\"{LENGTH}\" type=\"audio/mpeg\"/></item></channel></rss>",
            server.url("thing.bin")
        );
        std::fs::write(web.join("feed.xml"), feed).expect("space on the disk");
        Self {
            folder,
            server,
            trouble,
        }
    }

    fn answers(&self, status: u16, retry_after: Option<u32>, times: usize) {
        *self.trouble.lock().expect("not poisoned") = Trouble {
            status,
            retry_after,
            times,
        };
    }

    fn run(&self, command: &str, name: &str, more: &[&str]) -> Finished {
        let url = self.server.url(name);
        let words = [command, &url, "--allow-private", "--listen", "127.0.0.1:0"];
        let data = tempfile::tempdir().expect("a folder");
        grove(self.folder.path(), words)
            .args([std::ffi::OsStr::new("--data"), data.path().as_os_str()])
            .args(more)
            .run()
    }

    /// How often this was asked for.
    fn asked(&self, path: &str) -> usize {
        let asked = self.server.asked();
        asked
            .iter()
            .filter(|asked| **asked == format!("GET /{path}"))
            .count()
    }
}

async fn answer(trouble: Arc<Mutex<Trouble>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path == "/thing.bin" {
        return next.run(request).await;
    }
    assert_eq!(request.headers()[header::ACCEPT_ENCODING], "identity");
    let now = {
        let mut trouble = trouble.lock().expect("not poisoned");
        let now = *trouble;
        trouble.times = now.times.saturating_sub(1);
        now
    };
    if now.times == 0 {
        return next.run(request).await;
    }
    if now.status == 200 {
        let mut response = next.run(request).await;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().expect("a value"));
        return response;
    }
    let mut response = Response::builder().status(now.status);
    if let Some(after) = now.retry_after {
        response = response.header(header::RETRY_AFTER, after);
    }
    response.body(Body::from("trouble")).expect("a response")
}

#[test]
fn who_is_in_trouble_for_a_moment_is_asked_again() {
    let web = Web::new();
    let master = std::fs::read(web.folder.path().join("web/thing.bin")).expect("the content");
    for (status, retry_after, name, more) in [
        (503, None, "thing.bin", &[] as &[&str]),
        (429, Some(1), "thing.bin.torrent", &[]),
        (500, None, "feed.xml", &["--episode", "latest"]),
    ] {
        web.answers(status, retry_after, 2);
        let got = web.run("get", name, &[&["--json", "-o", "out.bin"][..], more].concat());
        let got = got
            .expect(0)
            .says(&format!("cannot be had now: the server answered {status}"));
        let said = got.stderr.matches("it is asked for again, for up to").count();
        assert_eq!(said, 1, "{}", got.stderr);
        let complete = got.event("complete");
        assert!(
            complete["info_hash"].is_string(),
            "it was not verified: {complete}"
        );
        assert!(std::fs::read(web.folder.path().join("out.bin")).expect("the result") == master);
        std::fs::remove_file(web.folder.path().join("out.bin")).expect("it is there");
    }
}

#[test]
fn what_a_server_in_trouble_may_have_is_not_taken_for_absent() {
    let web = Web::new();
    for (status, retry_after, said) in [
        (503, Some(3600), "and asks to come again in 3600 s"),
        (429, Some(90), "and asks to come again in 90 s"),
        (401, None, "the server answered 401"),
        (400, None, "the server answered 400"),
        (200, None, "the server sends it in gzip (Content-Encoding)"),
    ] {
        web.answers(status, retry_after, usize::MAX);
        for command in ["get", "inspect", "seed", "play"] {
            let ended = web.run(command, "thing.bin", &[]);
            let ended = ended.expect(1).says(said);
            assert!(!ended.stderr.contains("there is no .torrent"), "{}", ended.stderr);
        }
        let feed = web.run("get", "feed.xml", &["--episode", "1"]);
        feed.expect(1).says(said);
    }
    assert_eq!(web.asked("thing.bin"), 0, "the file itself was fetched");
}

#[test]
fn what_is_not_there_is_fetched_as_it_is() {
    let web = Web::new();
    let master = std::fs::read(web.folder.path().join("web/thing.bin")).expect("the content");
    for status in [404, 410, 403] {
        web.answers(status, None, usize::MAX);
        let got = web.run("get", "thing.bin", &["-o", "out.bin"]).expect(0);
        let got = got.says("note: there is no .torrent beside");
        let is_noted = got
            .stderr
            .contains("403 Forbidden, which is taken to mean that there is none");
        assert_eq!(is_noted, status == 403, "{}", got.stderr);
        assert!(std::fs::read(web.folder.path().join("out.bin")).expect("the result") == master);
        std::fs::remove_file(web.folder.path().join("out.bin")).expect("it is there");
    }
}

#[test]
fn a_feed_may_be_in_latin_and_name_its_media_by_where_it_is_itself() {
    let web = Web::new();
    let feed = "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><rss><channel><title>Caf#</title><item><guid>#1</guid><enclosure url=\"thing.bin\" type=\"audio/mpeg\"/></item></channel></rss>";
    let bytes: Vec<u8> = feed
        .bytes()
        .map(|byte| if byte == b'#' { 0xE9 } else { byte })
        .collect();
    std::fs::write(web.folder.path().join("web/latin.xml"), bytes).expect("space on the disk");
    let got = web.run(
        "get",
        "latin.xml",
        &["--episode", "é1", "--json", "-o", "out.bin"],
    );
    let complete = got.expect(0).event("complete");
    assert!(
        complete["info_hash"].is_string(),
        "it was not verified: {complete}"
    );
}

#[test]
fn a_gateway_sends_nobody_to_a_server_in_trouble() {
    let web = Web::new();
    let node = Node::start(web.folder.path(), "viewer", &["--allow-private", "--no-ads"]);
    let path = format!("/{}", web.server.url("thing.bin"));
    web.answers(503, Some(30), usize::MAX);
    let refused = node.get(&path, &[]).expect(503);
    assert_eq!(refused.header("retry-after"), "30");
    assert!(
        refused.text().contains("the server answered 503"),
        "{}",
        refused.text()
    );
    web.answers(500, None, usize::MAX);
    assert_eq!(node.get(&path, &[]).expect(503).header("retry-after"), "10");
    let feed = format!("/feed/{}", web.server.url("feed.xml"));
    node.get(&feed, &[]).expect(503);
    assert_eq!(web.asked("thing.bin"), 0, "the file itself was fetched");
    // A moment's trouble is not the player's.
    web.answers(503, None, 1);
    node.get(&path, &[]).expect(200);
    node.stop();
}
