//! Personal swarms: a torrent that only those find, and only those are told of, who hold a secret.
//!
//! The secret is in the link that one person gives another. What is known to others is derived from it, each by a tag
//! of its own, so that none leads to another or back: the name under which both sides ask trackers
//! ([`Secret::rendezvous`]), and the name of the swarm on the wire in place of the info hash ([`Secret::swarm`]).
//! Each side proves in its hello that it holds the secret, over keying material of this very TLS connection (RFC 5705,
//! RFC 9266): a proof is worth nothing on another connection, so nobody in between can pass it on. The side that
//! opened the stream proves first; the other says nothing at all before.
//!
//! Not for: keeping the secret, or the link (`magnet`).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The hello extension that carries the proof.
pub const EXTENSION: &str = "personal";

/// The label of the keying material.
pub const LABEL: &[u8] = b"EXPORTER-grove-personal";

/// Which side of a control stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It opened the stream.
    Opener,
    /// It answers.
    Answerer,
}

/// 16 random bytes, known to those who hold the link. Never logged: `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A new one.
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// As 32 hex digits, for the link.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    fn derive(self, tag: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(tag)
            .chain_update(self.0)
            .finalize()
            .into()
    }

    /// What names the swarm on the wire, where the info hash is otherwise.
    pub fn swarm(self) -> [u8; 32] {
        self.derive(b"grove personal swarm 1")
    }

    /// Under which both sides announce to trackers.
    pub fn rendezvous(self) -> [u8; 20] {
        let mut key = [0; 20];
        key.copy_from_slice(&self.derive(b"grove personal rendezvous 1")[..20]);
        key
    }

    fn mac(self, side: Side, keying: &[u8; 32]) -> Hmac<Sha256> {
        // HMAC fills a key up with zeros to the block of its hash (RFC 2104).
        let mut key = [0; 64];
        key[..32].copy_from_slice(&self.derive(b"grove personal proof 1"));
        let mut mac = Hmac::<Sha256>::new(&key.into());
        mac.update(match side {
            Side::Opener => b"opener",
            Side::Answerer => b"answer",
        });
        mac.update(keying);
        mac
    }

    /// Proves that this side of the connection with this keying material holds the secret.
    pub fn prove(self, side: Side, keying: &[u8; 32]) -> [u8; 32] {
        self.mac(side, keying).finalize().into_bytes().into()
    }

    /// Whether that is the proof of this side, in constant time.
    pub fn is_proof(self, side: Side, keying: &[u8; 32], proof: &[u8]) -> bool {
        self.mac(side, keying).verify_slice(proof).is_ok()
    }
}

impl FromStr for Secret {
    type Err = hex::FromHexError;

    /// Reads 32 hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_secret_one_side_and_one_connection() {
        let (secret, other) = (Secret([7; 16]), Secret([8; 16]));
        let keying = [1; 32];
        let proof = secret.prove(Side::Opener, &keying);
        assert!(secret.is_proof(Side::Opener, &keying, &proof));
        assert!(!secret.is_proof(Side::Answerer, &keying, &proof));
        assert!(!secret.is_proof(Side::Opener, &[2; 32], &proof));
        assert!(!other.is_proof(Side::Opener, &keying, &proof));
        assert!(!secret.is_proof(Side::Opener, &keying, &proof[..31]));
        assert!(!secret.is_proof(Side::Opener, &keying, &[]));
    }

    #[test]
    fn what_is_shown_tells_nothing_of_the_rest() {
        let secret = Secret([7; 16]);
        assert_ne!(secret.swarm()[..20], secret.rendezvous());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.to_hex().parse(), Ok(secret));
        assert!("07".parse::<Secret>().is_err() && "zz".repeat(16).parse::<Secret>().is_err());
    }
}
