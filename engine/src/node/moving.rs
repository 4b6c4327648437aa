//! When this machine or the other one changes its address in mid-transfer.
//!
//! QUIC carries a connection over by itself when the side moves that dialled it (RFC 9000 §9). A side that was dialled
//! cannot take the other one along: it ends the connections that came to an address which it has no more, and its
//! torrents dial the peers anew. The peer meanwhile believes in the old connection: a new one from another place takes
//! over when nothing has come on the old one for a while.

use super::lan;
use super::registry::Registry;
use crate::net::Connection;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How often this machine's addresses are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A connection on which nothing comes for so long gives way to a new one of the same peer.
const SILENT: Duration = Duration::from_millis(1_500);

/// Where a peer was that was lost, and had proved its key from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) address: SocketAddr,
    /// Our own address then.
    ours: Option<IpAddr>,
}

impl Lost {
    pub(super) fn of(connection: &Connection) -> Self {
        Self {
            address: connection.remote_address(),
            ours: connection.local_ip().map(|ip| ip.to_canonical()),
        }
    }

    /// Whether a private address still leads to the same machine, as far as can be told: it is on a network of ours, or
    /// we are on the one from which it was reached. Elsewhere it is somebody else's.
    pub(super) fn is_there_still(&self) -> bool {
        let reached = [Some(self.address.ip()), self.ours];
        reached.into_iter().flatten().any(lan::is_on_our_network)
    }
}

/// This machine's addresses.
fn addresses() -> Option<HashSet<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs().ok()?;
    Some(interfaces.iter().map(if_addrs::Interface::ip).collect())
}

/// Those that tell where it is: link-local ones come and go with each container that starts or ends.
fn of_place(addresses: &HashSet<IpAddr>) -> HashSet<IpAddr> {
    let tells = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    addresses.iter().copied().filter(tells).collect()
}

/// Ends connections that came to an address which is gone, until it is aborted.
pub(super) async fn watch(registry: Arc<Registry>) {
    let mut before = of_place(&addresses().unwrap_or_default());
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(now) = addresses() else { continue };
        let place = of_place(&now);
        if place == before {
            continue;
        }
        tracing::info!("this machine's addresses have changed");
        for connection in registry.connections() {
            let here = connection.local_ip().map(|ip| ip.to_canonical());
            if !connection.dialed() && here.is_some_and(|ip| !now.contains(&ip)) {
                connection.close("moved");
            }
        }
        registry.has_moved();
        before = place;
    }
}

/// Whether this connection of a peer is dead, who has made another one.
pub(super) async fn is_dead(old: &Connection, new: &Connection) -> bool {
    let heard = old.datagrams_heard();
    // Who made the new one may have ended the old one.
    let _ = tokio::time::timeout(SILENT, old.closed()).await;
    !new.is_closed() && (old.is_closed() || old.datagrams_heard() == heard)
}

#[cfg(test)]
mod tests {
    use super::{Lost, of_place};
    use crate::node::registry::DialError;
    use crate::node::{Node, NodeConfig};
    use gate::Gate;
    use std::collections::HashSet;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    #[test]
    fn what_containers_bring_is_no_move() {
        let set = |texts: &[&str]| -> HashSet<IpAddr> {
            let parsed = texts.iter().map(|text| text.parse::<IpAddr>().unwrap());
            parsed.collect()
        };
        let here = ["192.168.1.2", "2001:db8::2", "fd00::2"];
        let more = ["127.0.0.1", "::1", "169.254.3.4", "fe80::1", "febf::5"];
        let all = [&here[..], &more[..]].concat();
        assert_eq!(of_place(&set(&all)), set(&here));
        assert_eq!(of_place(&set(&more)), HashSet::new());
    }

    #[tokio::test]
    async fn a_peer_that_was_lost_is_dialled_on_our_own_networks_alone() {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(NodeConfig::new(folder.path(), Gate::default()))
            .await
            .unwrap();
        // Loopback is no network that one could move in.
        let (here, host) = (SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 9), "127.0.0.1");
        assert!(node.registry.may_dial(here, host).is_err());
        node.registry.note_lost(Lost {
            address: here,
            ours: Some(Ipv4Addr::LOCALHOST.into()),
        });
        assert!(node.registry.may_dial(here, host).is_ok());
        assert!(node.registry.gate().check(here, host).is_err());
        let dialled = node.registry.connect(here, None).await;
        assert!(matches!(dialled, Err(DialError::Forbidden(_))));
        node.stop().await;
    }
}
