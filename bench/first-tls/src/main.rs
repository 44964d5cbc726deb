//! `first-tls ring|aws-lc ADDRESS CA.PEM`: prints the microseconds from the first use of the provider to the end of the handshake.

use std::{io::Write as _, net::TcpStream, sync::Arc, time::Instant};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::{aws_lc_rs, ring},
    pki_types::{CertificateDer, pem::PemObject as _},
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [provider, address, authority] = arguments.as_slice() else { return Err("provider, address, authority".into()) };
    // what both need and neither is measured for
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;

    let from = Instant::now();
    let provider = match provider.as_str() {
        "ring" => ring::default_provider(),
        "aws-lc" => aws_lc_rs::default_provider(),
        other => return Err(format!("no provider {other}").into()),
    };
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tls = ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    writeln!(std::io::stdout(), "{}", from.elapsed().as_micros())?;
    Ok(())
}
