//! Fetching creatives over loopback: what servers do wrong has a name, a code, and an end.

use std::time::Duration;

use ad_splicer::creatives::{Cache, ContentHash, FetchError, FetchLimits};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::routing::get;
use futures_util::stream;
use gate::{Gate, Policy, Url};

fn server() -> Router {
    let endless = || async {
        Body::from_stream(stream::repeat(Ok::<_, std::convert::Infallible>(
            Bytes::from_static(&[0; 8192]),
        )))
    };
    let stalls = || async { Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()) };
    let huge = || async {
        (
            [(header::CONTENT_LENGTH, "10000000000")],
            Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>()),
        )
    };
    Router::new()
        .route("/ad", get(|| async { "an ad" }))
        .route("/empty", get(|| async { "" }))
        .route("/gone", get(|| async { StatusCode::NOT_FOUND }))
        .route("/endless", get(endless))
        .route("/stalls", get(stalls))
        .route("/huge", get(huge))
}

#[tokio::test]
async fn rule_6_every_failure_has_its_vast_code_and_leaves_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, server()).await });
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cache = Cache::open(dir.path(), Cache::DEFAULT_MAX_BYTES).expect("a cache");
    let gate = Gate::new(Policy {
        allow_private: true,
        ..Policy::default()
    });
    let limits = FetchLimits {
        max_bytes: 1 << 20,
        timeout: Duration::from_millis(500),
    };
    let right = ContentHash::of(b"an ad");
    let wrong = ContentHash::of(b"another ad");
    for (path, expected, code) in [
        ("/gone", None, 401),
        ("/empty", None, 405),
        ("/stalls", None, 402),
        ("/endless", None, 400),
        ("/huge", None, 400),
        ("/ad", Some(wrong), 400),
    ] {
        let url = Url::parse(&format!("{base}{path}")).expect("a URL");
        let error = cache.fetch(&gate, &url, expected, limits).await.expect_err(path);
        assert_eq!(error.vast_code(), code, "{path}: {error}");
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("the folder").count(),
            0,
            "{path}"
        );
    }
    let file = Url::parse("file:///etc/passwd").expect("a URL");
    let error = cache
        .fetch(&gate, &file, None, limits)
        .await
        .expect_err("a local file");
    assert!(matches!(error, FetchError::Scheme { .. }), "{error}");

    let url = Url::parse(&format!("{base}/ad")).expect("a URL");
    let ad = cache
        .fetch(&gate, &url, Some(right), limits)
        .await
        .expect("the ad");
    assert_eq!((ad.sha256, ad.bytes), (right, 5));
    tasks.shutdown().await;
    // The server is gone: a known hash needs none.
    let again = cache
        .fetch(&gate, &url, Some(right), limits)
        .await
        .expect("the cached ad");
    assert_eq!(again.sha256, right);
    // Damage is noticed.
    std::fs::write(dir.path().join(right.to_string()), b"an at").expect("a writable folder");
    assert!(cache.original(right).is_none());
}
