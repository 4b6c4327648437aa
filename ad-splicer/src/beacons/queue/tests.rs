use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use super::*;
use crate::beacons::BeaconKey;
use crate::beacons::sending::REQUEST;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const BUDGET: Duration = Duration::from_secs(5);

/// A server that counts each path before it answers, as its script says: the status, or nothing (the connection
/// is cut after it has counted).
struct Server {
    address: SocketAddr,
    counted: Arc<Mutex<HashMap<String, u32>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    fn start(listener: TcpListener, script: fn(u32) -> Option<u16>) -> Self {
        let address = listener.local_addr().expect("address");
        let counted: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
        let mut tasks = JoinSet::new();
        let counts = counted.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let counts = counts.clone();
                connections.spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match socket.read_u8().await {
                            Ok(byte) => request.push(byte),
                            Err(_) => return,
                        }
                    }
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                    let times = {
                        let mut counts = counts.lock().expect("not poisoned");
                        let times = counts.entry(path).or_default();
                        *times += 1;
                        *times
                    };
                    if let Some(status) = script(times) {
                        let answer =
                            format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                        let _ = socket.write_all(answer.as_bytes()).await;
                    }
                });
            }
        });
        Self {
            address,
            counted,
            _tasks: tasks,
        }
    }

    async fn new(script: fn(u32) -> Option<u16>) -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").await.expect("bind"), script)
    }

    fn counted(&self) -> HashMap<String, u32> {
        self.counted.lock().expect("not poisoned").clone()
    }
}

fn gate() -> Gate {
    Gate::new(gate::Policy {
        allow_private: true,
        ..gate::Policy::default()
    })
}

fn beacon(address: SocketAddr, name: &str, receiver: Receiver) -> Beacon {
    let url = format!("http://{address}/{name}");
    Beacon {
        key: BeaconKey::new("s", "a", name, &url),
        event: "impression".into(),
        url,
        receiver,
        at: NOW,
        body: None,
    }
}

async fn queue() -> (tempfile::TempDir, Queue) {
    let folder = tempfile::tempdir().expect("folder");
    let queue = Queue::open(&folder.path().join("ads.db")).await.expect("open");
    (folder, queue)
}

#[tokio::test]
async fn a_beacon_is_stored_once_and_sent_once() {
    let (_folder, queue) = queue().await;
    let server = Server::new(|_| Some(204)).await;
    let beacons = [
        beacon(server.address, "a", Receiver::Grove),
        beacon(server.address, "b", Receiver::ThirdParty),
    ];
    assert_eq!(queue.store(&beacons).await.expect("store"), 2);
    assert_eq!(queue.store(&beacons).await.expect("store again"), 0);
    let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
    assert_eq!((drained.sent, drained.waiting), (2, 0));
    assert_eq!(queue.store(&beacons).await.expect("store after"), 0);
    assert_eq!(queue.drain(&gate(), NOW, BUDGET).await.expect("drain").sent, 0);
    assert!(server.counted().values().all(|&times| times == 1));
}

#[tokio::test]
async fn a_server_that_is_down_for_a_while_gets_everything_later() {
    let (_folder, queue) = queue().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    drop(listener);
    let beacons = [
        beacon(address, "a", Receiver::Grove),
        beacon(address, "b", Receiver::ThirdParty),
    ];
    queue.store(&beacons).await.expect("store");
    let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
    assert_eq!((drained.sent, drained.postponed, drained.waiting), (0, 2, 2));
    let server = Server::start(TcpListener::bind(address).await.expect("bind again"), |_| {
        Some(200)
    });
    // Not due yet: it backs off.
    assert_eq!(queue.drain(&gate(), NOW, BUDGET).await.expect("drain").sent, 0);
    let later = NOW.after(Duration::from_secs(60));
    assert_eq!(queue.drain(&gate(), later, BUDGET).await.expect("drain").sent, 2);
    assert_eq!(server.counted().len(), 2);
}

#[tokio::test]
async fn what_a_server_that_is_away_was_told_in_vain_comes_after_what_is_new() {
    let (_folder, queue) = queue().await;
    let server = Server::new(|_| Some(503)).await;
    let told = |name: &str| beacon(server.address, name, Receiver::Grove);
    queue.store(&[told("a"), told("b")]).await.expect("store");
    assert_eq!(
        queue.drain(&gate(), NOW, BUDGET).await.expect("drain").postponed,
        2
    );
    let later = NOW.after(Duration::from_secs(60));
    let new = Beacon {
        at: later,
        ..told("new")
    };
    queue.store(std::slice::from_ref(&new)).await.expect("store");
    let due = queue.due(later).await.expect("due");
    assert_eq!((due.len(), &due[0].url), (3, &new.url));
}

#[tokio::test]
async fn a_grove_server_that_commits_and_cuts_the_connection_is_told_again_with_the_same_url() {
    let (_folder, queue) = queue().await;
    let server = Server::new(|times| (times > 1).then_some(204)).await;
    queue
        .store(&[beacon(server.address, "grove", Receiver::Grove)])
        .await
        .expect("store");
    let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
    let later = NOW.after(Duration::from_secs(60));
    let again = queue.drain(&gate(), later, BUDGET).await.expect("drain");
    // The client may retry by itself within the first drain; either way the server saw one key, more than once.
    assert_eq!((drained.sent + again.sent, again.waiting), (1, 0));
    let counted = server.counted();
    assert_eq!(counted.len(), 1);
    assert!(counted["/grove"] >= 2, "{counted:?}");
}

