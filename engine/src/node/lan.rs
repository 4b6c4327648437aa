//! Finding peers on the local network (mDNS, DNS-SD: RFC 6762, 6763), never for private torrents.
//!
//! A service of type `_grove._udp` stands for one torrent here, under a subtype that is its derived key: who asks for
//! that key finds us, and nothing else is said about the torrent. The daemon (crate `mdns-sd`) is one thread for the
//! process; it is quiet on loopback, and on all interfaces but those that `listen` names.
//!
//! What the local network names may be dialled although it is private, but only when it is on a network of one of our
//! interfaces, and a bounded number of addresses in all.

use super::candidates::Heard;
use super::inbox::Msg;
use super::registry::Registry;
use crate::swarm::PeerId;
use gate::Gate;
use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

const SERVICE: &str = "_grove._udp.local.";
/// How long the first look may keep a download from giving up.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// Longest wait for the daemon to say goodbye.
const GOODBYE: Duration = Duration::from_millis(300);
/// Addresses that are trusted because they are near.
const MAX_NEAR: usize = 512;
/// Addresses that are taken of one service.
const MAX_ADDRESSES: usize = 4;

/// The daemon, which ends with this.
pub(super) struct Lan {
    daemon: ServiceDaemon,
    /// The addresses to announce; empty for those of the interfaces.
    addresses: Vec<IpAddr>,
    near: Mutex<HashSet<SocketAddr>>,
}

impl std::fmt::Debug for Lan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lan")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.daemon.shutdown();
    }
}

impl Lan {
    /// Starts the daemon on the interfaces that belong to these addresses.
    pub(super) fn start(listen: &[SocketAddr]) -> Result<Self, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        let addresses: Vec<IpAddr> = listen
            .iter()
            .map(SocketAddr::ip)
            .filter(|ip| !ip.is_unspecified())
            .collect();
        if addresses.is_empty() {
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
        } else {
            daemon.disable_interface(IfKind::All)?;
            for address in &addresses {
                daemon.enable_interface(IfKind::Addr(*address))?;
            }
        }
        Ok(Self {
            daemon,
            addresses,
            near: Mutex::default(),
        })
    }

    /// Tells the network that our services are gone.
    pub(super) async fn say_goodbye(&self) {
        if let Ok(ended) = self.daemon.shutdown() {
            // It makes no difference whether it ends in time: what it announced expires.
            let _ = tokio::time::timeout(GOODBYE, ended.recv_async()).await;
        }
    }

    fn register(&self, key: &str, id: PeerId, port: u16) -> Result<String, mdns_sd::Error> {
        let name = hex::encode(&id.0[..8]);
        let subtype = format!("_{key}._sub.{SERVICE}");
        let host = format!("grove-{name}.local.");
        let instance = format!("{name}-{}", &key[..8]);
        let properties: [(&str, &str); 0] = [];
        let mut info = ServiceInfo::new(
            &subtype,
            &instance,
            &host,
            self.addresses.as_slice(),
            port,
            &properties[..],
        )?;
        if self.addresses.is_empty() {
            info = info.enable_addr_auto();
        }
        let full = info.get_fullname().to_owned();
        self.daemon.register(info)?;
        Ok(full)
    }

    /// Lets an address be dialled that is on a network of ours, whatever its class.
    fn trust(&self, gate: &Gate, address: SocketAddr) {
        let mut near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
        if near.len() < MAX_NEAR && is_on_our_network(address.ip()) && near.insert(address) {
            gate.trust(&address.ip().to_string(), address.port());
        }
    }
}

/// Whether an address is on a network of one of our interfaces, loopback apart.
pub(super) fn is_on_our_network(address: IpAddr) -> bool {
    let Ok(interfaces) = if_addrs::get_if_addrs() else {
        return false;
    };
    interfaces
        .iter()
        .filter(|i| !i.is_loopback())
        .any(|i| match (&i.addr, address) {
            (if_addrs::IfAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::from(own.netmask);
                u32::from(own.ip) & mask == u32::from(other) & mask
            }
            (if_addrs::IfAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::from(own.netmask);
                u128::from(own.ip) & mask == u128::from(other) & mask
            }
            _ => false,
        })
}

/// Takes a service back, however its torrent ends.
struct Registered<'a> {
    lan: &'a Lan,
    subtype: String,
    name: String,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        // The daemon may be gone already.
        let _ = self.lan.daemon.stop_browse(&self.subtype);
        let _ = self.lan.daemon.unregister(&self.name);
    }
}

/// Looks for peers under this key and answers those who do, until it is aborted.
pub(super) async fn run(registry: Arc<Registry>, key: [u8; 20], driver: mpsc::Sender<Msg>) {
    if let Err(e) = look(&registry, key, &driver).await {
        tracing::info!("the local network cannot be asked for peers: {e}");
    }
    let _ = driver.send(found(Vec::new(), true)).await;
}

fn found(addresses: Vec<SocketAddr>, first_look_over: bool) -> Msg {
    Msg::Found {
        heard: Heard::Lan,
        addresses,
        first_look_over,
    }
}

async fn look(
    registry: &Arc<Registry>,
    key: [u8; 20],
    driver: &mpsc::Sender<Msg>,
) -> Result<(), mdns_sd::Error> {
    let Some(lan) = registry.lan() else { return Ok(()) };
    let Some(local) = registry.local_addrs().into_iter().min_by_key(|a| !a.is_ipv4()) else {
        return Ok(());
    };
    let key = hex::encode(key);
    let subtype = format!("_{key}._sub.{SERVICE}");
    let name = lan.register(&key, registry.id(), local.port())?;
    let events = lan.daemon.browse(&subtype)?;
    let _registered = Registered {
        lan,
        subtype,
        name: name.clone(),
    };
    let first_look = tokio::time::sleep(FIRST_LOOK);
    tokio::pin!(first_look);
    let mut looked = false;
    loop {
        let event = tokio::select! {
            event = events.recv_async() => event,
            () = &mut first_look, if !looked => {
                looked = true;
                if driver.send(found(Vec::new(), true)).await.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        let Ok(event) = event else { return Ok(()) };
        if let ServiceEvent::ServiceResolved(service) = event
            && service.get_fullname() != name
        {
            let port = service.get_port();
            // Link-local IPv6 needs an interface, which an address to dial does not carry.
            let near: Vec<SocketAddr> = service
                .get_addresses()
                .iter()
                .map(mdns_sd::ScopedIp::to_ip_addr)
                .filter(|ip| ip.is_ipv4() == local.is_ipv4())
                .filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
                .take(MAX_ADDRESSES)
                .map(|ip| SocketAddr::new(ip, port))
                .collect();
            for &address in &near {
                lan.trust(registry.gate(), address);
            }
            if driver.send(found(near, false)).await.is_err() {
                return Ok(());
            }
        }
    }
}
