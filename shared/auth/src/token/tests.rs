use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const TOKENS: &str = include_str!("../../fixtures/tokens.json");
const RSA: &str = include_str!("../../fixtures/rsa-test-key.pub.pem");
const RSA_CERTIFICATE: &str = include_str!("../../fixtures/rsa-test-key.cert.pem");
const P256: &str = include_str!("../../fixtures/p256-test-key.pub.pem");
const P384: &str = include_str!("../../fixtures/p384-test-key.pub.pem");
const P521: &str = include_str!("../../fixtures/p521-test-key.pub.pem");
const ED25519: &str = include_str!("../../fixtures/ed25519-test-key.pub.pem");

/// A token of each algorithm that has public keys, by its name.
fn tokens() -> BTreeMap<String, String> {
    serde_json::from_str(TOKENS).unwrap()
}

fn signed(claims: &Value) -> String {
    signed_with(claims, "secret", jsonwebtoken::Algorithm::HS256)
}

fn signed_with(claims: &Value, secret: &str, algorithm: jsonwebtoken::Algorithm) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// For claims that are no valid JSON value of ours.
fn signed_text(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(b"secret");
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn config() -> TokenConfig {
    TokenConfig { hmac_secret_key: Some("secret".to_owned()), ..TokenConfig::default() }
}

fn verifier() -> TokenVerifier {
    TokenVerifier::from_config(&config(), false).unwrap()
}

async fn connection(claims: Value) -> Result<ConnectionToken, TokenError> {
    verifier().verify_connection(&signed(&claims), 1_000).await
}

async fn subscription(claims: Value) -> Result<SubscriptionToken, TokenError> {
    verifier().verify_subscription(&signed(&claims), 1_000).await
}

fn text(json: Option<&Json>) -> Option<&str> {
    json.map(|json| json.get())
}

fn is_invalid<T>(result: &Result<T, TokenError>) -> bool {
    matches!(result, Err(TokenError::Invalid(_)))
}

fn is_expired<T>(result: &Result<T, TokenError>) -> bool {
    matches!(result, Err(TokenError::Expired))
}

#[tokio::test]
async fn a_token_signed_with_the_secret_names_its_user_and_its_end() {
    use jsonwebtoken::Algorithm::{HS256, HS384, HS512};
    for algorithm in [HS256, HS384, HS512] {
        let token = signed_with(&json!({"sub": "anna", "exp": 2_000}), "secret", algorithm);
        let verified = verifier().verify_connection(&token, 1_000).await.unwrap();
        assert_eq!((verified.user.as_str(), verified.expires_at), ("anna", Some(2_000)));
    }
    let verified = connection(json!({"exp": 2_000, "expire_at": 0})).await.unwrap();
    assert_eq!((verified.user.as_str(), verified.expires_at), ("", None));
}

#[tokio::test]
async fn each_algorithm_is_verified_with_the_configuration_s_key_of_its_kind() {
    let verifiers = [RSA, RSA_CERTIFICATE, P256, P384, P521, ED25519].map(|pem| {
        let (rsa, ecdsa) = (pem == RSA || pem == RSA_CERTIFICATE, [P256, P384, P521].contains(&pem));
        let config = TokenConfig {
            rsa_public_key: rsa.then(|| pem.to_owned()),
            ecdsa_public_key: ecdsa.then(|| pem.to_owned()),
            ed25519_public_key: (pem == ED25519).then(|| pem.to_owned()),
            ..config()
        };
        TokenVerifier::from_config(&config, false).unwrap()
    });
    for (algorithm, token) in tokens() {
        let mut verified = 0;
        for verifier in &verifiers {
            let result = verifier.verify_connection(&token, 0).await;
            verified += usize::from(result.as_ref().is_ok_and(|token| token.user == "anna"));
            assert!(result.is_ok() || is_invalid(&result), "{algorithm}: {result:?}");
        }
        let expected = if ["RS", "PS"].contains(&&algorithm[..2]) { 2 } else { 1 };
        assert_eq!(verified, expected, "{algorithm}");
    }
    assert_eq!(tokens().len(), 10);
}

#[tokio::test]
async fn a_changed_signature_or_message_of_any_algorithm_is_invalid() {
    let config =
        TokenConfig { rsa_public_key: Some(RSA.to_owned()), ed25519_public_key: Some(ED25519.to_owned()), ..config() };
    for (pem, names) in [(P256, "ES256"), (P384, "ES384"), (P521, "ES512 RS256 PS384 EdDSA")] {
        let config = TokenConfig { ecdsa_public_key: Some(pem.to_owned()), ..config.clone() };
        let verifier = TokenVerifier::from_config(&config, false).unwrap();
        for name in names.split(' ') {
            let token = &tokens()[name];
            assert!(verifier.verify_connection(token, 0).await.is_ok(), "{name}");
            let (message, signature) = token.rsplit_once('.').unwrap();
            let half = &signature[..signature.len() / 2];
            let (header, _) = message.split_once('.').unwrap();
            let other = format!("{header}.{}", URL_SAFE_NO_PAD.encode(r#"{"sub":"anne"}"#));
            for forged in [
                format!("{other}.{signature}"),
                format!("{message}.{half}"),
                format!("{message}."),
                format!("{message}.{}", "A".repeat(signature.len())),
                format!("{message}.{signature}A"),
                format!("{message}.{signature}="),
            ] {
                assert!(is_invalid(&verifier.verify_connection(&forged, 0).await), "{name}: {forged}");
            }
        }
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let config = TokenConfig { rsa_public_key: Some(RSA.to_owned()), ..TokenConfig::default() };
    let verifier = TokenVerifier::from_config(&config, false).unwrap();
    let forged = signed_with(&json!({"sub": "anna"}), RSA, jsonwebtoken::Algorithm::HS256);
    assert!(is_invalid(&verifier.verify_connection(&forged, 0).await));
}

#[test]
fn a_key_that_cannot_be_used_is_named() {
    let error = |config: TokenConfig| TokenVerifier::from_config(&config, false).unwrap_err();
    let cut = RSA.replace("MIIB", "MIIA");
    for pem in ["x", P256, ED25519, &cut, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
        let error = error(TokenConfig { rsa_public_key: Some(pem.to_owned()), ..config() });
        assert_eq!(error.option, "rsa_public_key", "{pem}");
    }
    let error_of_ecdsa = error(TokenConfig { ecdsa_public_key: Some(RSA_CERTIFICATE.to_owned()), ..config() });
    assert_eq!(error_of_ecdsa.to_string(), "ecdsa_public_key: a key of another kind");
    let url = TokenVerifier::new(None, Some("http://idp.example/jwks"), None, None).unwrap_err();
    assert_eq!(url.option, "jwks_public_endpoint");
    let error_of_ed25519 = error(TokenConfig { ed25519_public_key: Some(P256.to_owned()), ..config() });
    assert_eq!(error_of_ed25519.to_string(), "ed25519_public_key: a key of another kind");
}

#[tokio::test]
async fn an_expired_token_is_told_from_an_invalid_one() {
    let token = signed(&json!({"sub": "anna", "exp": 1_000}));
    assert!(is_expired(&verifier().verify_connection(&token, 1_000).await));
    assert!(verifier().verify_connection(&token, 999).await.is_ok());
    assert!(is_expired(&connection(json!({"sub": "anna", "exp": 2_000, "expire_at": 900})).await));
    assert!(is_expired(&connection(json!({"sub": "anna", "exp": 0})).await));
    assert!(is_expired(&subscription(json!({"sub": "anna", "channel": "a", "exp": 1_000})).await));
    assert!(is_expired(&subscription(json!({"sub": "anna", "channel": "a", "expire_at": 1_000})).await));
    // one that nobody of us issued is not even expired
    let foreign = signed_with(&json!({"exp": 1_000}), "other", jsonwebtoken::Algorithm::HS256);
    assert!(is_invalid(&verifier().verify_connection(&foreign, 1_000).await));
    assert!(is_invalid(&connection(json!({"exp": 1_000, "channel": "a"})).await));
}

#[tokio::test]
async fn a_token_before_its_time_is_as_an_expired_one() {
    assert!(is_expired(&connection(json!({"nbf": 1_001})).await));
    assert!(is_expired(&subscription(json!({"nbf": 1_000.5, "channel": "a"})).await));
    assert!(connection(json!({"nbf": 1_000})).await.is_ok());
}

#[tokio::test]
async fn dates_may_have_fractions_and_be_strings_but_expire_at_may_not() {
    for (exp, expected) in [
        (json!(1_000.5), Some(1_000)),
        (json!(1_999.999), Some(1_999)),
        (json!(2e3), Some(2_000)),
        (json!("2000"), Some(2_000)),
        (json!("2.0005e3"), Some(2_000)),
        (Value::Null, None),
        // not for longer than a year
        (json!(1e300), Some(1_000 + MAX_TTL)),
        (json!(u64::MAX), Some(1_000 + MAX_TTL)),
    ] {
        let verified = connection(json!({"exp": exp, "nbf": "1", "iat": 0.5})).await.unwrap();
        assert_eq!(verified.expires_at, expected, "{exp}");
    }
    for date in [json!("soon"), json!(""), json!("inf"), json!("NaN"), json!(true), json!([1]), json!({})] {
        for claim in ["exp", "nbf", "iat"] {
            assert!(is_invalid(&connection(json!({claim: date})).await), "{claim} {date}");
        }
    }
    assert!(is_expired(&connection(json!({"exp": -1e300})).await));
    for at in [json!(2_000.5), json!("2000"), json!(1e300)] {
        assert!(is_invalid(&connection(json!({"expire_at": at})).await), "{at}");
    }
    let verified = connection(json!({"exp": 2_000, "expire_at": null})).await.unwrap();
    assert_eq!(verified.expires_at, Some(2_000));
    let verified = connection(json!({"exp": 2_000, "expire_at": i64::MAX})).await.unwrap();
    assert_eq!(verified.expires_at, Some(1_000 + MAX_TTL));
}

#[tokio::test]
async fn what_is_no_connection_token_is_invalid() {
    let channel = signed(&json!({"sub": "anna", "channel": "status:all"}));
    let critical = signed_text(r#"{"alg":"HS256","crit":["exp"]}"#, "{}");
    let long = signed(&json!({"sub": "a".repeat(MAX_TOKEN_BYTES)}));
    // header {"alg":"none"}
    let none = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm5hIn0.";
    for token in ["", "x", ".", "..", "a.b.c", none, &channel, &critical, &long] {
        assert!(is_invalid(&verifier().verify_connection(token, 0).await), "{token}");
        assert!(token == channel || is_invalid(&verifier().verify_subscription(token, 0).await), "{token}");
    }
    for claims in ["", "1", "null", "[]", "{", r#"{"sub":1}"#, r#"{"sub":"a","sub":"b"}"#, r#"{"channel":1}"#] {
        let token = signed_text(r#"{"alg":"HS256"}"#, claims);
        assert!(is_invalid(&verifier().verify_connection(&token, 0).await), "{claims}");
    }
    for claims in [
        json!({"info": {}, "b64info": 1}),
        json!({"channels": "a"}),
        json!({"subs": {"a": 1}}),
        json!({"subs": {"a": {"override": {"presence": true}}}}),
        json!({"jti": 1}),
        json!({"aud": [1]}),
    ] {
        assert!(is_invalid(&connection(claims.clone()).await), "{claims}");
    }
}

#[tokio::test]
async fn without_a_key_no_token_is_valid() {
    let token = signed_with(&json!({"sub": "anna"}), "", jsonwebtoken::Algorithm::HS256);
    for secret in [None, Some("")] {
        let verifier = TokenVerifier::new(secret, Some(""), None, None).unwrap();
        assert!(is_invalid(&verifier.verify_connection(&token, 0).await));
        for token in tokens().values() {
            assert!(is_invalid(&verifier.verify_connection(token, 0).await));
        }
    }
}

#[tokio::test]
async fn the_previous_secret_counts_until_its_time_is_over() {
    let config = TokenConfig {
        hmac_previous_secret_key: Some("previous".to_owned()),
        hmac_previous_secret_key_valid_until: 2_000,
        ..config()
    };
    let for_ever = TokenConfig { hmac_previous_secret_key_valid_until: 0, ..config.clone() };
    let token = signed_with(&json!({"sub": "anna"}), "previous", jsonwebtoken::Algorithm::HS512);
    let verifier = TokenVerifier::from_config(&config, false).unwrap();
    assert!(verifier.verify_connection(&token, 2_000).await.is_ok());
    assert!(is_invalid(&verifier.verify_connection(&token, 2_001).await));
    assert!(verifier.verify_connection(&signed(&json!({})), 2_001).await.is_ok());
    let verifier = TokenVerifier::from_config(&for_ever, false).unwrap();
    assert!(verifier.verify_connection(&token, 9_999_999_999).await.is_ok());
}

#[tokio::test]
async fn audience_and_issuer_are_checked_where_they_are_configured() {
    let verifier = TokenVerifier::new(Some("secret"), None, Some("board".to_owned()), Some("idp".to_owned())).unwrap();
    let verify = async |claims: Value| verifier.verify_connection(&signed(&claims), 0).await.is_ok();
    assert!(verify(json!({"aud": "board", "iss": "idp"})).await);
    assert!(verify(json!({"aud": ["x", "board"], "iss": "idp"})).await);
    assert!(!verify(json!({"aud": "x", "iss": "idp"})).await);
    assert!(!verify(json!({"aud": [], "iss": "idp"})).await);
    assert!(!verify(json!({"aud": "board", "iss": "x"})).await);
    assert!(!verify(json!({"aud": "board"})).await);
    assert!(!verify(json!({})).await);
}

#[tokio::test]
async fn audience_and_issuer_may_be_expressions() {
    let channels = json!({ "client": { "token": {
        "hmac_secret_key": "secret", "audience_regex": "^board-(a|b)$", "issuer_regex": r"idp\.example" } } });
    let config = signalbox_channels::ChannelsConfig::parse(&channels.to_string()).unwrap().client.token;
    let verifier = TokenVerifier::from_config(&config, false).unwrap();
    let verify = async |claims: Value| verifier.verify_connection(&signed(&claims), 0).await.is_ok();
    assert!(verify(json!({"aud": ["x", "board-b"], "iss": "https://idp.example/"})).await);
    assert!(!verify(json!({"aud": "board-bc", "iss": "https://idp.example/"})).await);
    assert!(!verify(json!({"aud": "board-a", "iss": "https://idp-example/"})).await);
    assert!(!verify(json!({"iss": "https://idp.example/"})).await);
}

#[tokio::test]
async fn the_user_may_be_in_another_claim() {
    let config = TokenConfig { user_id_claim: Some("user_id".to_owned()), ..config() };
    let verifier = TokenVerifier::from_config(&config, false).unwrap();
    for (value, expected) in [
        (json!("änna\n"), Some("änna\n")),
        (json!(42), Some("42")),
        (json!(18_446_744_073_709_551_615_u64), Some("18446744073709551615")),
        (json!(true), Some("true")),
        (Value::Null, Some("")),
        (json!({}), None),
        (json!(["anna"]), None),
    ] {
        let token = signed(&json!({"sub": "x", "user_id": value, "channel": "a"}));
        let user = verifier.verify_subscription(&token, 0).await.map(|token| token.user);
        assert_eq!(user.ok().as_deref(), expected, "{value}");
    }
    // `sub` is not what it falls back to
    assert_eq!(verifier.verify_connection(&signed(&json!({"sub": "x"})), 0).await.unwrap().user, "");
}

#[tokio::test]
async fn info_is_json_on_one_line_and_null_is_none() {
    for (claims, expected) in [
        (json!({}), None),
        (json!({"info": null}), None),
        (json!({"info": {"name": "Änna"}}), Some(r#"{"name":"Änna"}"#)),
        (json!({"info": 0}), Some("0")),
        (json!({"info": "a\nb"}), Some(r#""a\nb""#)),
        // base64 of {"a":1} goes before
        (json!({"info": 0, "b64info": "eyJhIjoxfQ=="}), Some(r#"{"a":1}"#)),
        (json!({"info": 0, "b64info": ""}), Some("0")),
        (json!({"info": 0, "b64info": "bnVsbA=="}), None),
        // [1,⏎2]
        (json!({"b64info": "WzEsCjJd"}), Some("[1, 2]")),
    ] {
        let verified = connection(claims.clone()).await.unwrap();
        assert_eq!(text(verified.info.as_ref()), expected, "{claims}");
        let mut claims = claims;
        claims["channel"] = json!("a");
        let verified = subscription(claims.clone()).await.unwrap();
        assert_eq!(text(verified.info.as_ref()), expected, "{claims}");
    }
    let pretty = signed_text(r#"{"alg":"HS256"}"#, "{\"info\": {\r\n \"a\": \"b c\"\n}, \"meta\": [\n]}");
    let verified = verifier().verify_connection(&pretty, 0).await.unwrap();
    assert_eq!(text(verified.info.as_ref()), Some(r#"{   "a": "b c" }"#));
    assert_eq!(text(verified.meta.as_ref()), Some("[ ]"));
    // no base64, without padding, no text, no JSON, more than one value
    for b64 in ["!", "eyJhIjoxfQ", "/w==", "eA==", "MSAy"] {
        assert!(is_invalid(&connection(json!({"b64info": b64})).await), "{b64}");
        assert!(is_invalid(&subscription(json!({"b64data": b64, "channel": "a"})).await), "{b64}");
    }
}

#[tokio::test]
async fn a_connection_token_brings_subscriptions() {
    let verified = connection(json!({"channels": ["a", "b"], "meta": {"x": 1}})).await.unwrap();
    assert_eq!(verified.channels, ["a", "b"]);
    assert!(verified.subs.is_empty());
    assert_eq!(text(verified.meta.as_ref()), Some(r#"{"x":1}"#));

    let verified = connection(json!({ "channels": ["a", "b"], "subs": {
        "c": { "info": 1, "b64data": "Mg==", "override": { "presence": { "value": true }, "join_leave": null } },
        "d": {},
    }}))
    .await
    .unwrap();
    assert!(verified.channels.is_empty());
    assert_eq!(verified.subs.keys().collect::<Vec<_>>(), ["c", "d"]);
    let (c, d) = (&verified.subs["c"], &verified.subs["d"]);
    assert_eq!((text(c.info.as_ref()), text(c.data.as_ref())), (Some("1"), Some("2")));
    assert_eq!(c.overrides.presence.map(|presence| presence.value), Some(true));
    assert_eq!(c.overrides.join_leave, None);
    assert!(d.info.is_none() && d.data.is_none() && d.overrides == Overrides::default());

    let verified = connection(json!({"channels": null, "subs": null, "meta": null, "channel": ""})).await.unwrap();
    assert!(verified.channels.is_empty() && verified.subs.is_empty() && verified.meta.is_none());
}

#[tokio::test]
async fn a_subscription_token_is_for_one_channel_one_user_and_perhaps_one_client() {
    let claims = json!({"sub": "anna", "channel": "a", "data": [1], "exp": 1_500,
        "override": {"force_recovery": {"value": true}}});
    let verified = subscription(claims.clone()).await.unwrap();
    assert_eq!(verified.expires_at, Some(1_500));
    assert_eq!(text(verified.data.as_ref()), Some("[1]"));
    assert_eq!(verified.overrides.force_recovery.map(|recovery| recovery.value), Some(true));
    assert!(verified.is_for("a", "anna", "1"));
    assert!(!verified.is_for("a ", "anna", "1") && !verified.is_for("a", "", "1"));

    let mut for_client = claims;
    for_client["client"] = json!("1");
    let verified = subscription(for_client).await.unwrap();
    assert!(verified.is_for("a", "anna", "1") && !verified.is_for("a", "anna", "2"));

    for claims in [json!({"sub": "anna"}), json!({"channel": ""}), json!({"channel": null}), json!({"channel": 1})] {
        assert!(is_invalid(&subscription(claims.clone()).await), "{claims}");
    }
}

#[tokio::test]
async fn without_signatures_all_else_is_still_checked() {
    let config = TokenConfig { audience: Some("board".to_owned()), ..config() };
    let verifier = TokenVerifier::from_config(&config, true).unwrap();
    let token = |claims| signed_with(&claims, "other", jsonwebtoken::Algorithm::HS256);
    let verified = verifier.verify_connection(&token(json!({"sub": "anna", "aud": "board"})), 1_000).await;
    assert_eq!(verified.unwrap().user, "anna");
    assert!(is_invalid(&verifier.verify_connection(&token(json!({"aud": "x"})), 1_000).await));
    assert!(is_expired(&verifier.verify_connection(&token(json!({"aud": "board", "exp": 1_000})), 1_000).await));
}

/// Runs to its end at once: nothing here waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}

fn every_key() -> TokenVerifier {
    let config = TokenConfig {
        rsa_public_key: Some(RSA.to_owned()),
        ecdsa_public_key: Some(P521.to_owned()),
        ed25519_public_key: Some(ED25519.to_owned()),
        ..config()
    };
    TokenVerifier::from_config(&config, false).unwrap()
}

/// Claims with the names that mean something and values that may be right or wrong.
fn claims() -> impl Strategy<Value = Value> {
    const NAMES: &[&str] = &[
        "sub",
        "exp",
        "nbf",
        "iat",
        "jti",
        "aud",
        "iss",
        "expire_at",
        "info",
        "b64info",
        "channels",
        "subs",
        "meta",
        "channel",
        "client",
        "data",
        "b64data",
        "override",
        "presence",
        "value",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-1_000..3_000_i64).prop_map(Value::from),
        "[a-zA-Z0-9=+/ \n\"]{0,8}".prop_map(Value::from),
        Just(json!("eyJhIjoxfQ==")),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        let member = (prop::sample::select(NAMES), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            prop::collection::vec(member, 0..4).prop_map(object),
        ]
    });
    prop::collection::vec((prop::sample::select(NAMES), value), 0..8).prop_map(object)
}

fn object(members: Vec<(&str, Value)>) -> Value {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_arbitrary_text_is_a_token(
        text in prop_oneof![any::<String>(), r"eyJ[a-zA-Z0-9_-]{0,40}\.[a-zA-Z0-9_-]{0,40}\.[a-zA-Z0-9_-]{0,90}"],
    ) {
        prop_assert!(is_invalid(&now(every_key().verify_connection(&text, 1_000))));
        prop_assert!(is_invalid(&now(every_key().verify_subscription(&text, 1_000))));
    }

    #[test]
    fn no_header_and_claims_make_up_for_a_signature(
        algorithm in prop::sample::select(vec!["none", "HS256", "RS256", "PS512", "ES256", "ES512", "EdDSA", "hs256", ""]),
        claims in claims(),
        signature in prop::collection::vec(any::<u8>(), 0..140),
    ) {
        let header = json!({ "alg": algorithm }).to_string();
        let parts = [header, claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let token = format!("{parts}.{}", URL_SAFE_NO_PAD.encode(signature));
        prop_assert!(is_invalid(&now(every_key().verify_connection(&token, 1_000))));
        prop_assert!(is_invalid(&now(every_key().verify_subscription(&token, 1_000))));
    }

    #[test]
    fn whatever_was_signed_is_taken_whole_or_refused(claims in claims(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&claims).unwrap() } else { claims.to_string() };
        let token = signed_text(r#"{"alg":"HS256"}"#, &text);
        let is_line = |json: &Option<Json>| json.as_ref().is_none_or(|json| !json.get().contains(['\n', '\r']));
        if let Ok(token) = now(verifier().verify_connection(&token, 1_000)) {
            prop_assert!(claims["channel"].as_str().is_none_or(str::is_empty));
            prop_assert!(token.expires_at.is_none_or(|at| (1_001..=1_000 + MAX_TTL).contains(&at)));
            prop_assert!(is_line(&token.info) && is_line(&token.meta));
            prop_assert!(token.subs.values().all(|sub| is_line(&sub.info) && is_line(&sub.data)));
        }
        if let Ok(token) = now(verifier().verify_subscription(&token, 1_000)) {
            prop_assert_eq!(claims["channel"].as_str(), Some(token.channel.as_str()));
            prop_assert!(is_line(&token.info) && is_line(&token.data));
        }
    }
}

proptest! {
    // unoptimised curves are slow
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_token_with_another_character_anywhere_is_another_token(
        name in prop::sample::select(vec!["HS256", "HS256", "HS256", "RS256", "ES512", "EdDSA"]),
        at in any::<prop::sample::Index>(),
        character in prop::sample::select("AZaz09-_.= é\u{0}".chars().collect::<Vec<_>>()),
    ) {
        let hmac = signed(&json!({"sub": "anna"}));
        let token = tokens().remove(name).unwrap_or(hmac);
        prop_assert!(now(every_key().verify_connection(&token, 0)).is_ok());
        let at = at.index(token.len());
        let changed = format!("{}{character}{}", &token[..at], &token[at + 1..]);
        prop_assert!(changed == token || is_invalid(&now(every_key().verify_connection(&changed, 0))), "{}", changed);
        let (cut, longer) = (&token[..at], format!("{}{character}{}", &token[..at], &token[at..]));
        prop_assert!(is_invalid(&now(every_key().verify_connection(cut, 0))));
        prop_assert!(is_invalid(&now(every_key().verify_connection(&longer, 0))), "{}", longer);
    }
}
