//! `grove tracker`: rendezvous for peers, over HTTP and UDP for Grove and any other BitTorrent client, over QUIC for Grove.
//!
//! Not for: what a tracker knows and answers (`engine::tracker`).

use anyhow::Context as _;
use engine::tracker::meeting;
use engine::tracker::pairs::Limits;
use engine::tracker::quic::Meeting;
use engine::tracker::relay::{self, Relay};
use engine::tracker::server::{Config, MeetingPorts, Tracker, serve};
use engine::tracker::udp_server;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cli::TrackerArgs;
use crate::output::{ExitStatus, Explain, Outcome, interrupted, print_json};

/// Serves until it is told to stop.
pub(crate) async fn run(args: &TrackerArgs, json: bool) -> Outcome {
    let listener = TcpListener::bind(args.http)
        .await
        .with_context(|| format!("cannot listen on {}", args.http))
        .hint(|| "choose another address with --http; port 0 takes a free one".into())?;
    let address = listener
        .local_addr()
        .context("asking for the tracker's own address")?;
    for (is_given, what) in [
        (
            args.data.is_some(),
            "--data: it keeps all that it knows in memory",
        ),
        (args.allow_private, "--allow-private: it dials nobody"),
    ] {
        if is_given {
            eprintln!("note: a tracker makes no use of {what}");
        }
    }
    let stop = watch::Sender::new(false);
    let stopped = || {
        let mut stop = stop.subscribe();
        async move {
            // A sender that is gone means the same as one that spoke.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    };
    let mut meetings = JoinSet::new();
    let (mut ports, mut quic) = (MeetingPorts::default(), Vec::new());
    for wanted in &args.listen {
        let meeting = Meeting::bind(*wanted, meeting::Limits::default())
            .with_context(|| format!("cannot listen on {wanted} (UDP)"))
            .hint(|| "choose another address with --listen; port 0 takes a free one".into())?;
        let bound = meeting
            .local_addr()
            .context("asking for the tracker's own address")?;
        let port = if bound.is_ipv4() {
            &mut ports.v4
        } else {
            &mut ports.v6
        };
        *port = Some(bound.port());
        quic.push(bound.to_string());
        meetings.spawn(meeting.serve(stopped()));
    }
    let config = Config {
        interval: args.interval,
        min_interval: args.interval.min(Config::default().min_interval),
        meeting: ports,
        ..Config::default()
    };
    let relay = args.relay.then(|| {
        Relay::new(relay::Config {
            limits: Limits {
                sessions: args.relay_sessions,
                bytes: args.relay_bytes,
                rate: relay_rate(args),
                idle: args.relay_idle,
            },
            ip: args.http.ip(),
            ports: args.relay_ports.clone().unwrap_or(0..=0),
        })
    });
    let tracker = Tracker::with_relay(config, relay.clone());
    let sweeping = async {
        match &relay {
            Some(relay) => relay.keep_swept().await,
            None => std::future::pending().await,
        }
    };
    let (mut udp_serving, mut udp) = (JoinSet::new(), Vec::new());
    for wanted in &args.udp {
        let socket = UdpSocket::bind(wanted)
            .await
            .with_context(|| format!("cannot listen on {wanted} (UDP)"))
            .hint(|| "choose another address with --udp; port 0 takes a free one".into())?;
        let bound = socket
            .local_addr()
            .context("asking for the tracker's own address")?;
        udp.push(bound.to_string());
        udp_serving.spawn(udp_server::serve(socket, tracker.clone(), stopped()));
    }
    let announce = format!("http://{address}/announce");
    let stop_asked = interrupted();
    if json {
        print_json(
            &serde_json::json!({ "event": "listening", "http": address.to_string(), "announce": announce, "udp": udp, "quic": quic }),
        );
    } else {
        eprintln!("the tracker listens: {announce}");
        for address in udp {
            eprintln!("the tracker listens: udp://{address}/announce");
        }
        for address in quic {
            eprintln!("peers meet at {address} (QUIC)");
        }
    }
    let serving = serve(listener, tracker.clone(), stopped());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => {
            ended.context("the tracker stopped serving")?;
            anyhow::bail!("the tracker stopped serving by itself");
        }
        () = sweeping => {}
        Some(ended) = meetings.join_next(), if !meetings.is_empty() => {
            ended.context("the QUIC endpoint stopped serving")?;
            anyhow::bail!("the QUIC endpoint stopped serving by itself");
        }
        Some(ended) = udp_serving.join_next(), if !udp_serving.is_empty() => {
            ended.context("the UDP tracker stopped serving")?.context("the UDP tracker stopped serving")?;
            anyhow::bail!("the UDP tracker stopped serving by itself");
        }
        () = stop_asked => {}
    }
    stop.send_replace(true);
    // A client that keeps its connection open must not hold up the end.
    if let Ok(ended) = tokio::time::timeout(std::time::Duration::from_secs(2), serving).await {
        ended.context("stopping the tracker")?;
    }
    while let Some(ended) = udp_serving.join_next().await {
        ended
            .context("stopping the UDP tracker")?
            .context("stopping the UDP tracker")?;
    }
    let mut introductions = 0;
    while let Some(ended) = meetings.join_next().await {
        introductions += ended.context("stopping the QUIC endpoint")?;
    }
    if json {
        print_json(&serde_json::json!({
            "event": "done",
            "announces": tracker.announces(),
            "introductions": introductions,
            "relayed": relay.map_or(0, |relay| relay.figures().1),
        }));
    }
    Ok(ExitStatus::Done)
}

/// What it carries in a second for those who cannot reach each other: no more than may come in, or go out.
fn relay_rate(args: &TrackerArgs) -> Option<u64> {
    [Some(args.relay_rate), args.up, args.down]
        .into_iter()
        .flatten()
        .min()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::relay_rate;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_relay_carries_no_more_than_may_come_in_or_go_out() {
        for (more, rate) in [
            (&[] as &[&str], 4_000_000),
            (&["--up", "1M"], 1_000_000),
            (&["--up", "5M", "--down", "3M"], 3_000_000),
        ] {
            let words = ["grove", "tracker", "--relay", "--relay-rate", "4M"];
            let cli = Cli::try_parse_from(words.iter().chain(more)).expect("it can be written");
            let Command::Tracker(args) = cli.command else {
                panic!("another command");
            };
            assert_eq!(relay_rate(&args), Some(rate), "{more:?}");
        }
    }
}
