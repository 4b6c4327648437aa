//! The relay's rate holds: what both ends send comes no faster than that; and each end hears it from where it spoke to it.

mod common;

use common::PATIENCE;
use engine::tracker::pairs::{Limits, MAGIC, Role};
use engine::tracker::relay::{Config, Relay};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Bytes a second.
const RATE: u64 = 100_000;
const DATAGRAM: usize = 1_000;
const COUNT: usize = 60;

#[tokio::test]
async fn what_is_carried_keeps_to_the_rate() {
    let limits = Limits {
        rate: Some(RATE),
        ..Limits::default()
    };
    let relay = Relay::new(Config {
        limits,
        ip: HERE,
        ports: 0..=0,
    });
    let mut ends = Vec::new();
    for role in [Role::Sender, Role::Receiver] {
        let place = relay.ask([7; 20], role, HERE, None).unwrap();
        let socket = UdpSocket::bind((HERE, 0)).await.unwrap();
        socket.connect(SocketAddr::new(HERE, place.port)).await.unwrap();
        let shown = [&MAGIC[..], &place.token[..]].concat();
        socket.send(&shown).await.unwrap();
        ends.push(socket);
    }
    let mut buffer = [0; 2 * DATAGRAM];
    // The ends are known once something comes through; then the clock runs.
    let through = async {
        loop {
            ends[0].send(&[0; 10]).await.unwrap();
            let heard = tokio::time::timeout(Duration::from_millis(20), ends[1].recv(&mut buffer));
            if heard.await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, through)
        .await
        .expect("both ends are known");
    let began = Instant::now();
    for _ in 0..COUNT {
        ends[0].send(&[1; DATAGRAM]).await.unwrap();
    }
    let mut arrived = 0;
    while arrived < COUNT {
        let heard = tokio::time::timeout(PATIENCE, ends[1].recv(&mut buffer));
        let length = heard.await.expect("all of them come").unwrap();
        arrived += usize::from(length == DATAGRAM);
    }
    // A twentieth of a second may come at once after a pause, and the last one is not waited for.
    let least = Duration::from_secs_f64((COUNT - 1) as f64 * DATAGRAM as f64 / RATE as f64 - 0.05);
    assert!(
        began.elapsed() >= least,
        "{:?} for what takes {least:?}",
        began.elapsed()
    );
    let (sessions, carried) = relay.figures();
    assert_eq!(sessions, 1);
    assert!(carried >= (COUNT * DATAGRAM) as u64);
}

#[tokio::test]
async fn each_end_hears_the_relay_from_the_address_that_it_was_given() {
    let relay = Relay::new(Config {
        limits: Limits::default(),
        ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ports: 0..=0,
    });
    let mut ends = Vec::new();
    for (role, last) in [(Role::Sender, 2), (Role::Receiver, 3)] {
        let place = relay.ask([7; 20], role, HERE, None).unwrap();
        let socket = UdpSocket::bind((HERE, 0)).await.unwrap();
        // What is connected hears nothing from elsewhere.
        let at = SocketAddr::from(([127, 0, 0, last], place.port));
        socket.connect(at).await.unwrap();
        let shown = [&MAGIC[..], &place.token[..]].concat();
        socket.send(&shown).await.unwrap();
        ends.push(socket);
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let through = async {
            let mut buffer = [0; 100];
            loop {
                ends[from].send(b"hello").await.unwrap();
                let heard = tokio::time::timeout(Duration::from_millis(20), ends[to].recv(&mut buffer));
                if let Ok(Ok(5)) = heard.await {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, through)
            .await
            .expect("the other end hears it");
    }
}
