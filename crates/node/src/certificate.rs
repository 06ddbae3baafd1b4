//! The certificate for HTTPS: the operator's own, or one that the node makes for itself and keeps in
//! its folder. It is read again when its files change, so that a renewal needs no restart.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use crate::keys;

/// The files of a node's own certificate.
const OWN_CERTIFICATE: &str = "http.crt";
const OWN_KEY: &str = "http.key";

/// A certificate with its key, as they are in two files.
pub(crate) struct Certificate {
    files: Files,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

struct Current {
    stamps: Stamps,
    key: Arc<CertifiedKey>,
    /// What was complained about already.
    unusable: Option<Stamps>,
}

/// What shows that a file is another one now.
type Stamps = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    /// The operator's, in PEM.
    pub(crate) fn load(certificate: &Path, key: &Path) -> anyhow::Result<Arc<Self>> {
        Self::of(Files { certificate: certificate.to_owned(), key: key.to_owned() })
    }

    /// The node's own: made at the first time, and made anew for the same key when it lacks one of these
    /// names. It never expires, because whoever trusts it trusts this one and nobody who signed it.
    pub(crate) fn own(dir: &Path, names: &[String]) -> anyhow::Result<Arc<Self>> {
        let files = Files { certificate: dir.join(OWN_CERTIFICATE), key: dir.join(OWN_KEY) };
        if files.certificate.exists()
            && files.key.exists()
            && let Ok(found) = Self::of(files.clone())
            && names.iter().all(|name| has_name(&found.der(), name))
        {
            return Ok(found);
        }
        make(dir, &files, names)?;
        let made = Self::of(files)?;
        tracing::warn!(
            fingerprint = made.fingerprint_for_people(),
            ?names,
            "made a certificate for HTTPS: clients on other machines have to be told to trust it; {OWN_CERTIFICATE} in the node's folder is what they need"
        );
        Ok(made)
    }

    fn of(files: Files) -> anyhow::Result<Arc<Self>> {
        let current = RwLock::new(files.read()?);
        Ok(Arc::new(Self { files, current }))
    }

    /// How the HTTP server uses it: TLS 1.2 and 1.3, HTTP/1.1.
    pub(crate) fn server_config(self: &Arc<Self>) -> anyhow::Result<Arc<ServerConfig>> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads the files again if they have changed; whether there is another certificate now. What can't
    /// be used yet, as only one of the files has been replaced, is looked at again the next time.
    pub(crate) fn renew(&self) -> bool {
        let seen = self.current.read().unwrap_or_else(PoisonError::into_inner).stamps;
        let stamps = self.files.stamps();
        if stamps == seen {
            return false;
        }
        match self.files.read() {
            Ok(current) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
                tracing::info!(
                    fingerprint = self.fingerprint_for_people(),
                    "the certificate for HTTPS was replaced"
                );
                true
            }
            Err(error) => {
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                if current.unusable.replace(stamps) != Some(stamps) {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        error,
                        "the certificate for HTTPS has changed, but can't be used; the old one still is"
                    );
                }
                false
            }
        }
    }

    /// SHA-256 of the certificate, in hex.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(fingerprint(&self.der()))
    }

    /// As browsers and `openssl x509 -fingerprint -sha256` show it.
    pub(crate) fn fingerprint_for_people(&self) -> String {
        fingerprint(&self.der()).map(|byte| format!("{byte:02X}")).join(":")
    }

    fn der(&self) -> CertificateDer<'static> {
        self.key().cert[0].clone()
    }

    fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).key)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }
}

impl std::fmt::Debug for Certificate {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({})", self.files.certificate.display())
    }
}

/// The cryptography that QUIC brings already.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

pub(crate) fn fingerprint(certificate: &[u8]) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

