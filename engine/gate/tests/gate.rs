//! The policy over real sockets on loopback: what resolves or redirects to a refused address is not reached.

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get};
use gate::{Class, Error, Gate, Policy, Url};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// A server on loopback; it stops when the set is dropped.
async fn serve(tasks: &mut JoinSet<()>, app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn gate_with_host(name: &str, ip: Ipv4Addr) -> Gate {
    let mut policy = Policy::default();
    policy.hosts.insert(name.to_owned(), vec![IpAddr::V4(ip)]);
    Gate::new(policy)
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to() {
    let gate = gate_with_host("media.example", Ipv4Addr::new(10, 1, 2, 3));
    let error = gate
        .get(url("http://media.example/ep.mp3"))
        .send()
        .await
        .unwrap_err();
    let Error::Forbidden(forbidden) = error else {
        panic!("{error}")
    };
    assert_eq!(forbidden.class, Class::Private);
    assert_eq!(forbidden.address, "10.1.2.3:80".parse().unwrap());
    // The system's resolver is judged the same way.
    let error = gate.get(url("http://localhost:1/")).send().await.unwrap_err();
    assert!(matches!(error, Error::Forbidden(_)), "{error}");
}

/// What is said of a server on this machine with such a certificate.
async fn told_of(change: impl FnOnce(&mut rcgen::CertificateParams)) -> String {
    gate::install_crypto_provider();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    change(&mut params);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::task::spawn_blocking(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut server = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        // The other side hangs up in the middle of it.
        let _ = server.complete_io(&mut socket);
    });
    let gate = Gate::default();
    gate.trust("127.0.0.1", address.port());
    let asked = gate.get(url(&format!("https://{address}/ep.mp3"))).send().await;
    serving.await.unwrap();
    asked.unwrap_err().to_string()
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said_in_plain_words() {
    for authority in [
        rcgen::IsCa::NoCa,
        rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
    ] {
        let said = told_of(|params| params.is_ca = authority).await;
        let wanted = "nobody whom this machine trusts has signed the certificate of 127.0.0.1";
        assert!(said.contains(wanted), "{said}");
    }
    let said = told_of(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)).await;
    assert!(
        said.contains("the certificate of 127.0.0.1 has expired"),
        "{said}"
    );
    let said = told_of(|params| params.not_before = rcgen::date_time_ymd(4000, 1, 1)).await;
    assert!(said.contains("is not valid yet"), "{said}");
}

#[tokio::test]
async fn what_a_port_without_anybody_means_is_said_in_plain_words() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gate = Gate::default();
    gate.trust("127.0.0.1", address.port());
    let text = format!("http://{address}/ep.mp3?key=secret");
    let error = gate.get(url(&text)).send().await.unwrap_err();
    assert!(error.is_transient());
    let said = error.to_string();
    let expected =
        format!("requesting http://{address}/ep.mp3?…: nobody listens at {address}: Connection refused");
    assert!(said.starts_with(&expected), "{said}");
}

#[tokio::test]
async fn literal_addresses_are_judged() {
    let gate = Gate::default();
    for text in [
        "http://127.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://2130706433/",
        "http://0/",
    ] {
        let error = gate.get(url(text)).send().await.unwrap_err();
        assert!(matches!(error, Error::Forbidden(_)), "{text}: {error}");
    }
    let gate = Gate::new(Policy {
        allow_private: true,
        ..Policy::default()
    });
    let error = gate.get(url("http://192.0.2.1/")).send().await.unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("documentation") && !said.contains("allow private"),
        "{said}"
    );
    let error = gate.get(url("ftp://example.com/")).send().await.unwrap_err();
    assert!(matches!(error, Error::Scheme { .. }), "{error}");
}

#[tokio::test]
async fn trust_is_for_one_host_and_port() {
    let mut tasks = JoinSet::new();
    let address = serve(&mut tasks, Router::new().route("/", get(|| async { "hello" }))).await;
    let gate = gate_with_host("media.example", Ipv4Addr::LOCALHOST);
    gate.trust_url(&url(&format!("http://media.example:{}/", address.port())));
    let response = gate
        .get(url(&format!("http://media.example:{}/", address.port())))
        .send()
        .await
        .unwrap();
    assert_eq!(&response.bytes_limited(5).await.unwrap()[..], b"hello");
    let other = if address.port() == 80 { 81 } else { 80 };
    assert!(
        gate.check(SocketAddr::new(address.ip(), other), "media.example")
            .is_err()
    );
    assert!(
        gate.check(address, "127.0.0.1").is_err(),
        "another name for the same address is not trusted"
    );
}

