use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, de::IgnoredAny};
use signalbox_channels::{Overrides, Regex, TokenConfig};

use crate::{
    claims::{self, Json, Registered},
    jwks::Jwks,
    key::{Algorithm, Key, Kind},
};

/// No frame of a client holds a longer one (API Gateway: 32 KB).
const MAX_TOKEN_BYTES: usize = 32 * 1024;

/// Nothing is granted for longer, as in Centrifugo: a year, in seconds.
const MAX_TTL: i64 = 365 * 24 * 3600;

/// What a connection token says (Centrifugo docs, "Client JWT authentication"). Texts in JSON have no line breaks.
#[derive(Debug, Clone, Default)]
pub struct ConnectionToken {
    /// `sub`, or the claim that the configuration names; empty = anonymous.
    pub user: String,
    /// `expire_at` if present (0 = never), else `exp`: unix seconds until when the connection may go on, a year from now at
    /// most.
    pub expires_at: Option<i64>,
    /// `b64info` or `info`: what others see of the connection.
    pub info: Option<Json>,
    /// Server-side subscriptions without options; empty if there are `subs`, which go before them.
    pub channels: Vec<String>,
    /// Server-side subscriptions.
    pub subs: BTreeMap<String, TokenSubscription>,
    /// For the backend; never shown to clients.
    pub meta: Option<Json>,
}

/// A server-side subscription of a connection token.
#[derive(Debug, Clone, Default)]
pub struct TokenSubscription {
    /// `b64info` or `info`: what others see of the subscription.
    pub info: Option<Json>,
    /// `b64data` or `data`: what the client gets with the subscription.
    pub data: Option<Json>,
    /// What holds in place of the namespace's options.
    pub overrides: Overrides,
}

/// What a subscription token says (Centrifugo docs, "Channel JWT authorization"). Texts in JSON have no line breaks.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionToken {
    /// As a connection token's; must be the connection's.
    pub user: String,
    /// Never empty; must be exactly the one asked for.
    pub channel: String,
    /// The one client that may use it, of Centrifugo 3; empty = any.
    pub client: String,
    /// `expire_at` if present (0 = never), else `exp`: unix seconds until when the subscription may go on, a year from now at
    /// most.
    pub expires_at: Option<i64>,
    /// `b64info` or `info`: what others see of the subscription.
    pub info: Option<Json>,
    /// `b64data` or `data`: what the client gets with the subscription.
    pub data: Option<Json>,
    /// What holds in place of the namespace's options.
    pub overrides: Overrides,
}

impl SubscriptionToken {
    /// Whether it was issued for that channel, user and client (id): otherwise 3500.
    pub fn is_for(&self, channel: &str, user: &str, client: &str) -> bool {
        self.channel == channel && self.user == user && (self.client.is_empty() || self.client == client)
    }
}

/// Why a token does not do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TokenError {
    /// Its time is over, or has not begun: the client may fetch a new one (error 109). `expire_at` counts as `exp` does: where
    /// Centrifugo answers 110, after which an SDK gives up, a new token is what helps.
    #[error("token has expired")]
    Expired,
    /// Not one of ours (disconnect 3500; 103 when subscribing). The reason is for the log.
    #[error("invalid token: {0}")]
    Invalid(String),
    /// The key that could verify it cannot be had at the moment (error 100, temporary).
    #[error("keys are not available: {0}")]
    KeysUnavailable(String),
}

/// An option of `client.token` (or `client.subscription_token`) that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{option}: {reason}")]
pub struct TokenConfigError {
    /// Its name.
    pub option: &'static str,
    /// Why not.
    pub reason: String,
}

/// Verifies clients' JWTs: HS256–512 with a shared secret; RS256–512, PS256–512, ES256–512 and `EdDSA` with public keys of the
/// configuration or from a JWKS URL. Each algorithm is only ever tried with a key of its own kind.
///
/// All keys that are configured count, where Centrifugo heeds the JWKS alone if there is one. PS and public keys for `EdDSA` are
/// ours.
#[derive(Debug)]
pub struct TokenVerifier {
    keys: Vec<Trusted>,
    jwks: Option<Jwks>,
    audience: Option<Wanted>,
    issuer: Option<Wanted>,
    user_id_claim: Option<String>,
    skips_signatures: bool,
}

#[derive(Debug)]
struct Trusted {
    key: Key,
    /// Unix seconds; 0 = for ever.
    until: i64,
}

#[derive(Debug)]
enum Wanted {
    Exactly(String),
    Matching(Regex),
}

impl Wanted {
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Exactly(wanted) => wanted == text,
            Self::Matching(regex) => regex.matches(text),
        }
    }
}