#[tokio::test]
async fn a_third_party_is_never_told_again_once_it_may_have_heard() {
    let (_folder, queue) = queue().await;
    let cutting = Server::new(|_| None).await;
    let failing = Server::new(|_| Some(500)).await;
    let beacons = [
        beacon(cutting.address, "cut", Receiver::ThirdParty),
        beacon(failing.address, "500", Receiver::ThirdParty),
    ];
    queue.store(&beacons).await.expect("store");
    let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
    assert_eq!((drained.unknown, drained.sent, drained.waiting), (1, 1, 0));
    let later = NOW.after(Duration::from_secs(3_600));
    queue.drain(&gate(), later, BUDGET).await.expect("drain");
    assert_eq!((cutting.counted()["/cut"], failing.counted()["/500"]), (1, 1));
}

#[tokio::test]
async fn what_was_begun_ends_though_it_is_told_to_stop_and_nothing_else_begins() {
    use axum::{Router, extract::State, routing::get};
    use tokio::sync::Semaphore;
    let (_folder, queue) = queue().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    // It answers only once it is let.
    let (asked, answers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let app = Router::new()
        .route(
            "/{name}",
            get(
                |State((asked, answers)): State<(Arc<Semaphore>, Arc<Semaphore>)>| async move {
                    asked.add_permits(1);
                    answers.acquire().await.expect("open").forget();
                },
            ),
        )
        .with_state((asked.clone(), answers.clone()));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await });
    let beacons: Vec<_> = (0..=AT_ONCE)
        .map(|n| beacon(address, &format!("b{n}"), Receiver::ThirdParty))
        .collect();
    queue.store(&beacons).await.expect("store");
    let stop = AtomicBool::new(false);
    let gate = gate();
    let (drained, ()) = tokio::join!(queue.drain_until(&gate, NOW, REQUEST, &stop), async {
        let all = u32::try_from(AT_ONCE).expect("a few");
        asked.acquire_many(all).await.expect("open").forget();
        stop.store(true, Ordering::Relaxed);
        answers.add_permits(AT_ONCE);
    });
    let drained = drained.expect("drain");
    assert_eq!((drained.sent, drained.waiting), (AT_ONCE as u64, 1));
}

#[tokio::test]
async fn a_third_party_that_redirects_to_nowhere_has_heard() {
    use axum::{Router, response::Redirect, routing::get};
    let (_folder, queue) = queue().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let app = Router::new().fallback(get(|| async { Redirect::temporary("http://nowhere.invalid/") }));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await });
    let party = |name, receiver| beacon(address, name, receiver);
    queue
        .store(&[party("a", Receiver::ThirdParty), party("b", Receiver::Grove)])
        .await
        .expect("store");
    let gate = Gate::new(gate::Policy {
        hosts: HashMap::from([("nowhere.invalid".to_owned(), Vec::new())]),
        ..gate().policy().clone()
    });
    let drained = queue.drain(&gate, NOW, BUDGET).await.expect("drain");
    assert_eq!((drained.unknown, drained.postponed, drained.waiting), (1, 1, 1));
}

#[tokio::test]
async fn a_grove_server_is_told_until_it_answers_2xx() {
    let (_folder, queue) = queue().await;
    let server = Server::new(|times| Some(if times < 4 { 503 } else { 200 })).await;
    queue
        .store(&[beacon(server.address, "a", Receiver::Grove)])
        .await
        .expect("store");
    let mut now = NOW;
    for _ in 0..3 {
        let drained = queue.drain(&gate(), now, BUDGET).await.expect("drain");
        assert_eq!((drained.postponed, drained.waiting), (1, 1));
        now = now.after(Duration::from_secs(60));
    }
    assert_eq!(queue.drain(&gate(), now, BUDGET).await.expect("drain").sent, 1);
}

#[tokio::test]
async fn a_killed_process_holds_nobody_up_for_longer_than_its_lease() {
    let (folder, queue) = queue().await;
    let server = Server::new(|_| Some(204)).await;
    let third = beacon(server.address, "third", Receiver::ThirdParty);
    queue
        .store(&[beacon(server.address, "grove", Receiver::Grove), third.clone()])
        .await
        .expect("store");
    // As far as a process gets that is killed while it sends.
    assert!(queue.take_lease("killed", NOW).await.expect("lease"));
    assert!(queue.mark_sending(third.key.as_str()).await.expect("mark"));
    assert!(
        !queue
            .mark_sending(third.key.as_str())
            .await
            .expect("marking twice")
    );
    drop(queue);
    let next = Queue::open(&folder.path().join("ads.db"))
        .await
        .expect("open again");
    let early = next
        .drain(&gate(), NOW.after(LEASE / 2), POLL)
        .await
        .expect("drain");
    assert_eq!((early.busy, early.sent), (true, 0));
    let drained = next
        .drain(&gate(), NOW.after(LEASE), BUDGET)
        .await
        .expect("drain");
    assert_eq!(
        (drained.busy, drained.sent, drained.unknown, drained.waiting),
        (false, 1, 1, 0)
    );
    assert_eq!(server.counted().keys().collect::<Vec<_>>(), ["/grove"]);
}

