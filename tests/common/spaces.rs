//! Network namespaces: machines with lines between them, and routers that translate addresses as home routers do.
//!
//! Needs root, `ip`, `nft`: a missing one fails the test. Everything goes when the value does.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Grove, PATIENCE, grove};

/// How a router translates addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The port stays the same whoever is spoken to, and only who was spoken to may answer.
    PortRestricted,
    /// Each one who is spoken to sees another port.
    Symmetric,
}

/// Namespaces of one test.
pub struct Spaces {
    prefix: String,
    names: Vec<String>,
    children: Vec<Child>,
}

impl Spaces {
    pub fn new(test: &str) -> Self {
        Self {
            prefix: format!("gs{}{test}", std::process::id()),
            names: Vec::new(),
            children: Vec::new(),
        }
    }

    pub fn full(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A machine with nothing but loopback.
    pub fn machine(&mut self, name: &str) {
        let full = self.full(name);
        self.ip(&["netns", "add", &full]);
        self.names.push(full.clone());
        self.ip(&["-n", &full, "link", "set", "lo", "up"]);
        // A machine that forwards is a router; others must not.
        self.run(name, &["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
        self.run(
            name,
            &[
                "sysctl",
                "-qw",
                "net.ipv6.conf.all.accept_dad=0",
                "net.ipv6.conf.default.accept_dad=0",
            ],
        );
    }

    /// A line between two machines; each end is a name, a device and addresses with their prefix. It is ready for use.
    pub fn line(&self, one: (&str, &str, &[&str]), other: (&str, &str, &[&str])) {
        let (a, b) = (self.full(one.0), self.full(other.0));
        self.ip(&[
            "-n", &a, "link", "add", one.1, "type", "veth", "peer", "name", other.1, "netns", &b,
        ]);
        for (machine, device, addresses) in [one, other] {
            let machine = self.full(machine);
            for address in addresses {
                self.ip(&["-n", &machine, "addr", "add", address, "dev", device]);
            }
            self.ip(&["-n", &machine, "link", "set", device, "up"]);
        }
        for (machine, device, _) in [one, other] {
            self.wait_for_addresses(machine, device);
        }
    }

    /// The kernel adds an IPv6 address a moment after both ends are up, and looks for duplicates of all of them.
    fn wait_for_addresses(&self, machine: &str, device: &str) {
        let began = std::time::Instant::now();
        loop {
            let shown = Command::new("ip")
                .args([
                    "-n",
                    &self.full(machine),
                    "-6",
                    "-o",
                    "addr",
                    "show",
                    "dev",
                    device,
                ])
                .output()
                .expect("this test needs the command ip: apt-get install iproute2");
            let shown = String::from_utf8_lossy(&shown.stdout);
            if shown.contains("fe80:") && !shown.contains("tentative") {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{device} has no address yet: {shown}");
        }
    }

    pub fn default_route(&self, name: &str, via: &str) {
        let family = if via.contains(':') { "-6" } else { "-4" };
        self.ip(&[
            family,
            "-n",
            &self.full(name),
            "route",
            "replace",
            "default",
            "via",
            via,
        ]);
    }

    pub fn forward(&self, name: &str) {
        self.run(
            name,
            &[
                "sysctl",
                "-qw",
                "net.ipv4.ip_forward=1",
                "net.ipv6.conf.all.forwarding=1",
            ],
        );
    }

    /// Makes a machine a home router: `wan` is the device to the world, which lets in only what was asked for.
    pub fn translate(&self, name: &str, wan: &str, nat: Nat) {
        self.forward(name);
        let masquerade = match nat {
            Nat::PortRestricted => "masquerade",
            Nat::Symmetric => "masquerade fully-random",
        };
        let rules = format!(
            "table ip nat {{
                chain post {{
                    type nat hook postrouting priority 100
                    oifname \"{wan}\" {masquerade}
                }}
            }}
            table ip filter {{
                chain forward {{
                    type filter hook forward priority 0
                    iifname \"{wan}\" ct state established,related accept
                    iifname \"{wan}\" ct status dnat accept
                    iifname \"{wan}\" drop
                }}
                chain input {{
                    type filter hook input priority 0
                    iifname \"{wan}\" ct state established,related accept
                    iifname \"{wan}\" drop
                }}
            }}
            "
        );
        self.nft(name, &rules);
    }

    /// Adds rules to a machine's packet filter.
    pub fn nft(&self, name: &str, rules: &str) {
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &self.full(name), "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("this test needs the command ip: apt-get install iproute2");
        std::io::Write::write_all(&mut nft.stdin.take().expect("a pipe"), rules.as_bytes())
            .expect("this test needs the command nft: apt-get install nftables");
        let status = nft.wait().expect("a child can be waited for");
        assert!(
            status.success(),
            "this test needs the command nft: apt-get install nftables"
        );
    }

    /// The rules of a machine's packet filter.
    pub fn nft_rules(&self, name: &str) -> String {
        let done = Command::new("ip")
            .args(["netns", "exec", &self.full(name), "nft", "list", "ruleset"])
            .output()
            .expect("this test needs the command ip: apt-get install iproute2");
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    pub fn ip(&self, words: &[&str]) {
        let done = Command::new("ip").args(words).output();
        let done = done.expect("this test needs the command ip: apt-get install iproute2");
        assert!(
            done.status.success(),
            "this test must be root to make network namespaces: ip {words:?} ({}): {}",
            self.prefix,
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// Runs a command on a machine.
    pub fn run(&self, name: &str, words: &[&str]) {
        let space = self.full(name);
        let mut all = vec!["netns", "exec", &space];
        all.extend(words);
        self.ip(&all);
    }

    /// Starts a program on a machine; it is killed with this.
    pub fn start(&mut self, name: &str, words: &[&str], hint: &str) {
        let child = Command::new("ip")
            .args(["netns", "exec", &self.full(name)])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.children
            .push(child.unwrap_or_else(|e| panic!("this test needs {}: {hint} ({e})", words[0])));
    }

    /// A `grove` on a machine.
    pub fn grove(&self, name: &str, at: &Path, words: &[&str]) -> Grove {
        grove(at, words).through(["ip", "netns", "exec", &self.full(name)])
    }
}

impl Drop for Spaces {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}