impl TokenVerifier {
    /// A verifier without keys refuses every token; audience and issuer are checked only where they are given.
    ///
    /// # Errors
    /// A JWKS URL that is none, or is not https (http is for a host on this machine).
    pub fn new(
        hmac_secret: Option<&str>,
        jwks_url: Option<&str>,
        audience: Option<String>,
        issuer: Option<String>,
    ) -> Result<Self, TokenConfigError> {
        let config = TokenConfig {
            hmac_secret_key: hmac_secret.map(str::to_owned),
            jwks_public_endpoint: jwks_url.map(str::to_owned),
            audience,
            issuer,
            ..TokenConfig::default()
        };
        Self::from_config(&config, false)
    }

    /// A verifier with the keys of `client.token` or `client.subscription_token`. Empty texts count as absent.
    ///
    /// `skips_signatures` is `client.insecure_skip_token_signature_verify`: whoever can write a token is believed.
    ///
    /// # Errors
    /// The first option that cannot be used.
    pub fn from_config(config: &TokenConfig, skips_signatures: bool) -> Result<Self, TokenConfigError> {
        fn given(option: Option<&String>) -> Option<&str> {
            option.map(String::as_str).filter(|text| !text.is_empty())
        }
        let secrets = [
            (&config.hmac_secret_key, 0),
            (&config.hmac_previous_secret_key, config.hmac_previous_secret_key_valid_until),
        ];
        let keys = secrets.into_iter().filter_map(|(secret, until)| {
            let key = Key::hmac(given(secret.as_ref())?)?;
            Some(Trusted { key, until })
        });
        let jwks = given(config.jwks_public_endpoint.as_ref())
            .map(Jwks::new)
            .transpose()
            .map_err(|reason| TokenConfigError { option: "jwks_public_endpoint", reason })?;
        let wanted = |text: &Option<String>, regex: &Option<Regex>| {
            let exactly = given(text.as_ref()).map(|text| Wanted::Exactly(text.to_owned()));
            exactly.or_else(|| regex.clone().map(Wanted::Matching))
        };
        let verifier = Self {
            keys: keys.collect(),
            jwks,
            audience: wanted(&config.audience, &config.audience_regex),
            issuer: wanted(&config.issuer, &config.issuer_regex),
            user_id_claim: given(config.user_id_claim.as_ref()).map(str::to_owned),
            skips_signatures,
        };
        verifier
            .with_public_key("rsa_public_key", given(config.rsa_public_key.as_ref()), &[Kind::Rsa])?
            .with_public_key(
                "ecdsa_public_key",
                given(config.ecdsa_public_key.as_ref()),
                &[Kind::P256, Kind::P384, Kind::P521],
            )?
            .with_public_key("ed25519_public_key", given(config.ed25519_public_key.as_ref()), &[Kind::Ed25519])
    }

    fn with_public_key(
        mut self,
        option: &'static str,
        pem: Option<&str>,
        kinds: &[Kind],
    ) -> Result<Self, TokenConfigError> {
        let Some(pem) = pem else { return Ok(self) };
        let key = Key::from_pem(pem).map_err(|reason| TokenConfigError { option, reason })?;
        if !kinds.contains(&key.kind()) {
            return Err(TokenConfigError { option, reason: "a key of another kind".to_owned() });
        }
        self.keys.push(Trusted { key, until: 0 });
        Ok(self)
    }

    /// Verifies a connection token at unix time `now`.
    pub async fn verify_connection(&self, token: &str, now: i64) -> Result<ConnectionToken, TokenError> {
        let verified = self.verify(token, now).await?;
        let mut claims: claims::Connection = verified.read()?;
        if claims.channel.take().is_some_and(|channel| !channel.is_empty()) {
            return Err(TokenError::Invalid("a subscription token is no connection token".to_owned()));
        }
        let expires_at = verified.lives_until(now)?;
        let subs = claims.subs.take().unwrap_or_default().into_iter().map(|(channel, mut subscription)| {
            let (info, data) = (subscription.info()?, subscription.data()?);
            Ok((channel, TokenSubscription { info, data, overrides: subscription.overrides() }))
        });
        let subs: BTreeMap<_, _> = subs.collect::<Result<_, String>>().map_err(TokenError::Invalid)?;
        Ok(ConnectionToken {
            user: verified.user,
            expires_at,
            info: claims.info().map_err(TokenError::Invalid)?,
            channels: claims.channels.take().filter(|_| subs.is_empty()).unwrap_or_default(),
            subs,
            meta: claims.meta().map_err(TokenError::Invalid)?,
        })
    }

