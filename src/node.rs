//! `grove node`: the always-on peer of a machine. It gives others what it has, and is the local gateway for players and podcast apps.
//!
//! What a person names is fetched whole and given to others; what players ask for (`gateway`) as far as they read it, and what is here of
//! that is given to others again when the node is started again.

mod named;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use serde_json::json;
use tokio::net::TcpListener;

use self::named::Named;
use crate::beacons;
use crate::breaks::Swarm;
use crate::cli::NodeArgs;
use crate::context::Context;
use crate::gateway::{Gateway, Settings, Torrents};
use crate::joining::trust_typed;
use crate::output::{ExitStatus, Explain, Outcome, interrupted, print_json};
use crate::source::check;

/// Players wait for an answer meanwhile, and ask again; what a person named is tried again anyway.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until it is told to stop.
pub(crate) async fn run(args: &NodeArgs, json: bool) -> Outcome {
    for source in &args.sources {
        check(source)?;
    }
    let context = Context {
        patience: PATIENCE,
        no_peers: args.swarm.no_peers,
        ..Context::new(&args.net)?
    };
    trust_typed(&context, &args.swarm).await?;
    let listener = TcpListener::bind(args.http)
        .await
        .with_context(|| format!("cannot listen on {}", args.http))
        .hint(|| "choose another address with --http; port 0 takes a free one".into())?;
    let listening = listener
        .local_addr()
        .context("asking for the gateway's own address")?;
    let node = Arc::new(crate::starting::start(&context, false).await?);
    // Before anything is said, on which a script may send a signal.
    let interrupt = interrupted();
    tell(listening, &node.local_addrs(), json);
    let creatives = (!args.swarm.no_peers).then(|| Swarm::new(&context, Arc::clone(&node)));
    let torrents = Arc::new(Torrents::new(&context, &args.swarm, Arc::clone(&node)));
    let settings = Settings {
        swarm: args.swarm.clone(),
        freeze: args.freeze,
        keep: args.keep,
        wait: args.wait,
        json,
    };
    let ours = (Arc::clone(&node), creatives.clone(), Arc::clone(&torrents));
    let gateway = Gateway::new(&context, settings, ours, listening);
    let named = Named {
        context: &context,
        node: &node,
        torrents: &torrents,
        episode: args.episode.episode.as_deref(),
        json,
    };
    let joining = async {
        let again = torrents.join_again().await;
        if json {
            print_json(&json!({ "event": "joined_again", "names": again }));
        } else if !again.is_empty() {
            eprintln!(
                "what is here of {} episodes from before is given to others",
                again.len()
            );
        }
    };
    let stay = async {
        // Held for as long as the node runs.
        let (_all, ()) = tokio::join!(
            join_all(args.sources.iter().map(|source| named.join(source))),
            joining
        );
        std::future::pending().await
    };
    let stop = async {
        tokio::select! {
            () = interrupt => {}
            never = stay => match never {},
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
    Ok(ExitStatus::Done)
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
