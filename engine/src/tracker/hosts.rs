//! How much each host has of what there is for all. Pure: counts alone.

use std::collections::HashMap;
use std::net::IpAddr;

use gate::household;

/// Shares that are taken, by host.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<IpAddr, usize>);

impl Hosts {
    /// How much the host of this address has.
    pub(super) fn of(&self, address: IpAddr) -> usize {
        self.0.get(&household(address)).copied().unwrap_or(0)
    }

    /// Takes one, unless its host has `most`.
    pub(super) fn take(&mut self, address: IpAddr, most: usize) -> bool {
        let free = self.of(address) < most;
        if free {
            *self.0.entry(household(address)).or_default() += 1;
        }
        free
    }

    /// Gives one back.
    pub(super) fn give(&mut self, address: IpAddr) {
        if let Some(count) = self.0.get_mut(&household(address)) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&household(address));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_share_and_is_forgotten_with_its_last() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut hosts = Hosts::default();
        assert!(hosts.take(ip("2001:db8:1:2::1"), 2) && hosts.take(ip("2001:db8:1:2:ffff::9"), 2));
        assert!(
            !hosts.take(ip("2001:db8:1:2::3"), 2),
            "a network of 64 bits is one"
        );
        assert!(hosts.take(ip("2001:db8:1:3::1"), 2));
        assert!(hosts.take(ip("192.0.2.1"), 1) && !hosts.take(ip("::ffff:192.0.2.1"), 1));
        hosts.give(ip("2001:db8:1:2::7"));
        assert!(hosts.take(ip("2001:db8:1:2::3"), 2));
        for address in ["2001:db8:1:2::", "2001:db8:1:2::", "2001:db8:1:3::", "192.0.2.1"] {
            hosts.give(ip(address));
        }
        hosts.give(ip("203.0.113.1"));
        assert!(hosts.0.is_empty());
    }
}
