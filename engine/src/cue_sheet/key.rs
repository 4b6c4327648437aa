//! A publisher's Ed25519 key, and the file that keeps it.
//!
//! The file holds the 32 secret bytes as one line of hex, readable by its owner alone. It appears complete or
//! not at all, and is never overwritten.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand::TryRng;

/// An Ed25519 public key: who a publisher is. Shown as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From its 32 bytes. Bytes that are no key are taken, but verify nothing.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 16 hex digits in groups of four, for people to compare.
    pub fn fingerprint(&self) -> String {
        let groups: Vec<String> = self.0[..8].chunks(2).map(hex::encode).collect();
        groups.join("-")
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = hex::FromHexError;

    /// Reads 64 hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Reading or writing failed.
    #[error("cannot {doing} the key file {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the key file {} can be read by others (mode {mode:03o}): run chmod 600 on it, or use a new key if it may be known", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not 64 hex digits.
    #[error("the key file {} does not hold a key: one line of 64 hex digits", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error("the system gives no random numbers for a new key: {0}")]
    Random(String),
}

/// An Ed25519 secret key. Never shown.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

impl SecretKey {
    /// From the 32 secret bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&bytes))
    }

    /// A new key from the system's random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        rand::rngs::SysRng
            .try_fill_bytes(&mut bytes)
            .map_err(|error| KeyError::Random(error.to_string()))?;
        Ok(Self::from_bytes(bytes))
    }

    /// The key that is kept at `path`; made first when there is none, with the folders above it.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                match Self::generate()?.create(path) {
                    // Someone else was first: theirs is the key.
                    Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                        Self::load(path)
                    }
                    created => created,
                }
            }
            loaded => loaded,
        }
    }

    /// The key that is kept at `path`. On Unix a file that others can read is refused.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File {
            doing: "read",
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(failed)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Mode {
                    path: path.to_owned(),
                    mode,
                });
            }
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| KeyError::Content {
            path: path.to_owned(),
        })?;
        Ok(Self::from_bytes(bytes))
    }

    /// Writes the key beside `path`, then links it there: complete, or not at all, or already there.
    fn create(self, path: &Path) -> Result<Self, KeyError> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let public = self.public().fingerprint();
        let draft = folder.join(format!(".key-{public}.new"));
        let written = fs::create_dir_all(folder).and_then(|()| {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            {
                use std::os::unix::fs::OpenOptionsExt;
                options.mode(0o600);
            }
            let mut file = options.open(&draft)?;
            writeln!(file, "{}", hex::encode(self.0.to_bytes()))?;
            file.sync_all()?;
            fs::hard_link(&draft, path)
        });
        // The draft is only a name for the same file now, or rubbish; failing to remove it changes nothing.
        let _ = fs::remove_file(&draft);
        written.map_err(|source| KeyError::File {
            doing: "create",
            path: path.to_owned(),
            source,
        })?;
        Ok(self)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_made_once_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("keys/publisher.key");
        let made = SecretKey::load_or_create(&path).expect("a new key");
        assert_eq!(
            fs::metadata(&path).expect("it is there").permissions().mode() & 0o777,
            0o600
        );
        let files = fs::read_dir(folder.path().join("keys"))
            .expect("the folder")
            .count();
        assert_eq!(files, 1, "no draft is left behind");
        let loaded = SecretKey::load_or_create(&path).expect("the same key");
        assert_eq!(loaded.public(), made.public());
        assert!(matches!(
            SecretKey::generate().expect("random").create(&path),
            Err(KeyError::File { .. })
        ));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("our file");
        assert!(matches!(
            SecretKey::load_or_create(&path),
            Err(KeyError::Mode { mode: 0o644, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our file");
        fs::write(&path, "rubbish").expect("our file");
        assert!(matches!(
            SecretKey::load_or_create(&path),
            Err(KeyError::Content { .. })
        ));
    }

    #[test]
    fn public_keys_read_back_and_verify() {
        let key = SecretKey::from_bytes([5; 32]);
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert_eq!(key.public().fingerprint().len(), 19);
        let signature = key.sign(b"this");
        assert!(key.public().verifies(b"this", &signature));
        assert!(!key.public().verifies(b"that", &signature));
        assert!(!PublicKey::from_bytes([0xff; 32]).verifies(b"this", &signature));
        assert!(
            !format!("{key:?}").contains("05050505"),
            "a secret is never shown"
        );
    }
}
