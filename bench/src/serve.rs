//! The least of an HTTP server: one answer for each request, on one thread.

use std::{convert::Infallible, future::Future, rc::Rc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};

/// What a handler answers.
pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer of that status and body.
pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Serves for ever; runs within a `LocalSet`.
pub(crate) async fn plain<H, F>(listener: TcpListener, handler: H) -> anyhow::Result<()>
where
    H: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Answer> + 'static,
{
    let handler = Rc::new(handler);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connections.spawn_local(connection(stream, handler.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// The same behind TLS.
pub(crate) async fn tls<H, F>(
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
    handler: H,
) -> anyhow::Result<()>
where
    H: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Answer> + 'static,
{
    let handler = Rc::new(handler);
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, handler) = (acceptor.clone(), handler.clone());
        connections.spawn_local(async move {
            // a client that does not trust the certificate says so itself
            if let Ok(stream) = acceptor.accept(stream).await {
                connection(stream, handler).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection<S, H, F>(stream: S, handler: Rc<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Request<Incoming>) -> F + 'static,
    F: Future<Output = Answer> + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // a client that goes away in the middle is its own affair
    let _ = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
}
