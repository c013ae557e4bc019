//! A certificate authority and a server certificate for one test.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::cluster::TlsIdentity;

/// An authority, and a certificate for `localhost` and 127.0.0.1 that it signed. Each value
/// has a different authority, which clients of another value do not trust.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority's certificate, which clients trust; PEM.
    pub authority_pem: String,
    /// The certificate and key that a server presents.
    pub server: TlsIdentity,
}

/// The files that [`Certificates::write_to`] wrote.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The authority's certificate.
    pub authority: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
}

impl Certificates {
    /// Generates new keys and certificates.
    ///
    /// # Errors
    ///
    /// rcgen failed.
    pub fn generate() -> Result<Self, rcgen::Error> {
        let mut authority = CertificateParams::default();
        authority
            .distinguished_name
            .push(DnType::CommonName, "chat-gateway test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_key = KeyPair::generate()?;
        let authority_pem = authority.self_signed(&authority_key)?.pem();

        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut server = CertificateParams::new(names)?;
        server
            .distinguished_name
            .push(DnType::CommonName, "localhost");
        // All authorities have the same name; the key identifier tells them apart.
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &Issuer::new(authority, authority_key))?;
        Ok(Self {
            authority_pem,
            server: TlsIdentity {
                certificate_pem: certificate.pem(),
                key_pem: key.serialize_pem(),
            },
        })
    }

    /// Writes `authority.crt`, `server.crt` and `server.key` into a folder.
    ///
    /// # Errors
    ///
    /// A file cannot be written.
    pub fn write_to(&self, folder: &Path) -> io::Result<CertificateFiles> {
        let files = CertificateFiles {
            authority: folder.join("authority.crt"),
            certificate: folder.join("server.crt"),
            key: folder.join("server.key"),
        };
        fs::write(&files.authority, &self.authority_pem)?;
        fs::write(&files.certificate, &self.server.certificate_pem)?;
        fs::write(&files.key, &self.server.key_pem)?;
        Ok(files)
    }
}
