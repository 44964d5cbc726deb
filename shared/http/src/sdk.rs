use std::error::Error as _;

use aws_smithy_runtime_api::client::{
    connection::{CaptureSmithyConnection, ConnectionMetadata},
    http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy::{
    Error,
    connect::{CaptureConnection, capture_connection},
};

use crate::{HttpsClient, client};

/// The client that all the SDK's clients of an environment share. How long a request may take is for the SDK's configuration, but for
/// the connect timeout, which is this client's.
pub fn sdk_client() -> anyhow::Result<SharedHttpClient> {
    let connector = SharedHttpConnector::new(Connector(client()?));
    Ok(http_client_fn(move |_, _| connector.clone()))
}

#[derive(Debug)]
struct Connector(HttpsClient<SdkBody>);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(cause) => return HttpConnectorFuture::ready(Err(ConnectorError::user(cause.into()))),
        };
        let used = capture_connection(&mut request);
        if let Some(slot) = request.extensions().get::<CaptureSmithyConnection>() {
            slot.set_connection_retriever(move || metadata(used.clone()));
        }
        let answer = self.0.request(request);
        HttpConnectorFuture::new(async move {
            let response = answer.await.map_err(classified)?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|cause| ConnectorError::other(cause.into(), None))
        })
    }
}

/// What lets the SDK keep the next try off a connection whose peer failed.
fn metadata(used: CaptureConnection) -> Option<ConnectionMetadata> {
    used.connection_metadata().as_ref()?;
    let poison = move || {
        if let Some(connection) = used.connection_metadata().as_ref() {
            connection.poison();
        }
    };
    Some(ConnectionMetadata::builder().proxied(false).poison_fn(poison).build())
}

/// Whether the SDK tries again. A request of ours that cannot be sent never can; anything else is the network's.
fn classified(error: Error) -> ConnectorError {
    let is_ours =
        error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>()).is_some_and(hyper::Error::is_user);
    if is_ours { ConnectorError::user(error.into()) } else { ConnectorError::io(error.into()) }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn ask(url: &str) -> Result<HttpResponse, ConnectorError> {
        Connector(client().unwrap()).call(HttpRequest::get(url).unwrap()).await
    }

    /// Would fail if the error of a request that was sent were not the network's: the SDK gives up then.
    #[tokio::test]
    async fn what_the_network_does_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = async {
            let (mut cut, _) = listener.accept().await.unwrap();
            cut.read_u8().await.unwrap();
            drop(cut);
            let (mut answered, _) = listener.accept().await.unwrap();
            answered.read_u8().await.unwrap();
            answered.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
            answered
        };
        let calls = async {
            let cut = ask(&url).await.unwrap_err();
            assert!(cut.is_io(), "{cut:?}");
            ask(&url).await.unwrap()
        };
        let (_open, answer) = tokio::join!(server, calls);
        assert_eq!(answer.status().as_u16(), 200);
        drop(listener);
        let refused = ask(&url).await.unwrap_err();
        assert!(refused.is_io(), "{refused:?}");
    }

    #[tokio::test]
    async fn a_connection_is_used_again() {
        let connector = Connector(client().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = async {
            let (mut only, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(only.read_u8().await.unwrap());
                }
                only.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
            only
        };
        let calls = async {
            for _ in 0..2 {
                connector.call(HttpRequest::get(&url).unwrap()).await.unwrap();
            }
        };
        tokio::join!(server, calls);
    }
}
