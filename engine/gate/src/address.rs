//! Which addresses belong to the public Internet (IANA special-purpose registries, RFC 6890 and successors).
//!
//! Pure; judges the address alone. Addresses that carry an IPv4 address inside (mapped, NAT64, 6to4, Teredo) are
//! refused as a kind: what they lead to depends on the network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// The public Internet.
    Global,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// RFC 1918 and unique local addresses (RFC 4193), site-local.
    Private,
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// Carrier-grade NAT, `100.64.0.0/10` (RFC 6598).
    CarrierNat,
    /// An IPv4 address inside an IPv6 one: mapped, compatible, NAT64, 6to4, Teredo.
    Embedded,
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// Multicast and broadcast.
    Multicast,
    /// Documentation and benchmarking ranges.
    Documentation,
    /// Reserved by IANA for other uses.
    Reserved,
}

impl Class {
    /// Kinds that `allow_private` accepts. The others are never somebody's server.
    pub fn is_private(self) -> bool {
        matches!(
            self,
            Self::Loopback | Self::Private | Self::LinkLocal | Self::CarrierNat
        )
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Global => "global",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::CarrierNat => "carrier NAT",
            Self::Embedded => "mapped or translated",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Documentation => "documentation",
            Self::Reserved => "reserved",
        })
    }
}

/// The kind of an address.
pub fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

/// Whether it is of use to tell somebody at `to` of `address`: a loopback address means something on its own machine
/// only, a private one in its own network only. To others it would be noise, and would show what lies behind a router.
pub fn is_meaningful_to(address: IpAddr, to: IpAddr) -> bool {
    let depth = |ip: IpAddr| match classify(ip.to_canonical()) {
        Class::Loopback => 2,
        Class::Private | Class::LinkLocal | Class::CarrierNat => 1,
        _ => 0,
    };
    depth(address) <= depth(to)
}

#[allow(clippy::match_same_arms, reason = "a table: one registry entry a line")]
fn classify_v4(a: Ipv4Addr) -> Class {
    match a.octets() {
        [0, ..] => Class::Unspecified,
        [127, ..] => Class::Loopback,
        [10, ..] | [192, 168, ..] => Class::Private,
        [172, b, ..] if b & 0xf0 == 16 => Class::Private,
        [100, b, ..] if b & 0xc0 == 64 => Class::CarrierNat,
        [169, 254, ..] => Class::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Documentation,
        [198, 18 | 19, ..] => Class::Documentation,
        [192, 0, 0, _] | [192, 88, 99, _] => Class::Reserved,
        [255, 255, 255, 255] => Class::Multicast,
        [b, ..] if b & 0xf0 == 0xe0 => Class::Multicast,
        [b, ..] if b & 0xf0 == 0xf0 => Class::Reserved,
        _ => Class::Global,
    }
}

#[allow(clippy::match_same_arms, reason = "a table: one registry entry a line")]
fn classify_v6(a: Ipv6Addr) -> Class {
    let s = a.segments();
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // ::/96 (compatible), ::ffff:0:0/96 (mapped), ::ffff:0:0:0/96 (translated, RFC 2765).
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Class::Embedded,
        // NAT64: well-known (RFC 6052) and local-use (RFC 8215) prefixes.
        [0x64, 0xff9b, 0 | 1, ..] => Class::Embedded,
        // 6to4, Teredo.
        [0x2002, ..] | [0x2001, 0, ..] => Class::Embedded,
        [0x2001, 0xdb8, ..] => Class::Documentation,
        [0x3fff, b, ..] if b < 0x1000 => Class::Documentation,
        [0x2001, 2, 0, ..] => Class::Documentation,
        // The rest of 2001::/23 is for protocols, not hosts.
        [0x2001, b, ..] if b < 0x200 => Class::Reserved,
        [b, ..] if b & 0xffc0 == 0xfe80 => Class::LinkLocal,
        [b, ..] if b & 0xffc0 == 0xfec0 => Class::Private,
        [b, ..] if b & 0xfe00 == 0xfc00 => Class::Private,
        [b, ..] if b & 0xff00 == 0xff00 => Class::Multicast,
        // Only 2000::/3 is given out as global unicast.
        [b, ..] if b & 0xe000 == 0x2000 => Class::Global,
        _ => Class::Reserved,
    }
}

