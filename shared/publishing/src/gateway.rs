use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_types::SdkConfig;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use sha2::{Digest as _, Sha256};
use signalbox_http::HttpsClient;

use crate::signature::Signer;

/// Why a post failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// 410: the connection is no more.
    #[error("connection is gone")]
    Gone,
    /// 413: over 128 KB.
    #[error("frame is too large")]
    TooLarge,
    /// 429 or 5xx: worth another try.
    #[error("not now: {0}")]
    Unavailable(String),
    /// 504, or no answer in time: it may have arrived, or arrive later.
    #[error("unanswered: {0}")]
    Unanswered(String),
    /// Anything else: a mistake of ours, such as a missing permission.
    #[error("refused: {0}")]
    Refused(String),
}

/// What is posted. The digest that the signature needs is computed once, however many connections get the frame.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Bytes,
    digest: String,
}

impl Frame {
    /// A text frame.
    pub fn new(text: impl Into<Bytes>) -> Self {
        let bytes = text.into();
        let digest = hex::encode(Sha256::digest(&bytes));
        Self { bytes, digest }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The way to connected sockets.
#[derive(Debug, Clone)]
pub enum Gateway {
    /// API Gateway's `@connections`; in production, and on the local cloud.
    ApiGateway(Box<ApiGateway>),
    /// Records posts and fails them by script; in tests.
    #[cfg(feature = "testing")]
    Recorded(std::sync::Arc<Recorded>),
}

impl Gateway {
    /// PostToConnection.
    pub async fn post(&self, connection_id: &str, frame: &Frame) -> Result<(), PostError> {
        match self {
            Self::ApiGateway(gateway) => gateway.send(Method::POST, connection_id, frame).await,
            #[cfg(feature = "testing")]
            Self::Recorded(recorded) => recorded.post(connection_id, frame).await,
        }
    }

    /// DeleteConnection: closes with 1000, so every SDK reconnects. Send a `disconnect` push first.
    pub async fn delete(&self, connection_id: &str) -> Result<(), PostError> {
        match self {
            Self::ApiGateway(gateway) => gateway.send(Method::DELETE, connection_id, &Frame::new(Bytes::new())).await,
            #[cfg(feature = "testing")]
            Self::Recorded(recorded) => recorded.delete(connection_id).await,
        }
    }
}

/// API Gateway's `@connections` over one keep-alive pool, signed with SigV4.
///
/// The SDK's client spends several times the CPU on a post, and posts are what a fan-out consists of (docs/adr/0004).
#[derive(Debug, Clone)]
pub struct ApiGateway {
    signer: Arc<Signer>,
    client: HttpsClient<Full<Bytes>>,
}

/// An answer that takes longer than this is no answer. API Gateway's takes some 10 ms; whoever is waited for in vain begins again.
const POST_TIMEOUT: Duration = Duration::from_secs(2);

impl ApiGateway {
    /// `endpoint` is the stage's URL, without `/@connections`.
    pub async fn new(aws: &SdkConfig, endpoint: &str) -> anyhow::Result<Self> {
        let provider = aws.credentials_provider().ok_or_else(|| anyhow::anyhow!("no AWS credentials"))?;
        let credentials = provider.provide_credentials().await?;
        let region = aws.region().map(AsRef::as_ref).unwrap_or_default();
        Ok(Self { signer: Arc::new(Signer::new(endpoint, region, credentials)?), client: signalbox_http::client()? })
    }

    async fn send(&self, method: Method, connection_id: &str, frame: &Frame) -> Result<(), PostError> {
        let body = Full::new(frame.bytes.clone());
        let request = self.signer.request(method, connection_id, body, &frame.digest, SystemTime::now());
        let request = request.map_err(|cause| PostError::Refused(format!("{cause:#}")))?;
        let answer = async {
            let response = self.client.request(request).await?;
            let status = response.status();
            // The body is read to the end: a connection with an unread body does not go back to the pool.
            let body =
                response.into_body().collect().await.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
            Ok::<_, hyper_util::client::legacy::Error>((status, body))
        };
        let (status, body) = timeout(POST_TIMEOUT, answer)
            .await
            .ok_or_else(|| PostError::Unanswered("nothing in time".to_owned()))?
            .map_err(|error| {
                let text = chain(&error);
                if error.is_connect() { PostError::Unavailable(text) } else { PostError::Unanswered(text) }
            })?;
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(PostError::Gone),
            StatusCode::PAYLOAD_TOO_LARGE => Err(PostError::TooLarge),
            StatusCode::GATEWAY_TIMEOUT => Err(PostError::Unanswered(status.to_string())),
            StatusCode::TOO_MANY_REQUESTS => Err(PostError::Unavailable(status.to_string())),
            status if status.is_server_error() => Err(PostError::Unavailable(status.to_string())),
            status => {
                let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
                Err(PostError::Refused(format!("{status} {text}")))
            }
        }
    }
}

async fn timeout<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(feature = "testing")]
pub use recorded::{Recorded, Scripted};

