//! The authorities whose certificates are trusted.

use std::path::Path;

use chat_domain::BoxError;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Returns the file's certificates, or those that the system trusts.
pub(crate) fn roots(file: Option<&Path>) -> Result<RootCertStore, BoxError> {
    let mut store = RootCertStore::empty();
    match file.filter(|file| file.as_os_str() != "system") {
        Some(file) => {
            let failed =
                |why: &dyn std::fmt::Display| format!("sslrootcert {}: {why}", file.display());
            for certificate in
                CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))?
            {
                let certificate = certificate.map_err(|error| failed(&error))?;
                store.add(certificate).map_err(|error| failed(&error))?;
            }
            if store.is_empty() {
                return Err(failed(&"contains no certificate").into());
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err("the system has no trusted certificates: set sslrootcert".into());
            }
        }
    }
    Ok(store)
}
