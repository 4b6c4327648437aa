//! Starting the engine's node from the options that every command with a socket has.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use engine::node::{DHT_BOOTSTRAP, Error, MappingConfig, Node, NodeConfig};
use engine::store::StoreError;

use crate::context::Context;
use crate::output::{Explain, bad_input, print_json, with_hint};

/// Starts a node, and says where it listens.
pub(crate) async fn start(context: &Context, json: bool) -> anyhow::Result<Node> {
    let mut config = NodeConfig::new(&context.data, context.gate.clone());
    config.up = context.net.up;
    config.down = context.net.down;
    if is_outside(context) && !context.net.no_discovery {
        config.dht = DHT_BOOTSTRAP.map(str::to_owned).to_vec();
        config.lan = true;
        config.mapping = Some(MappingConfig::default());
    }
    if !context.net.dht.is_empty() {
        trust(context, &context.net.dht)?;
        config.dht.clone_from(&context.net.dht);
    }
    let any = [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    ];
    let both = NodeConfig {
        listen: any.to_vec(),
        ..config.clone()
    };
    let started = if context.net.listen.is_empty() {
        match Node::start(both).await {
            Ok(node) => Ok(node),
            // A machine without IPv6.
            Err(_) => Node::start(config).await,
        }
    } else {
        config.listen.clone_from(&context.net.listen);
        Node::start(config).await
    };
    let node = started.hint(|| "choose another address with --listen; port 0 takes a free one".into())?;
    let addresses: Vec<String> = node.local_addrs().iter().map(ToString::to_string).collect();
    if json {
        print_json(&serde_json::json!({ "event": "listening", "quic": addresses }));
    } else {
        tracing::info!(?addresses, "listening for peers");
    }
    Ok(node)
}

/// What there is to do about a torrent that cannot be added, when that is the same for every command.
pub(crate) fn explain(error: Error) -> anyhow::Error {
    match &error {
        Error::Store(why) if matches!(**why, StoreError::Locked { .. }) => locked(error),
        _ => error.into(),
    }
}

/// The same of what another process has.
pub(crate) fn locked(error: impl Into<anyhow::Error>) -> anyhow::Error {
    with_hint(
        error.into(),
        "wait until the other command ends, or give this one a folder of its own with --data DIR",
    )
}

/// On loopback there is nobody to be found, and no router.
fn is_outside(context: &Context) -> bool {
    let listen = &context.net.listen;
    listen.is_empty() || !listen.iter().all(|address| address.ip().is_loopback())
}

/// Whether peers are looked for where nobody named them.
pub(crate) fn looks_around(context: &Context) -> bool {
    !context.net.dht.is_empty() || (is_outside(context) && !context.net.no_discovery)
}

/// What a person typed is accepted, whatever its address.
fn trust(context: &Context, nodes: &[String]) -> anyhow::Result<()> {
    for node in nodes {
        let parts = node
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parts
            .ok_or_else(|| bad_input(format!("--dht {node:?} is not HOST:PORT")))
            .hint(|| "for example --dht router.example.org:6881".into())?;
        context.gate.trust(host, port);
    }
    Ok(())
}