/// What one household, server or subscriber usually has: an IPv4 address, or a network of 64 bits (RFC 6177).
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_only_where_they_mean_something() {
        let table = [
            ("127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "::1", true),
            ("127.0.0.1", "192.168.1.2", false),
            ("127.0.0.1", "93.184.216.34", false),
            ("192.168.1.2", "10.0.0.1", true),
            ("192.168.1.2", "127.0.0.1", true),
            ("192.168.1.2", "93.184.216.34", false),
            ("fd00::1", "2606:4700::1111", false),
            ("93.184.216.34", "1.1.1.1", true),
            ("93.184.216.34", "127.0.0.1", true),
        ];
        for (address, to, useful) in table {
            let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
            assert_eq!(
                is_meaningful_to(parse(address), parse(to)),
                useful,
                "{address} to {to}"
            );
        }
    }

    #[test]
    fn every_special_range_is_told_apart() {
        let table = [
            ("1.1.1.1", Class::Global),
            ("93.184.216.34", Class::Global),
            ("0.0.0.0", Class::Unspecified),
            ("0.1.2.3", Class::Unspecified),
            ("10.0.0.1", Class::Private),
            ("11.0.0.1", Class::Global),
            ("100.63.255.255", Class::Global),
            ("100.64.0.1", Class::CarrierNat),
            ("100.127.255.255", Class::CarrierNat),
            ("100.128.0.0", Class::Global),
            ("127.0.0.1", Class::Loopback),
            ("127.255.255.254", Class::Loopback),
            ("169.254.169.254", Class::LinkLocal),
            ("172.15.255.255", Class::Global),
            ("172.16.0.1", Class::Private),
            ("172.31.255.255", Class::Private),
            ("172.32.0.1", Class::Global),
            ("192.0.0.1", Class::Reserved),
            ("192.0.2.1", Class::Documentation),
            ("192.168.1.1", Class::Private),
            ("198.18.0.1", Class::Documentation),
            ("198.20.0.1", Class::Global),
            ("203.0.113.9", Class::Documentation),
            ("224.0.0.1", Class::Multicast),
            ("239.255.255.255", Class::Multicast),
            ("240.0.0.1", Class::Reserved),
            ("255.255.255.255", Class::Multicast),
            ("::", Class::Unspecified),
            ("::1", Class::Loopback),
            ("::7f00:1", Class::Embedded),
            ("::ffff:127.0.0.1", Class::Embedded),
            ("::ffff:1.1.1.1", Class::Embedded),
            ("::ffff:0:127.0.0.1", Class::Embedded),
            ("64:ff9b::7f00:1", Class::Embedded),
            ("64:ff9b:1::1", Class::Embedded),
            ("2002:7f00:1::", Class::Embedded),
            ("2001:0:1::1", Class::Embedded),
            ("2001:db8::1", Class::Documentation),
            ("3fff::1", Class::Documentation),
            ("2001:10::1", Class::Reserved),
            ("2001:4860:4860::8888", Class::Global),
            ("2606:4700::1111", Class::Global),
            ("fc00::1", Class::Private),
            ("fdff::1", Class::Private),
            ("fe80::1", Class::LinkLocal),
            ("fec0::1", Class::Private),
            ("ff02::1", Class::Multicast),
            ("100::1", Class::Reserved),
        ];
        for (text, class) in table {
            let address: IpAddr = text.parse().expect(text);
            assert_eq!(classify(address), class, "{text}");
        }
    }
}
