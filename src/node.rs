//! Starting the engine's node from the options that every command with a socket has.

use engine::node::{Node, NodeConfig};

use crate::context::Context;
use crate::output::{Explain, print_json};

/// Starts a node, and says where it listens.
pub(crate) async fn start(context: &Context, json: bool) -> anyhow::Result<Node> {
    let mut config = NodeConfig::new(&context.data, context.gate.clone());
    if !context.net.listen.is_empty() {
        config.listen.clone_from(&context.net.listen);
    }
    config.up = context.net.up;
    config.down = context.net.down;
    let node = Node::start(config)
        .await
        .hint(|| "choose another address with --listen; port 0 takes a free one".into())?;
    let addresses: Vec<String> = node.local_addrs().iter().map(ToString::to_string).collect();
    if json {
        print_json(&serde_json::json!({ "event": "listening", "quic": addresses }));
    } else {
        tracing::info!(?addresses, "listening for peers");
    }
    Ok(node)
}
