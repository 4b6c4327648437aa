//! The key of this process, and the TLS configurations that show it and ask for the other side's.
//!
//! TLS 1.3 only, ring, AES-128-GCM first; no tickets and no early data, so that nothing links two connections; no
//! server name on the wire. The id that a dialer expects, if it does, travels inside the process in the server name:
//! two labels of 32 hex digits.

use crate::swarm::PeerId;
use crate::wire::ALPN;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What comes before the 32 key bytes in the SubjectPublicKeyInfo of an Ed25519 key (RFC 8410).
const ED25519_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The server name for a peer whose id is not known before.
const ANYONE: &str = "peer.invalid";

/// Why no identity could be made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No key or certificate.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// No TLS configuration.
    #[error("cannot configure TLS: {0}")]
    Tls(#[from] Error),
    /// The cipher suites do not fit QUIC.
    #[error("cannot configure QUIC's encryption: {0}")]
    Quic(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// A fresh key with its certificate, and the configurations for both sides of a handshake.
pub struct Identity {
    id: PeerId,
    pub(super) client: Arc<QuicClientConfig>,
    pub(super) server: Arc<QuicServerConfig>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a new key. Nothing is stored: each process is somebody new.
    pub fn generate() -> Result<Self, IdentityError> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let certificate = rcgen::CertificateParams::new(vec![ANYONE.to_owned()])?.self_signed(&key)?;
        let id = PeerId(Sha256::digest(key.public_key_raw()).into());
        let chain = vec![certificate.der().clone()];
        let secret = || PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let mut provider = ring::default_provider();
        // QUIC needs AES-128-GCM for its first packets anyway, and it is the fastest where there is AES in hardware.
        provider
            .cipher_suites
            .sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        let provider = Arc::new(provider);
        let judge = Arc::new(KeyVerifier {
            algorithms: provider.signature_verification_algorithms,
        });

        let mut client = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(judge.clone())
            .with_client_auth_cert(chain.clone(), secret())?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        client.resumption = rustls::client::Resumption::disabled();

        let mut server = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(judge)
            .with_single_cert(chain, secret())?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.send_tls13_tickets = 0;
        server.max_early_data_size = 0;
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});

        Ok(Self {
            id,
            client: Arc::new(QuicClientConfig::try_from(client)?),
            server: Arc::new(QuicServerConfig::try_from(server)?),
        })
    }

    /// Our id, as peers see it.
    pub fn id(&self) -> PeerId {
        self.id
    }
}

/// The id of whoever holds the key of this certificate.
pub(super) fn peer_id(certificate: &CertificateDer<'_>) -> Result<PeerId, Error> {
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let info = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let key = info
        .as_ref()
        .strip_prefix(ED25519_PREFIX.as_slice())
        .filter(|key| key.len() == 32)
        .ok_or_else(bad)?;
    Ok(PeerId(Sha256::digest(key).into()))
}

/// The server name that asks for this peer.
pub(super) fn server_name(expected: Option<PeerId>) -> String {
    match expected {
        Some(id) => format!("{}.{}", hex::encode(&id.0[..16]), hex::encode(&id.0[16..])),
        None => ANYONE.to_owned(),
    }
}

/// Accepts any Ed25519 certificate whose key the other side proves to hold; a dialer may insist on one id.
#[derive(Debug)]
struct KeyVerifier {
    algorithms: WebPkiSupportedAlgorithms,
}

impl KeyVerifier {
    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

fn no_tls12() -> Error {
    Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered)
}

impl ServerCertVerifier for KeyVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let id = peer_id(certificate)?;
        let wanted = name.to_str();
        if wanted == ANYONE || wanted == server_name(Some(id)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

impl ClientCertVerifier for KeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        peer_id(certificate).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
