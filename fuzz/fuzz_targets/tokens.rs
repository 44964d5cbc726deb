//! Tokens: no text is one without a signature of ours; whatever was signed, or is believed without, is taken whole or refused.

#![no_main]

use std::{
    pin::pin,
    sync::LazyLock,
    task::{Context, Poll, Waker},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use signalbox_auth::{TokenError, TokenVerifier};
use signalbox_channels::TokenConfig;

const NOW: i64 = 1_000;
/// A year, in seconds.
const LONGEST: i64 = 365 * 24 * 3600;

/// All kinds of keys.
static STRICT: LazyLock<TokenVerifier> = LazyLock::new(|| {
    let config = TokenConfig {
        hmac_secret_key: Some("secret".to_owned()),
        rsa_public_key: Some(include_str!("../../shared/auth/fixtures/rsa-test-key.pub.pem").to_owned()),
        ecdsa_public_key: Some(include_str!("../../shared/auth/fixtures/p256-test-key.pub.pem").to_owned()),
        ed25519_public_key: Some(include_str!("../../shared/auth/fixtures/ed25519-test-key.pub.pem").to_owned()),
        ..TokenConfig::default()
    };
    TokenVerifier::from_config(&config, false).expect("keys")
});

/// `client.insecure_skip_token_signature_verify`: so the claims are read whoever wrote them.
static BELIEVING: LazyLock<TokenVerifier> =
    LazyLock::new(|| TokenVerifier::from_config(&TokenConfig::default(), true).expect("no keys"));

fuzz_target!(|text: &str| {
    for invalid in [now(STRICT.verify_connection(text, NOW)).err(), now(STRICT.verify_subscription(text, NOW)).err()] {
        assert!(matches!(invalid, Some(TokenError::Invalid(_))), "{text}: {invalid:?}");
    }
    let parts = [r#"{"alg":"HS256"}"#, text].map(|part| URL_SAFE_NO_PAD.encode(part));
    for token in [text.to_owned(), format!("{}.{}.", parts[0], parts[1])] {
        if let Ok(token) = now(BELIEVING.verify_connection(&token, NOW)) {
            assert!(token.expires_at.is_none_or(|at| (NOW + 1..=NOW + LONGEST).contains(&at)), "{token:?}");
            let json = token.subs.values().flat_map(|sub| [&sub.info, &sub.data]).chain([&token.info, &token.meta]);
            assert!(json.flatten().all(|json| !json.get().contains(['\n', '\r'])), "a line break within a line");
        }
        if let Ok(token) = now(BELIEVING.verify_subscription(&token, NOW)) {
            assert!(!token.channel.is_empty());
            assert!(token.expires_at.is_none_or(|at| (NOW + 1..=NOW + LONGEST).contains(&at)), "{token:?}");
        }
    }
});

/// Without a JWKS there is nothing to wait for.
fn now<T>(verified: impl Future<Output = T>) -> T {
    match pin!(verified).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("nothing is to be fetched"),
    }
}
