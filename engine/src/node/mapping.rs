//! Asking the router to forward our UDP port: PCP, when that is refused NAT-PMP (RFC 6887, 6886), else UPnP IGD.
//!
//! For IPv4 alone, one port for the node. The mapping is renewed at half of its time, and taken back at the end. What
//! a router says about where we are is a hint like any peer's: a router that is itself behind another one helps
//! nobody, and then the port is not announced.

use super::registry::Registry;
use crab_nat::{
    InternetProtocol, MappingFailure, PortMapping, PortMappingOptions, PortMappingType, TimeoutConfig,
    natpmp, pcp,
};
use igd_next::aio::tokio::{Tokio, search_gateway};
use igd_next::{PortMappingProtocol, SearchOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

/// How long a mapping is asked for.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// Pause before a router that refused is asked again.
const RETRY: Duration = Duration::from_secs(600);
/// Waits for a router's PCP or NAT-PMP: 250 ms, 500 ms, 1 s.
const TIMEOUTS: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 2,
    max_retry_timeout: None,
};
/// Longest search for a UPnP gateway.
const SEARCH: Duration = Duration::from_secs(3);

/// Which router is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappingConfig {
    /// The router that is asked by PCP and NAT-PMP; `None` is the default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Where UPnP gateways are searched; `None` is the multicast group of SSDP.
    pub ssdp: Option<SocketAddr>,
}

/// A mapping that was granted.
enum Granted {
    Pcp(PortMapping),
    Upnp(igd_next::aio::Gateway<Tokio>, u16),
}

/// Keeps the port mapped until the node stops.
pub(super) async fn run(registry: Arc<Registry>, config: MappingConfig) {
    let mut stopping = registry.stopping();
    let Some(port) = registry
        .local_addrs()
        .iter()
        .find(|a| a.is_ipv4())
        .and_then(|a| NonZeroU16::new(a.port()))
    else {
        return;
    };
    loop {
        let granted = tokio::select! {
            granted = map(config, port, &registry) => granted,
            _ = stopping.wait_for(|s| *s) => return,
        };
        let pause = if granted.is_some() { LIFETIME / 2 } else { RETRY };
        registry.set_mapped(granted.as_ref().and_then(|(_, port)| *port));
        let stop = tokio::select! {
            () = tokio::time::sleep(pause) => false,
            // Another router may be ours now.
            () = registry.moves.notified() => false,
            _ = stopping.wait_for(|s| *s) => true,
        };
        if stop {
            if let Some((granted, _)) = granted {
                take_back(granted).await;
            }
            return;
        }
    }
}

/// Asks for the mapping. Gives it, with the port when it is of use to others.
async fn map(config: MappingConfig, port: NonZeroU16, registry: &Registry) -> Option<(Granted, Option<u16>)> {
    let gateway = config.gateway.or_else(default_gateway);
    if let Some(gateway) = gateway
        && let Ok(local) = local_towards(gateway, registry).await
    {
        let options = PortMappingOptions {
            external_port: Some(port),
            lifetime_seconds: Some(LIFETIME.as_secs() as u32),
            timeout_config: Some(TIMEOUTS),
        };
        let (router, udp) = (gateway.into(), InternetProtocol::Udp);
        let mut asked = PortMapping::new(router, local, udp, port, options).await;
        // The crate goes on with NAT-PMP only when the router names it.
        if matches!(&asked, Err(MappingFailure::Pcp(why)) if !matches!(why, pcp::Failure::Timeout)) {
            let older = natpmp::port_mapping(router, udp, port, options).await;
            asked = older.map_err(MappingFailure::from);
        }
        match asked {
            Ok(mapping) => {
                let external = match mapping.mapping_type() {
                    PortMappingType::Pcp { external_ip, .. } => Some(external_ip),
                    PortMappingType::NatPmp => natpmp::external_address(gateway.into(), Some(TIMEOUTS))
                        .await
                        .ok()
                        .map(IpAddr::V4),
                };
                let outside = mapping.external_port().get();
                tracing::info!(
                    port = outside,
                    ?external,
                    "the router forwards a port (PCP or NAT-PMP)"
                );
                return Some((Granted::Pcp(mapping), useful(external, outside)));
            }
            Err(e) => tracing::debug!(%gateway, "no mapping by PCP or NAT-PMP: {e}"),
        }
    }
    upnp(config, gateway, port, registry).await
}