impl Files {
    fn stamps(&self) -> Stamps {
        [&self.certificate, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }

    fn read(&self) -> anyhow::Result<Current> {
        // Before the files: what changes while they are read is read again.
        let stamps = self.stamps();
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let bytes = fs::read(&self.certificate).with_context(|| {
            format!("the certificate {certificate} can't be read: check its name, and that this user may read it")
        })?;
        let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
        let chain = match chain {
            Ok(chain) if !chain.is_empty() => chain,
            Ok(_) | Err(PemError::NoItemsFound) => bail!(
                "{certificate} holds no certificate in PEM (-----BEGIN CERTIFICATE-----): name the file that does"
            ),
            Err(_) => bail!(
                "the certificate {certificate} is cut off or damaged: copy the whole file again"
            ),
        };
        let bytes = Zeroizing::new(fs::read(&self.key).with_context(|| {
            format!("the key {key} can't be read: check its name, and that this user may read it")
        })?);
        let secret = match PrivateKeyDer::from_pem_slice(&bytes) {
            Ok(secret) => secret,
            Err(PemError::NoItemsFound) => bail!(
                "{key} holds no private key in PEM without a passphrase: name the file that does, or take its passphrase away with openssl pkey"
            ),
            Err(_) => bail!("the key {key} is cut off or damaged: copy the whole file again"),
        };
        let Ok(secret) = provider().key_provider.load_private_key(secret) else {
            bail!(
                "the key {key} is damaged, or of a kind that can't be used: take an ECDSA, RSA or Ed25519 key"
            );
        };
        let pair = CertifiedKey::new(chain, secret);
        match pair.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => bail!("the key {key} doesn't fit the certificate {certificate}: name the two that were made together; the office's own certificate comes first in a file that holds several"),
            Err(error) => return Err(error).with_context(|| format!("the certificate {certificate} can't be used: have it issued again as X.509 version 3")),
        }
        warn_of_dates(&pair.cert[0], &self.certificate);
        warn_if_public(&self.key);
        Ok(Current { stamps, key: Arc::new(pair), unusable: None })
    }
}

fn warn_of_dates(der: &[u8], path: &Path) {
    let Ok((_, parsed)) = X509Certificate::from_der(der) else { return };
    let path = path.display();
    let (now, validity) = (Timestamp::now().as_second(), parsed.validity());
    if validity.not_after.timestamp() < now {
        tracing::warn!("the certificate {path} has expired, and clients will refuse it: renew it");
    } else if validity.not_before.timestamp() > now {
        tracing::warn!(
            "the certificate {path} is not valid yet, and clients will refuse it: check this machine's clock"
        );
    }
}

fn warn_if_public(key: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if fs::metadata(key).is_ok_and(|metadata| metadata.mode() & 0o007 != 0) {
            let key = key.display();
            tracing::warn!(
                "everyone on this machine can read or change the key {key}: chmod o= {key}"
            );
        }
    }
}

fn has_name(der: &[u8], name: &str) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(der) else { return false };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return false };
    let address = name.parse::<IpAddr>().ok().map(|address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    });
    names.value.general_names.iter().any(|found| match found {
        GeneralName::DNSName(found) => found.eq_ignore_ascii_case(name),
        GeneralName::IPAddress(found) => address.as_deref() == Some(*found),
        _ => false,
    })
}

/// With the key that is there, if there is one: whoever trusts the key goes on.
fn make(dir: &Path, files: &Files, names: &[String]) -> anyhow::Result<()> {
    let key = if files.key.exists() {
        let text = fs::read_to_string(&files.key).map(Zeroizing::new);
        let key = text.map_err(anyhow::Error::from).and_then(|text| Ok(KeyPair::from_pem(&text)?));
        key.with_context(|| {
            format!("{} is not to be read or damaged: remove it for a new one", files.key.display())
        })?
    } else {
        let key = KeyPair::generate()?;
        keys::write(dir, OWN_KEY, &Zeroizing::new(key.serialize_pem()))
            .with_context(|| format!("{OWN_KEY} can't be written to {}", dir.display()))?;
        key
    };
    let mut params = CertificateParams::new(names)
        .context("a certificate can't have such a name: use ASCII (xn--…) in --http-name")?;
    params.distinguished_name.push(DnType::CommonName, "Fasti");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?;
    keys::write(dir, OWN_CERTIFICATE, &certificate.pem())
        .with_context(|| format!("{OWN_CERTIFICATE} can't be written to {}", dir.display()))
}