#[cfg(feature = "testing")]
mod recorded {
    use std::{
        collections::{HashMap, VecDeque},
        sync::{Mutex, MutexGuard, PoisonError},
    };

    use futures::future::BoxFuture;

    use super::{Frame, PostError};

    /// What the next posts to a connection come to.
    #[derive(Debug, Clone)]
    pub enum Scripted {
        /// This post fails.
        Fail(PostError),
        /// This post takes so many milliseconds.
        Delay(u64),
    }

    /// Records what would have been posted.
    #[derive(Debug, Default)]
    pub struct Recorded {
        posts: Mutex<Vec<(String, String)>>,
        deleted: Mutex<Vec<String>>,
        script: Mutex<HashMap<String, VecDeque<Scripted>>>,
        player: Option<Player>,
    }

    type Played = BoxFuture<'static, Result<(), PostError>>;

    struct Player(Box<dyn Fn(String, Option<Frame>) -> Played + Send + Sync>);

    impl std::fmt::Debug for Player {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Player")
        }
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl Recorded {
        /// A gateway that the test plays itself: `play` gets the connection's id and the frame to post, or `None` to close the
        /// socket, and says what comes of it. Nothing is recorded then.
        pub fn played(play: impl Fn(String, Option<Frame>) -> Played + Send + Sync + 'static) -> Self {
            Self { player: Some(Player(Box::new(play))), ..Self::default() }
        }

        /// The next posts to a connection, in order; after them every post succeeds.
        pub fn script(&self, connection_id: &str, next: impl IntoIterator<Item = Scripted>) {
            lock(&self.script).entry(connection_id.to_owned()).or_default().extend(next);
        }

        /// Frames posted so far to a connection, in order.
        pub fn frames(&self, connection_id: &str) -> Vec<String> {
            lock(&self.posts).iter().filter(|(id, _)| id == connection_id).map(|(_, frame)| frame.clone()).collect()
        }

        /// Lines posted so far to a connection, in order.
        pub fn lines(&self, connection_id: &str) -> Vec<serde_json::Value> {
            let frames = self.frames(connection_id);
            let lines = frames.iter().flat_map(|frame| frame.split('\n'));
            lines.map(|line| serde_json::from_str(line).unwrap_or(serde_json::Value::Null)).collect()
        }

        /// Connections that were closed.
        pub fn deleted(&self) -> Vec<String> {
            lock(&self.deleted).clone()
        }

        pub(super) async fn delete(&self, connection_id: &str) -> Result<(), PostError> {
            if let Some(Player(play)) = &self.player {
                return play(connection_id.to_owned(), None).await;
            }
            lock(&self.deleted).push(connection_id.to_owned());
            Ok(())
        }

        pub(super) async fn post(&self, connection_id: &str, frame: &Frame) -> Result<(), PostError> {
            if let Some(Player(play)) = &self.player {
                return play(connection_id.to_owned(), Some(frame.clone())).await;
            }
            let next = lock(&self.script).get_mut(connection_id).and_then(VecDeque::pop_front);
            match next {
                Some(Scripted::Fail(error)) => return Err(error),
                Some(Scripted::Delay(ms)) => tokio::time::sleep(std::time::Duration::from_millis(ms)).await,
                None => {}
            }
            let text = String::from_utf8_lossy(frame.bytes()).into_owned();
            lock(&self.posts).push((connection_id.to_owned(), text));
            Ok(())
        }
    }
}
