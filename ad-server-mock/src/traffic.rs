//! Invalid traffic: who asks and reports, but is no listener.
//!
//! Pure. By user agent as podcast measurement has it (IAB 2.3: bots, watchOS, malformed), by networks that the operator
//! lists (data centres), and by how much one of them asks ([`rate`]). A user agent that is not sent is taken:
//! privacy-minded clients send none. Not for beacons that nobody signed: see `sign`.

pub mod rate;

use std::net::IpAddr;

/// Words of user agents that no listener has, in lower case. Whole lists exist (IAB/ABC Spiders and Bots) and are sold;
/// these are what names itself openly.
const BOTS: [&str; 13] = [
    "bot/",
    "bot;",
    "+http",
    "crawler",
    "spider",
    "slurp",
    "facebookexternalhit",
    "headlesschrome",
    "phantomjs",
    "python-requests",
    "go-http-client",
    "scrapy",
    "pingdom",
];

/// Why a user agent is not a listener's, if it is not.
pub fn invalid_agent(agent: Option<&str>) -> Option<&'static str> {
    let agent = agent?;
    if agent.is_empty() || agent.len() > 1024 || agent.bytes().any(|b| !(0x20..0x7f).contains(&b)) {
        return Some("malformed_agent");
    }
    let lower = agent.to_ascii_lowercase();
    if lower.contains("watchos") || lower.contains("apple watch") {
        return Some("watch_os");
    }
    (BOTS.iter().any(|b| lower.contains(b)) || lower.ends_with("bot")).then_some("bot")
}

/// Networks, each an address and the number of bits that count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// From lines such as `192.0.2.0/24` or `2001:db8::/32`; blank lines and what follows `#` are left out.
    ///
    /// Errors name the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut networks = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (address, bits) = line.split_once('/').unwrap_or((line, ""));
            let bad = || format!("line {}: {line:?} is not a network, such as 192.0.2.0/24", n + 1);
            let address: IpAddr = address.parse().map_err(|_| bad())?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = if bits.is_empty() {
                most
            } else {
                bits.parse().ok().filter(|b| *b <= most).ok_or_else(bad)?
            };
            networks.push((address, bits));
        }
        Ok(Self(networks))
    }

    /// Whether an address is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let number = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32),
            IpAddr::V6(ip) => (u128::from(ip), 128),
        };
        let address = address.to_canonical();
        let (ip, width) = number(address);
        self.0.iter().any(|(network, bits)| {
            let (network, other) = number(*network);
            let shift = u32::from(width - bits);
            // A shift by the whole width is every address.
            width == other && ip.checked_shr(shift).unwrap_or(0) == network.checked_shr(shift).unwrap_or(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_that_are_no_listeners_are_named() {
        let table = [
            (None, None),
            (Some("Grove/0.1.0"), None),
            (
                Some("AppleCoreMedia/1.0.0 (iPhone; U; CPU OS 17_0 like Mac OS X)"),
                None,
            ),
            (Some("Mozilla/5.0 (X11; Linux) Cubot Phone"), None),
            (
                Some("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
                Some("bot"),
            ),
            (Some("MyBot"), Some("bot")),
            (
                Some("AppleCoreMedia/1.0 (Apple Watch; watchOS 10)"),
                Some("watch_os"),
            ),
            (Some(""), Some("malformed_agent")),
            (Some("a\u{7f}"), Some("malformed_agent")),
        ];
        for (agent, why) in table {
            assert_eq!(invalid_agent(agent), why, "{agent:?}");
        }
    }

    #[test]
    fn networks_are_told_apart() {
        let networks =
            Networks::parse("# data centres\n192.0.2.0/24\n2001:db8::/32 # six\n198.51.100.7\n").unwrap();
        for (address, inside) in [
            ("192.0.2.9", true),
            ("::ffff:192.0.2.9", true),
            ("192.0.3.9", false),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), inside, "{address}");
        }
        assert!(Networks::parse("0.0.0.0/0").unwrap().contain([9, 9, 9, 9].into()));
        for bad in ["192.0.2.0/33", "x", "192.0.2.0/x"] {
            assert!(Networks::parse(bad).unwrap_err().contains("line 1"), "{bad}");
        }
    }
}
