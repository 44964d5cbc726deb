use std::sync::{
    Mutex as StdMutex,
    atomic::{AtomicUsize, Ordering},
};

use futures::future::{Either, join, join_all, select};
use jsonwebtoken::{EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, Semaphore},
};

use super::*;
use crate::TokenVerifier;

const KEY: &[u8] = include_bytes!("../../fixtures/es256-test-key.der");
const EVERY_KIND: &str = include_str!("../../fixtures/jwks.json");
const ES256: Algorithm = Algorithm::Known(jsonwebtoken::Algorithm::ES256);

/// An identity provider: answers what it is told to, as soon as it may, and counts.
struct Provider {
    url: String,
    asked: Arc<AtomicUsize>,
    answer: Arc<StdMutex<(u16, String)>>,
    is_asked: Arc<Notify>,
    may_answer: Arc<Semaphore>,
}

impl Provider {
    async fn new(status: u16, body: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            url: format!("http://{}/jwks.json", listener.local_addr().unwrap()),
            asked: Arc::default(),
            answer: Arc::new(StdMutex::new((status, body))),
            is_asked: Arc::default(),
            may_answer: Arc::new(Semaphore::new(1_000)),
        };
        let (asked, answer) = (provider.asked.clone(), provider.answer.clone());
        let (is_asked, may_answer) = (provider.is_asked.clone(), provider.may_answer.clone());
        #[expect(clippy::disallowed_methods, reason = "a test process is not frozen")]
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 4096]).await;
                asked.fetch_add(1, Ordering::SeqCst);
                is_asked.notify_one();
                may_answer.acquire().await.unwrap().forget();
                let (status, body) = answer.lock().unwrap().clone();
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
                let _ = socket.write_all((head + &body).as_bytes()).await;
            }
        });
        provider
    }

    /// With the test key, under those ids.
    async fn with_keys(kids: &[&str]) -> Self {
        Self::new(200, set(kids)).await
    }

    fn answers(&self, status: u16, body: String) {
        *self.answer.lock().unwrap() = (status, body);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whoever asks waits until [`Self::lets_answer`].
    fn holds_back(&self) {
        self.may_answer.forget_permits(usize::MAX);
    }

    fn lets_answer(&self) {
        self.may_answer.add_permits(1_000);
    }

    fn jwks(&self) -> Jwks {
        Jwks::new(&self.url).unwrap()
    }

    fn verifier(&self) -> TokenVerifier {
        TokenVerifier::new(None, Some(&self.url), None, None).unwrap()
    }
}

fn set(kids: &[&str]) -> String {
    let key = |kid: &&str| {
        let key = EncodingKey::from_ec_der(KEY);
        let mut key = Jwk::from_encoding_key(&key, jsonwebtoken::Algorithm::ES256).unwrap();
        key.common.key_id = Some((*kid).to_owned());
        serde_json::to_value(key).unwrap()
    };
    json!({ "keys": kids.iter().map(key).collect::<Vec<_>>() }).to_string()
}

fn token(kid: &str) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(jsonwebtoken::Algorithm::ES256) };
    encode(&header, &json!({ "sub": "anna" }), &EncodingKey::from_ec_der(KEY)).unwrap()
}

#[tokio::test]
async fn a_token_of_the_provider_s_key_is_verified_and_the_keys_are_fetched_once() {
    let provider = Provider::with_keys(&["one"]).await;
    let verifier = provider.verifier();
    for _ in 0..3 {
        assert_eq!(verifier.verify_connection(&token("one"), 0).await.unwrap().user, "anna");
    }
    assert_eq!(provider.asked(), 1);
    // perhaps rotated since: not asked at once again, and not final for the client
    let unknown = verifier.verify_connection(&token("two"), 0).await;
    assert!(matches!(unknown, Err(TokenError::KeysUnavailable(_))), "{unknown:?}");
    assert_eq!(provider.asked(), 1);
}

