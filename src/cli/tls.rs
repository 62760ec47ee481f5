//! The flags that say where certificate, key and authority are: the same for a node and a client.

use std::path::PathBuf;

use crate::tls::Files;

/// All three, or none.
#[derive(clap::Args, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct TlsFlags {
    /// The certificate to show to the other side, in PEM; needs --tls-key and --tls-ca
    #[arg(
        id = "tls_cert",
        long = "tls-cert",
        env = "REMEMBER_TLS_CERT",
        value_name = "FILE"
    )]
    #[arg(hide_env_values = true, requires = "tls_key", requires = "tls_ca")]
    certificate: Option<PathBuf>,
    /// The key of the certificate, in PEM
    #[arg(
        id = "tls_key",
        long = "tls-key",
        env = "REMEMBER_TLS_KEY",
        value_name = "FILE"
    )]
    #[arg(hide_env_values = true, requires = "tls_cert")]
    key: Option<PathBuf>,
    /// The authority whose certificates are taken from the other side, in PEM
    #[arg(
        id = "tls_ca",
        long = "tls-ca",
        env = "REMEMBER_TLS_CA",
        value_name = "FILE"
    )]
    #[arg(hide_env_values = true, requires = "tls_cert")]
    authority: Option<PathBuf>,
}

/// The variables of these flags.
pub(super) const VARIABLES: [&str; 3] =
    ["REMEMBER_TLS_CERT", "REMEMBER_TLS_KEY", "REMEMBER_TLS_CA"];

impl TlsFlags {
    /// The files, if they were given.
    pub(super) fn files(&self) -> Option<Files> {
        Some(Files {
            certificate: self.certificate.clone()?,
            key: self.key.clone()?,
            authority: self.authority.clone()?,
        })
    }
}
