//! Which servers are believed to be who they say they are.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::TargetError;

/// With authorities of the target's own (PEM), or those of the system.
pub(crate) fn config(ca: Option<&str>) -> Result<ClientConfig, TargetError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let added = certificate.map_err(|it| it.to_string());
                let added = added.and_then(|it| roots.add(it).map_err(|it| it.to_string()));
                added.map_err(|error| {
                    TargetError::new("ca", format!("no certificate in PEM: {error}"))
                })?;
            }
            if roots.is_empty() {
                return Err(TargetError::new("ca", "expected certificates in PEM"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = tls.map_err(|error| TargetError::url(error.to_string()))?;
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

/// For clients that make their configuration of TLS by themselves: they would not know which cryptography to take,
/// where more than one is in the program.
pub(crate) fn choose_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster, which is as good.
        drop(aws_lc_rs::default_provider().install_default());
    }
}