#[tokio::test]
async fn a_redirect_to_a_refused_address_is_not_followed() {
    let mut tasks = JoinSet::new();
    let hits = Arc::new(AtomicUsize::new(0));
    let counter = hits.clone();
    let inside = serve(
        &mut tasks,
        Router::new().fallback(any(move || async move {
            counter.fetch_add(1, Ordering::SeqCst);
            "secret"
        })),
    )
    .await;
    let target = format!("http://{inside}/secret");
    let front = serve(
        &mut tasks,
        Router::new().fallback(any(move || async move { Redirect::temporary(&target) })),
    )
    .await;
    let gate = Gate::default();
    gate.trust("127.0.0.1", front.port());
    let error = gate
        .get(url(&format!("http://{front}/")))
        .send()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Forbidden(_)), "{error}");
    assert_eq!(hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn it_is_noted_whether_a_server_may_have_heard() {
    let mut tasks = JoinSet::new();
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let target = format!("http://{closed}/second");
    let front = serve(
        &mut tasks,
        Router::new().fallback(any(move || async move { Redirect::temporary(&target) })),
    )
    .await;
    let mut policy = Policy {
        allow_private: true,
        ..Policy::default()
    };
    policy.hosts.insert("nowhere.invalid".to_owned(), Vec::new());
    let gate = Gate::new(policy);
    for (text, expected) in [
        (format!("http://{closed}/"), false),
        ("http://nowhere.invalid/".to_owned(), false),
        (format!("http://{front}/"), true),
    ] {
        let mut heard = false;
        gate.get(url(&text)).send_noting(&mut heard).await.unwrap_err();
        assert_eq!(heard, expected, "{text}");
    }
}

#[tokio::test]
async fn errors_tell_no_secret() {
    let gate = Gate::default();
    for text in [
        "http://me:hunter2@127.0.0.1:9/hunter2/announce?passkey=hunter2",
        "ftp://me:hunter2@127.0.0.1/hunter2?key=hunter2",
    ] {
        let error = gate.get(url(text)).send().await.unwrap_err();
        let told = error.to_string();
        assert!(!told.contains("hunter2@") && !told.contains("=hunter2"), "{told}");
    }
    let error = Error::Timeout {
        url: gate::shown(&url("https://me@t.example/hunter2/announce?a=b")),
        seconds: 1.0,
    };
    let told = error.to_string();
    assert!(told.contains("https://t.example/hunter2/announce?…:"), "{told}");
    let told = error.without_path().to_string();
    assert!(told.contains("https://t.example:"), "{told}");
    assert_eq!(gate::shown(&url("https://t.example/a")), "https://t.example/a");
}

#[tokio::test]
async fn credentials_stay_with_their_host() {
    let mut tasks = JoinSet::new();
    let echo = serve(
        &mut tasks,
        Router::new().fallback(any(|headers: HeaderMap| async move {
            format!(
                "{:?} {:?}",
                headers.get(header::AUTHORIZATION),
                headers.get(header::ACCEPT)
            )
        })),
    )
    .await;
    let target = format!("http://{echo}/there");
    let front = serve(
        &mut tasks,
        Router::new().route("/", get(move || async move { Redirect::permanent(&target) })),
    )
    .await;
    let gate = Gate::new(Policy {
        allow_private: true,
        ..Policy::default()
    });
    let response = gate
        .get(url(&format!("http://{front}/")))
        .header_text(header::AUTHORIZATION, "Bearer x")
        .header_text(header::ACCEPT, "text/plain")
        .send()
        .await
        .unwrap();
    assert_eq!(response.url().path(), "/there");
    let body = response.bytes_limited(1000).await.unwrap();
    assert_eq!(&body[..], b"None Some(\"text/plain\")");
}

#[tokio::test]
async fn loops_long_bodies_and_silence_end() {
    let mut tasks = JoinSet::new();
    let address = serve(
        &mut tasks,
        Router::new()
            .route("/loop", get(|| async { Redirect::temporary("/loop") }))
            .route(
                "/bad",
                get(|| async {
                    (StatusCode::FOUND, [(header::LOCATION, "http://[nonsense")]).into_response()
                }),
            )
            .route("/long", get(|| async { vec![0_u8; 100_000] }))
            .route("/silent", get(|| async { std::future::pending::<()>().await })),
    )
    .await;
    let gate = Gate::new(Policy {
        allow_private: true,
        ..Policy::default()
    });
    let at = |path: &str| gate.get(url(&format!("http://{address}{path}")));
    let error = at("/loop").send().await.unwrap_err();
    assert!(matches!(error, Error::TooManyRedirects { .. }), "{error}");
    let error = at("/bad").send().await.unwrap_err();
    assert!(matches!(error, Error::Location { .. }), "{error}");
    let error = at("/long")
        .send()
        .await
        .unwrap()
        .bytes_limited(99_999)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    let error = at("/silent")
        .timeout(Duration::from_millis(100))
        .send()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn the_source_address_is_the_one_asked_for() {
    let mut tasks = JoinSet::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route(
        "/",
        get(
            |axum::extract::ConnectInfo(from): axum::extract::ConnectInfo<SocketAddr>| async move {
                from.ip().to_string()
            },
        ),
    );
    tasks.spawn(async move {
        axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
            .await
            .unwrap();
    });
    let local = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));
    let gate = Gate::new(Policy {
        allow_private: true,
        local_addresses: vec![local],
        ..Policy::default()
    });
    let response = gate.get(url(&format!("http://{address}/"))).send().await.unwrap();
    assert_eq!(&response.bytes_limited(100).await.unwrap()[..], b"127.0.0.7");
}
