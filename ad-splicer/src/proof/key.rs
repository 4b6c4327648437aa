//! Keys: one secret for each publisher, and from it one signing key for each playback.
//!
//! A key that stayed the same would follow a person from episode to episode. So what signs, and what the ad server sees, is
//! made anew for each playback out of the secret and the playback's nonce: nobody without the secret can tell that two of
//! them belong together. The secret never leaves the device, and has nothing to do with any key of the swarm.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

/// The viewer's secret for one publisher. Never shown.
#[derive(Clone)]
pub struct ViewerSecret([u8; 32]);

impl fmt::Debug for ViewerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewerSecret")
    }
}

impl ViewerSecret {
    /// Out of the 32 bytes that are kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The signing key of the playback with this nonce.
    pub fn for_playback(&self, nonce: &[u8; 16]) -> PlaybackKey {
        let mut hash = Sha256::new();
        hash.update(b"grove playback key 1");
        hash.update(self.0);
        hash.update(nonce);
        let seed: [u8; 32] = hash.finalize().into();
        PlaybackKey(SigningKey::from_bytes(&seed))
    }
}

/// Signs the account of one playback. Never shown.
#[derive(Clone)]
pub struct PlaybackKey(SigningKey);

impl fmt::Debug for PlaybackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlaybackKey(of {})", hex::encode(self.public()))
    }
}

impl PlaybackKey {
    /// What others know it by.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_playback_has_the_same_key_again_and_another_playback_or_viewer_another() {
        let secret = ViewerSecret::from_bytes([1; 32]);
        let key = secret.for_playback(&[7; 16]).public();
        assert_eq!(key, secret.for_playback(&[7; 16]).public());
        assert_ne!(key, secret.for_playback(&[8; 16]).public());
        assert_ne!(
            key,
            ViewerSecret::from_bytes([2; 32]).for_playback(&[7; 16]).public()
        );
    }
}