/// Fails when such a token is answered as one whose key may come yet: its client would come again for ever.
#[tokio::test]
async fn a_token_that_names_a_key_of_another_kind_is_invalid_at_once() {
    let provider = Provider::new(200, EVERY_KIND.to_owned()).await;
    let verifier = provider.verifier();
    for kid in ["rsa", "p384"] {
        for _ in 0..2 {
            let refused = verifier.verify_connection(&token(kid), 0).await;
            assert!(matches!(refused, Err(TokenError::Invalid(_))), "{kid}: {refused:?}");
        }
    }
    let unknown = verifier.verify_connection(&token("new"), 0).await;
    assert!(matches!(unknown, Err(TokenError::KeysUnavailable(_))), "{unknown:?}");
    assert_eq!(provider.asked(), 1);

    // nor is the provider asked for it when a pause is over, until its keys are old
    let jwks = Jwks { pause: Duration::ZERO, ..provider.jwks() };
    for _ in 0..3 {
        assert!(matches!(jwks.key(Some("rsa"), ES256).await, Err(TokenError::Invalid(_))));
    }
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn each_algorithm_is_verified_with_a_key_of_the_set() {
    let provider = Provider::new(200, EVERY_KIND.to_owned()).await;
    let verifier = provider.verifier();
    let tokens: std::collections::BTreeMap<String, String> =
        serde_json::from_str(include_str!("../../fixtures/tokens.json")).unwrap();
    for (algorithm, token) in tokens {
        let verified = verifier.verify_connection(&token, 0).await;
        assert_eq!(verified.map(|token| token.user).ok().as_deref(), Some("anna"), "{algorithm}");
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test]
async fn a_provider_that_is_down_is_not_asked_for_each_token() {
    let provider = Provider::new(500, set(&["one"])).await;
    let verifier = provider.verifier();
    for _ in 0..5 {
        let refused = verifier.verify_connection(&token("one"), 0).await;
        assert!(matches!(refused, Err(TokenError::KeysUnavailable(_))), "{refused:?}");
    }
    assert_eq!(provider.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_does_not_answer_is_given_up() {
    let provider = Provider::with_keys(&["one"]).await;
    provider.holds_back();
    let refused = provider.jwks().key(Some("one"), ES256).await;
    assert!(matches!(refused, Err(TokenError::KeysUnavailable(cause)) if cause == "no answer"));
}

#[tokio::test]
async fn an_hmac_token_is_never_tried_with_the_provider_s_public_key() {
    let provider = Provider::with_keys(&["one"]).await;
    let key = EncodingKey::from_secret(b"public");
    let forged = encode(&Header::default(), &json!({ "sub": "anna" }), &key).unwrap();
    assert!(matches!(provider.verifier().verify_connection(&forged, 0).await, Err(TokenError::Invalid(_))));
    assert_eq!(provider.asked(), 0);
}

#[tokio::test]
async fn a_rotated_key_is_found_and_the_old_one_no_longer_counts() {
    let provider = Provider::with_keys(&["one"]).await;
    let jwks = Jwks { pause: Duration::ZERO, ..provider.jwks() };
    assert!(jwks.key(Some("one"), ES256).await.is_ok());
    provider.answers(200, set(&["two"]));
    assert!(jwks.key(Some("two"), ES256).await.is_ok());
    assert!(matches!(jwks.key(Some("one"), ES256).await, Err(TokenError::Invalid(_))));
    assert_eq!(provider.asked(), 3);
}

#[tokio::test]
async fn keys_are_fetched_again_when_they_are_old_and_kept_while_the_provider_is_down() {
    let provider = Provider::with_keys(&["one"]).await;
    let jwks = Jwks { pause: Duration::ZERO, fresh: Duration::ZERO, ..provider.jwks() };
    assert!(jwks.key(Some("one"), ES256).await.is_ok());
    provider.answers(503, String::new());
    assert!(jwks.key(Some("one"), ES256).await.is_ok());
    assert_eq!(provider.asked(), 2);
    provider.answers(200, set(&["two"]));
    assert!(matches!(jwks.key(Some("one"), ES256).await, Err(TokenError::Invalid(_))));
}

#[tokio::test]
async fn many_tokens_of_a_new_key_fetch_it_once() {
    let provider = Provider::with_keys(&["one"]).await;
    let jwks = Jwks { pause: Duration::ZERO, ..provider.jwks() };
    assert!(jwks.key(Some("one"), ES256).await.is_ok());
    provider.is_asked.notified().await;

    provider.answers(200, set(&["one", "two"]));
    provider.holds_back();
    let (keys, ()) = join(join_all((0..50).map(|_| jwks.key(Some("two"), ES256))), async {
        // by now each of them has been polled and waits
        provider.is_asked.notified().await;
        provider.lets_answer();
    })
    .await;
    assert!(keys.iter().all(Result::is_ok), "{keys:?}");
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn those_whose_key_is_known_do_not_wait_for_a_fetch() {
    let provider = Provider::with_keys(&["one"]).await;
    let mut jwks = Jwks { pause: Duration::ZERO, ..provider.jwks() };
    for fresh in [FRESH, Duration::ZERO] {
        // old keys do as long as somebody fetches new ones
        jwks.fresh = fresh;
        assert!(jwks.key(Some("one"), ES256).await.is_ok());
        provider.is_asked.notified().await;
        provider.holds_back();
        let fetching = Box::pin(async {
            join(jwks.key(Some("two"), ES256), async {
                provider.is_asked.notified().await;
                jwks.key(Some("one"), ES256).await.expect("a known key");
                provider.lets_answer();
            })
            .await
            .0
        });
        assert!(matches!(fetching.await, Err(TokenError::Invalid(_))));
    }
}

#[tokio::test]
async fn a_fetch_that_is_dropped_leaves_the_way_free_for_the_next() {
    let provider = Provider::with_keys(&["one"]).await;
    let jwks = provider.jwks();
    provider.holds_back();
    let dropped = select(Box::pin(jwks.key(Some("one"), ES256)), Box::pin(provider.is_asked.notified())).await;
    assert!(matches!(dropped, Either::Right(_)));
    drop(dropped);
    provider.lets_answer();
    assert!(jwks.key(Some("one"), ES256).await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    let padded = |bytes: usize| {
        let set = set(&["one"]);
        let padding = " ".repeat(bytes - set.len());
        set + &padding
    };
    let provider = Provider::new(200, padded(MAX_BYTES + 1)).await;
    let refused = provider.jwks().key(Some("one"), ES256).await;
    assert!(matches!(refused, Err(TokenError::KeysUnavailable(_))), "{refused:?}");
    provider.answers(200, padded(MAX_BYTES));
    assert!(provider.jwks().key(Some("one"), ES256).await.is_ok());
}

#[test]
fn plain_http_is_for_this_machine() {
    for url in ["https://idp.example/jwks", "http://localhost:1/", "http://127.0.0.2/x", "http://[::1]:8080/jwks"] {
        assert!(Jwks::new(url).is_ok(), "{url}");
    }
    for url in [
        "http://idp.example/jwks",
        "http://localhost.example/",
        "http://10.0.0.1/",
        "http://127.0.0.1.example/",
        "http://127.0.0.1@idp.example/",
        "ftp://127.0.0.1/",
        "/jwks",
        "idp.example",
        "https://idp.example/{{tenant}}/jwks",
        "",
    ] {
        assert!(Jwks::new(url).is_err(), "{url}");
    }
}

fn cached(set: &Value) -> Cache {
    Cache { keys: keys(set.to_string().as_bytes()).unwrap().into(), ..Cache::default() }
}

#[test]
fn a_key_that_cannot_be_used_leaves_the_others() {
    let mut set: Value = serde_json::from_str(EVERY_KIND).unwrap();
    let ours = set["keys"].as_array_mut().unwrap();
    assert_eq!(keys(EVERY_KIND.as_bytes()).unwrap().len(), ours.len());
    let usable = ours.len();
    let (rsa, p256) = (ours[0].clone(), ours[1].clone());
    let with = |key: &Value, member: &str, value: Value| {
        let mut key = key.clone();
        key[member] = value;
        key
    };
    ours.extend([
        json!(1),
        json!({}),
        json!({ "kty": "oct", "k": "c2VjcmV0", "use": "sig" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" }),
        with(&rsa, "use", json!("enc")),
        with(&rsa, "alg", json!("RSA-OAEP")),
        with(&rsa, "n", Value::Null),
        with(&rsa, "kid", json!(1)),
        with(&p256, "crv", json!("P-384x")),
        with(&p256, "crv", json!("P-521")),
        with(&p256, "x", json!("A".repeat(80))),
    ]);
    assert_eq!(keys(set.to_string().as_bytes()).unwrap().len(), usable);
    for broken in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":null}"#] {
        assert!(keys(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn a_key_is_found_by_its_id_and_its_algorithm() {
    let mut set: Value = serde_json::from_str(EVERY_KIND).unwrap();
    let [rs256, rs512] = ["RS256", "RS512"].map(|name| Algorithm::parse(name).unwrap());
    let cache = cached(&set);
    assert!(cache.key(Some("rsa"), rs256).is_some() && cache.key(Some("rsa"), rs512).is_some());
    assert!(cache.key(Some("rsa"), ES256).is_none() && cache.key(Some("p384"), ES256).is_none());
    assert!(cache.key(Some("else"), rs256).is_none());
    // the only one of its kind needs no id
    assert!(cache.key(None, ES256).is_some());
    set["keys"][0]["alg"] = json!("RS256");
    let again = set["keys"][1].clone();
    set["keys"].as_array_mut().unwrap().push(again);
    let cache = cached(&set);
    assert!(cache.key(Some("rsa"), rs256).is_some() && cache.key(Some("rsa"), rs512).is_none());
    assert!(cache.key(None, ES256).is_none());
}