    /// Verifies a subscription token at unix time `now`. Whether it is for this user, channel and client is asked with
    /// [`SubscriptionToken::is_for`].
    pub async fn verify_subscription(&self, token: &str, now: i64) -> Result<SubscriptionToken, TokenError> {
        let verified = self.verify(token, now).await?;
        let mut claims: claims::Subscription = verified.read()?;
        let expires_at = verified.lives_until(now)?;
        let channel = claims.channel.take().filter(|channel| !channel.is_empty());
        let channel = channel.ok_or_else(|| TokenError::Invalid("no channel: no subscription token".to_owned()))?;
        Ok(SubscriptionToken {
            user: verified.user,
            channel,
            client: claims.client.take().unwrap_or_default(),
            expires_at,
            info: claims.info().map_err(TokenError::Invalid)?,
            data: claims.data().map_err(TokenError::Invalid)?,
            overrides: claims.overrides(),
        })
    }

    /// Whether the token is from who may issue them, and for us. Its time is looked at later: an expired one of somebody else is
    /// invalid.
    async fn verify(&self, token: &str, now: i64) -> Result<Verified, TokenError> {
        let invalid = |reason: &str| TokenError::Invalid(reason.to_owned());
        if token.len() > MAX_TOKEN_BYTES {
            return Err(invalid("too long"));
        }
        let (message, signature) = token.rsplit_once('.').ok_or_else(|| invalid("not three parts"))?;
        let (header, payload) = message.split_once('.').ok_or_else(|| invalid("not three parts"))?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| invalid("not base64url"));
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| invalid("no header"))?;
        // what must be understood and is not (RFC 7515, section 4.1.11)
        if header.crit.is_some() {
            return Err(invalid("an extension is critical"));
        }
        let payload = decoded(payload)?;
        if !self.skips_signatures {
            self.verify_signature(&header, message, signature, now).await?;
        }
        let claims: Registered =
            serde_json::from_slice(&payload).map_err(|error| TokenError::Invalid(error.to_string()))?;
        if let Some(wanted) = &self.audience
            && !claims.aud.as_ref().is_some_and(|audience| audience.any(|audience| wanted.is(audience)))
        {
            return Err(invalid("not for this audience"));
        }
        // a regular expression may match no issuer at all, as in Centrifugo
        if self.issuer.as_ref().is_some_and(|wanted| !wanted.is(claims.iss.as_deref().unwrap_or_default())) {
            return Err(invalid("not by this issuer"));
        }
        let user = match &self.user_id_claim {
            Some(claim) => claims::user(&payload, claim).map_err(TokenError::Invalid)?,
            None => claims.sub.clone().unwrap_or_default(),
        };
        Ok(Verified { user, claims, payload })
    }

    async fn verify_signature(
        &self,
        header: &Header,
        message: &str,
        signature: &str,
        now: i64,
    ) -> Result<(), TokenError> {
        let unknown = || TokenError::Invalid(format!("no key for {}", header.alg));
        let algorithm = Algorithm::parse(&header.alg).ok_or_else(unknown)?;
        let mut suitable = self
            .keys
            .iter()
            .filter(|trusted| trusted.key.suits(algorithm) && (trusted.until == 0 || now <= trusted.until))
            .peekable();
        let tried = suitable.peek().is_some();
        if suitable.any(|trusted| trusted.key.verifies(algorithm, message, signature)) {
            return Ok(());
        }
        if let Some(jwks) = self.jwks.as_ref().filter(|_| algorithm.is_asymmetric()) {
            let key = jwks.key(header.kid.as_deref(), algorithm).await?;
            if key.verifies(algorithm, message, signature) {
                return Ok(());
            }
        } else if !tried {
            return Err(unknown());
        }
        Err(TokenError::Invalid("the signature does not match".to_owned()))
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

/// A token of which all is known but its time.
struct Verified {
    user: String,
    claims: Registered,
    payload: Vec<u8>,
}

impl Verified {
    fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, TokenError> {
        serde_json::from_slice(&self.payload).map_err(|error| TokenError::Invalid(error.to_string()))
    }

    /// Until when what it grants may last; no leeway, as in Centrifugo.
    fn lives_until(&self, now: i64) -> Result<Option<i64>, TokenError> {
        let Registered { exp, nbf, expire_at, .. } = self.claims;
        if exp.is_some_and(|exp| exp.is_past(now)) || nbf.is_some_and(|nbf| nbf.is_to_come(now)) {
            return Err(TokenError::Expired);
        }
        if expire_at.is_some_and(|at| at > 0 && at <= now) {
            return Err(TokenError::Expired);
        }
        let until = match expire_at {
            Some(at) => Some(at).filter(|at| *at > 0),
            None => exp.map(claims::NumericDate::second),
        };
        Ok(until.map(|at| at.min(now.saturating_add(MAX_TTL))))
    }
}

#[cfg(test)]
mod tests;
