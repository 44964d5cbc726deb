//! One way out: HTTPS on a keep-alive pool, for posts, key sets, CloudFormation's answers, and under the SDK's clients.
//!
//! Whom to trust is compiled in. The SDK's own client reads the system's authorities as soon as it is made, some hundred files on many
//! systems, and that was most of a function's start (docs/adr/0016).

mod sdk;

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

pub use sdk::sdk_client;

/// HTTP/1.1 over TLS, or plain for a host on this machine; `B` is what is sent.
pub type HttpsClient<B> = Client<HttpsConnector<HttpConnector>, B>;

/// Who does not take a connection within this is not there. The handshake and the answer are for the caller to limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Below the shortest of those whom we call: API Gateway and Elastic Load Balancing close after 60 s.
const IDLE: Duration = Duration::from_secs(50);

/// A client with a pool of its own. Make one for an environment, and keep it.
///
/// Fails when `SSL_CERT_FILE` is set and has no authority in it.
pub fn client<B>() -> anyhow::Result<HttpsClient<B>>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let https = HttpsConnectorBuilder::new().with_tls_config(tls()?).https_or_http().enable_http1().wrap_connector(tcp);
    let client =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).build(https);
    Ok(client)
}

/// Made once: its copies share what it trusts and the sessions that servers resume.
fn tls() -> anyhow::Result<ClientConfig> {
    static TLS: OnceLock<ClientConfig> = OnceLock::new();
    if let Some(made) = TLS.get() {
        return Ok(made.clone());
    }
    let extra = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty());
    let made = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(extra.as_deref().map(Path::new))?)
        .with_no_client_auth();
    Ok(TLS.get_or_init(|| made).clone())
}

/// Mozilla's authorities, and those of a file: what `SSL_CERT_FILE` names elsewhere, for an endpoint with an authority of its own.
pub fn roots(extra: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = extra {
        let unreadable = || format!("authorities of {}", file.display());
        let authorities: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).with_context(unreadable)?.collect();
        // among a system's authorities there may be one that rustls does not take
        let (added, _) = roots.add_parsable_certificates(authorities.with_context(unreadable)?);
        anyhow::ensure!(added > 0, "no authorities in {}", file.display());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handshake itself is in `bench/` ("cold-start").
    #[test]
    fn an_authority_of_a_file_is_trusted_beside_those_that_everybody_trusts() {
        let usual = roots(None).unwrap().len();
        assert!(usual > 50);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let file = std::env::temp_dir().join(format!("signalbox-authority-{}.pem", std::process::id()));
        std::fs::write(&file, parameters.self_signed(&key).unwrap().pem()).unwrap();
        let with_file = roots(Some(&file));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(with_file.unwrap().len(), usual + 1);
        let missing = roots(Some(&file)).unwrap_err();
        assert!(format!("{missing:#}").contains("signalbox-authority"), "{missing:#}");
    }
}