#[tokio::test]
async fn a_lease_from_before_the_clock_was_set_back_holds_nobody_up() {
    let (_folder, queue) = queue().await;
    let server = Server::new(|_| Some(204)).await;
    queue
        .store(&[beacon(server.address, "a", Receiver::Grove)])
        .await
        .expect("store");
    let ahead = NOW.after(Duration::from_secs(3_600));
    assert!(queue.take_lease("killed", ahead).await.expect("lease"));
    let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
    assert_eq!((drained.busy, drained.sent), (false, 1));
}

#[tokio::test]
async fn what_another_drain_finished_stays_finished() {
    let (_folder, queue) = queue().await;
    let server = Server::new(|_| Some(204)).await;
    queue
        .store(&[beacon(server.address, "a", Receiver::Grove)])
        .await
        .expect("store");
    // Two drains took it up, since the lease of the slower one lapsed; it fails after the other's success.
    let due = queue.due(NOW).await.expect("due").remove(0);
    assert_eq!(queue.drain(&gate(), NOW, BUDGET).await.expect("drain").sent, 1);
    let late = Attempt::Postponed("no answer in time".into());
    queue.conclude(&due, &late, NOW).await.expect("conclude");
    assert_eq!(queue.waiting().await.expect("waiting"), 0);
}

#[tokio::test]
async fn two_handles_never_send_the_same_beacon_at_once() {
    let (folder, first) = queue().await;
    let second = Queue::open(&folder.path().join("ads.db")).await.expect("open");
    let server = Server::new(|_| Some(204)).await;
    let beacons: Vec<_> = (0..100)
        .map(|n| beacon(server.address, &format!("b{n}"), Receiver::Grove))
        .collect();
    first.store(&beacons).await.expect("store");
    let (gate_one, gate_two) = (gate(), gate());
    let (one, two) = tokio::join!(
        first.drain(&gate_one, NOW, BUDGET),
        second.drain(&gate_two, NOW, BUDGET)
    );
    let (one, two) = (one.expect("drain"), two.expect("drain"));
    assert_eq!(one.sent + two.sent, 100);
    let counted = server.counted();
    assert!(counted.len() == 100 && counted.values().all(|&times| times == 1));
}

#[tokio::test]
async fn what_is_too_old_or_forbidden_is_dropped() {
    let (_folder, queue) = queue().await;
    let server = Server::new(|_| Some(204)).await;
    queue
        .store(&[
            beacon(server.address, "a", Receiver::ThirdParty),
            beacon(server.address, "b", Receiver::Grove),
        ])
        .await
        .expect("store");
    let strict = Gate::new(gate::Policy::default());
    let drained = queue.drain(&strict, NOW, BUDGET).await.expect("drain");
    // A command that allows more may come: a Grove server's beacon waits for it.
    assert_eq!((drained.dropped, drained.waiting), (1, 1));
    let drained = queue
        .drain(&gate(), NOW.after(LIFETIME), BUDGET)
        .await
        .expect("drain");
    assert_eq!((drained.dropped, drained.waiting), (1, 0));
    assert!(server.counted().is_empty());
}

#[tokio::test]
async fn an_account_is_posted_until_it_is_taken_or_refused() {
    use axum::{Router, http::StatusCode, routing::post};
    let (_folder, queue) = queue().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = got.clone();
    let app = Router::new()
        .route(
            "/taken",
            post(move |body: String| async move {
                let mut seen = seen.lock().expect("not poisoned");
                seen.push(body);
                if seen.len() == 1 {
                    StatusCode::SERVICE_UNAVAILABLE
                } else {
                    StatusCode::NO_CONTENT
                }
            }),
        )
        .route("/refused", post(|| async { StatusCode::UNPROCESSABLE_ENTITY }));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await });
    let account = |name: &str| Beacon {
        body: Some(format!("{{\"name\":\"{name}\"}}")),
        ..beacon(address, name, Receiver::Grove)
    };
    queue
        .store(&[account("taken"), account("refused")])
        .await
        .expect("store");
    let first = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
    assert_eq!((first.postponed, first.dropped, first.waiting), (1, 1, 1));
    let later = NOW.after(Duration::from_secs(60));
    let second = queue.drain(&gate(), later, BUDGET).await.expect("drain");
    assert_eq!((second.sent, second.waiting), (1, 0));
    assert_eq!(*got.lock().expect("not poisoned"), ["{\"name\":\"taken\"}"; 2]);
}

#[test]
fn waiting_doubles_up_to_an_hour() {
    assert_eq!(
        [1, 2, 3, 11, 12, 40].map(|n| backoff(n).as_secs()),
        [2, 4, 8, 2_048, 3_600, 3_600]
    );
}
