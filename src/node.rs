//! `grove node`: the always-on peer of a machine. It gives others what it has, and is the local gateway for players and podcast apps.
//!
//! What a person names is fetched whole and given to others; what players ask for (`gateway`) as far as they read it, and what is here of
//! that is given to others again when the node is started again.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::beacons;
use crate::breaks::Swarm;
use crate::cli::NodeArgs;
use crate::context::Context;
use crate::gateway::{Gateway, Settings, Torrents};
use crate::joining::trust_typed;
use crate::output::{ExitStatus, Explain, Outcome, interrupted, print_json};
use crate::source::{Resolved, resolve};

/// Serves until it is told to stop.
pub(crate) async fn run(args: &NodeArgs, json: bool) -> Outcome {
    let context = Context::new(&args.net)?;
    trust_typed(&context, &args.swarm);
    let listener = TcpListener::bind(args.http)
        .await
        .with_context(|| format!("cannot listen on {}", args.http))
        .hint(|| "choose another address with --http; port 0 takes a free one".into())?;
    let listening = listener
        .local_addr()
        .context("asking for the gateway's own address")?;
    let node = Arc::new(crate::starting::start(&context, false).await?);
    tell(listening, &node.local_addrs(), json);
    let creatives = (!args.swarm.no_peers).then(|| Swarm::new(&context, Arc::clone(&node)));
    let torrents = Arc::new(Torrents::new(&context, &args.swarm, Arc::clone(&node)));
    let settings = Settings {
        swarm: args.swarm.clone(),
        freeze: args.freeze,
        keep: args.keep,
        json,
    };
    let ours = (Arc::clone(&node), creatives.clone(), Arc::clone(&torrents));
    let gateway = Gateway::new(&context, settings, ours, listening);
    let joining = async {
        // Held for as long as the node runs.
        let mut all = Vec::new();
        // First what is fetched whole: a torrent that runs already stays as it is.
        for source in &args.sources {
            match resolve(&context, Some(&node), source, None).await? {
                Resolved::Torrent(found) => {
                    let joined = torrents.join(&found, true).await?;
                    let (name, info_hash) = (found.metainfo.name(), joined.torrent.info_hash());
                    if json {
                        print_json(
                            &json!({ "event": "joined", "source": source, "info_hash": info_hash.to_string() }),
                        );
                    } else {
                        eprintln!("{name} is fetched, and given to others");
                    }
                    all.push(joined);
                }
                Resolved::Plain(url) => {
                    eprintln!("note: there is no .torrent beside {url}; players are sent to it");
                }
            }
        }
        let again = torrents.join_again().await;
        if json {
            print_json(&json!({ "event": "joined_again", "names": again }));
        } else if !again.is_empty() {
            eprintln!(
                "what is here of {} episodes from before is given to others",
                again.len()
            );
        }
        anyhow::Ok(all)
    };
    let mut failed = None;
    let stop = async {
        let stay = async {
            match joining.await {
                Ok(_all) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            () = interrupted() => {}
            error = stay => failed = Some(error),
        }
    };
    Box::pin(gateway.serve(listener, stop)).await;
    if let Some(creatives) = &creatives {
        creatives.end().await;
    }
    node.stop().await;
    beacons::drain(&context).await;
    if json {
        print_json(&json!({ "event": "done" }));
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(ExitStatus::Done),
    }
}

fn tell(listening: SocketAddr, quic: &[SocketAddr], json: bool) {
    let quic: Vec<String> = quic.iter().map(ToString::to_string).collect();
    if json {
        print_json(&json!({ "event": "listening", "http": listening.to_string(), "quic": quic }));
        return;
    }
    eprintln!("open http://{listening}/ and behind it the address of an episode, in any player");
    eprintln!(
        "subscribe to http://{listening}/feed/ and behind it the address of a feed, in any podcast app"
    );
    eprintln!("listening for peers on {}", quic.join(", "));
    if !listening.ip().is_loopback() {
        eprintln!(
            "note: whoever reaches {listening} can have this machine fetch public media, and takes the ads that are decided for it"
        );
    }
}