async fn upnp(
    config: MappingConfig,
    gateway: Option<Ipv4Addr>,
    port: NonZeroU16,
    registry: &Registry,
) -> Option<(Granted, Option<u16>)> {
    let towards = config.ssdp.map_or(gateway, |ssdp| match ssdp.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    let local = local_towards(towards?, registry).await.ok()?;
    let mut options = SearchOptions::default();
    options.bind_addr = SocketAddr::new(local, 0);
    options.timeout = Some(SEARCH);
    options.single_search_timeout = Some(SEARCH);
    if let Some(ssdp) = config.ssdp {
        options.broadcast_address = ssdp;
    }
    // The crate accepts URLs at the address that answered only, so an answer leads to no other machine.
    let found = match search_gateway(options).await {
        Ok(found) => found,
        Err(e) => {
            tracing::debug!("no UPnP gateway: {e}");
            return None;
        }
    };
    let inside = SocketAddr::new(local, port.get());
    let seconds = LIFETIME.as_secs() as u32;
    let same = found
        .add_port(PortMappingProtocol::UDP, port.get(), inside, seconds, "Grove")
        .await;
    let outside = match same {
        Ok(()) => port.get(),
        Err(_) => match found
            .add_any_port(PortMappingProtocol::UDP, inside, seconds, "Grove")
            .await
        {
            Ok(outside) => outside,
            Err(e) => {
                tracing::debug!("no mapping by UPnP: {e}");
                return None;
            }
        },
    };
    let external = found.get_external_ip().await.ok();
    tracing::info!(port = outside, ?external, "the router forwards a port (UPnP)");
    Some((Granted::Upnp(found, outside), useful(external, outside)))
}

/// The port, unless the router has no address that the world can reach.
fn useful(external: Option<IpAddr>, port: u16) -> Option<u16> {
    external
        .is_none_or(|ip| gate::classify(ip) == gate::Class::Global)
        .then_some(port)
}

async fn take_back(granted: Granted) {
    let done = async {
        match granted {
            Granted::Pcp(mapping) => {
                if let Err((e, _)) = mapping.try_drop().await {
                    tracing::debug!("taking a mapping back: {e}");
                }
            }
            Granted::Upnp(gateway, port) => {
                if let Err(e) = gateway.remove_port(PortMappingProtocol::UDP, port).await {
                    tracing::debug!("taking a mapping back: {e}");
                }
            }
        }
    };
    // It ends by itself after its lifetime.
    let _ = tokio::time::timeout(Duration::from_secs(1), done).await;
}

/// Our address towards this one, as the system routes; nothing is sent.
async fn local_towards(gateway: Ipv4Addr, registry: &Registry) -> std::io::Result<IpAddr> {
    let bound = registry.local_addrs().into_iter().find(SocketAddr::is_ipv4);
    if let Some(bound) = bound.filter(|a| !a.ip().is_unspecified()) {
        return Ok(bound.ip());
    }
    let socket = tokio::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect((gateway, 9)).await?;
    Ok(socket.local_addr()?.ip())
}

/// The default gateway, where the system says it in `/proc/net/route` (Linux).
fn default_gateway() -> Option<Ipv4Addr> {
    parse_route(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// The gateway of the default route with the least metric.
fn parse_route(table: &str) -> Option<Ipv4Addr> {
    let routes = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, destination, gateway, flags, _, _, metric, mask, ..] = fields.as_slice() else {
            return None;
        };
        // Up, and a gateway.
        let flags = u16::from_str_radix(flags, 16).ok()?;
        let default = *destination == "00000000" && *mask == "00000000" && flags & 3 == 3;
        // The kernel prints the four bytes as one number of the machine's order.
        let gateway = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
        default.then_some((metric.parse::<u32>().ok()?, gateway))
    });
    routes.min().map(|(_, gateway)| gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_with_the_least_metric_counts() {
        let table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
            wlan0\t00000000\tFE01A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
            eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
            eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(parse_route(table), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(parse_route("Iface\n"), None);
    }
}
