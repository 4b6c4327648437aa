//! `grove tracker`: rendezvous for peers over HTTP, for Grove and for any other BitTorrent client.
//!
//! Not for: what a tracker knows and answers (`engine::tracker`).

use anyhow::Context as _;
use engine::tracker::pairs::Limits;
use engine::tracker::relay::{self, Relay};
use engine::tracker::server::{Config, Tracker, serve};
use tokio::net::TcpListener;

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
    let announce = format!("http://{address}/announce");
    if json {
        print_json(
            &serde_json::json!({ "event": "listening", "http": address.to_string(), "announce": announce }),
        );
    } else {
        eprintln!("the tracker listens: {announce}");
    }
    let config = Config {
        interval: args.interval,
        min_interval: args.interval.min(Config::default().min_interval),
        ..Config::default()
    };
    let relay = args.relay.then(|| {
        Relay::new(relay::Config {
            limits: Limits {
                sessions: args.relay_sessions,
                bytes: args.relay_bytes,
                rate: Some(args.relay_rate),
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
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = serve(listener, tracker.clone(), async {
        // A sender that is gone means the same as one that spoke.
        let _ = stopped.await;
    });
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => {
            ended.context("the tracker stopped serving")?;
            anyhow::bail!("the tracker stopped serving by itself");
        }
        () = sweeping => {}
        () = interrupted() => {}
    }
    let _ = stop.send(());
    // A client that keeps its connection open must not hold up the end.
    if let Ok(ended) = tokio::time::timeout(std::time::Duration::from_secs(2), serving).await {
        ended.context("stopping the tracker")?;
    }
    if json {
        print_json(
            &serde_json::json!({ "event": "done", "announces": tracker.announces(), "relayed": relay.map_or(0, |relay| relay.figures().1) }),
        );
    }
    Ok(ExitStatus::Done)
}
