use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;
use signalbox_channels::Overrides;

/// Raw JSON on one line.
pub(crate) type Json = Box<RawValue>;

/// The claims that both kinds of tokens have (RFC 7519, section 4.1), as Centrifugo reads them: strings are strings, dates may have
/// fractions and may be strings, null counts as absent.
#[derive(Debug, Deserialize)]
pub(crate) struct Registered {
    pub(crate) iss: Option<String>,
    pub(crate) aud: Option<Audience>,
    pub(crate) sub: Option<String>,
    pub(crate) exp: Option<NumericDate>,
    pub(crate) nbf: Option<NumericDate>,
    // not looked at, but they must be what they are to be
    #[serde(rename = "iat")]
    _issued_at: Option<NumericDate>,
    #[serde(rename = "jti")]
    _id: Option<String>,
    pub(crate) expire_at: Option<i64>,
}

/// The other claims of a connection token.
#[derive(Debug, Deserialize)]
pub(crate) struct Connection {
    info: Option<Json>,
    b64info: Option<String>,
    pub(crate) channels: Option<Vec<String>>,
    pub(crate) subs: Option<BTreeMap<String, Subscription>>,
    meta: Option<Json>,
    pub(crate) channel: Option<String>,
}

/// The other claims of a subscription token, and a subscription in a connection token, which has no channel and no client.
#[derive(Debug, Deserialize)]
pub(crate) struct Subscription {
    info: Option<Json>,
    b64info: Option<String>,
    data: Option<Json>,
    b64data: Option<String>,
    r#override: Option<Overrides>,
    pub(crate) channel: Option<String>,
    pub(crate) client: Option<String>,
}

impl Connection {
    pub(crate) fn info(&mut self) -> Result<Option<Json>, String> {
        json("info", self.info.take(), self.b64info.take())
    }

    pub(crate) fn meta(&mut self) -> Result<Option<Json>, String> {
        json("meta", self.meta.take(), None)
    }
}

impl Subscription {
    pub(crate) fn info(&mut self) -> Result<Option<Json>, String> {
        json("info", self.info.take(), self.b64info.take())
    }

    pub(crate) fn data(&mut self) -> Result<Option<Json>, String> {
        json("data", self.data.take(), self.b64data.take())
    }

    pub(crate) fn overrides(&self) -> Overrides {
        self.r#override.unwrap_or_default()
    }
}

/// The text, or what stands in base64 instead; that must be JSON too, because the JSON protocol embeds it.
fn json(claim: &str, plain: Option<Json>, base64: Option<String>) -> Result<Option<Json>, String> {
    let json = match base64.filter(|text| !text.is_empty()) {
        None => plain,
        Some(base64) => {
            let bytes = STANDARD.decode(base64).map_err(|_| format!("b64{claim} is not base64"))?;
            let text = String::from_utf8(bytes).map_err(|_| format!("b64{claim} is not text"))?;
            Some(RawValue::from_string(text).map_err(|_| format!("b64{claim} is not JSON"))?)
        }
    };
    let Some(json) = json.filter(|json| json.get() != "null") else { return Ok(None) };
    if !json.get().contains(['\n', '\r']) {
        return Ok(Some(json));
    }
    // a line is a message of the protocol, and within a JSON string there are no line breaks
    let line = json.get().replace(['\n', '\r'], " ");
    RawValue::from_string(line).map(Some).map_err(|error| format!("{claim}: {error}"))
}

/// The user in a claim of another name than `sub`; empty without it. Numbers and booleans count as they are written.
pub(crate) fn user(claims: &[u8], claim: &str) -> Result<String, String> {
    let claims: BTreeMap<String, &RawValue> = serde_json::from_slice(claims).map_err(|error| error.to_string())?;
    let Some(value) = claims.get(claim).map(|value| value.get()) else { return Ok(String::new()) };
    match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str(value).map_err(|error| error.to_string()),
        Some(b'[' | b'{') => Err(format!("{claim} is not a user's name")),
        _ if value == "null" => Ok(String::new()),
        _ => Ok(value.to_owned()),
    }
}

/// One audience, or several.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    pub(crate) fn any(&self, is_wanted: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::One(audience) => is_wanted(audience),
            Self::Several(audiences) => audiences.iter().any(|audience| is_wanted(audience)),
        }
    }
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519, section 2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct NumericDate(f64);

impl NumericDate {
    /// Whether it is at or before that second.
    pub(crate) fn is_past(self, now: i64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 need 31 bits")]
        let now = now as f64;
        self.0 <= now
    }

    /// Whether it is after that second's beginning.
    pub(crate) fn is_to_come(self, now: i64) -> bool {
        !self.is_past(now)
    }

    /// The second that it is in; the first or last there is if it is beyond.
    pub(crate) fn second(self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "saturates")]
        let second = self.0.floor() as i64;
        second
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = NumericDate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of seconds")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<NumericDate, E> {
                if value.is_finite() { Ok(NumericDate(value)) } else { Err(E::custom("not a time")) }
            }

            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 need 31 bits")]
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<NumericDate, E> {
                Ok(NumericDate(value as f64))
            }

            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 need 31 bits")]
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<NumericDate, E> {
                Ok(NumericDate(value as f64))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<NumericDate, E> {
                // a number as JSON has it: Rust would read "inf" as well
                serde_json::from_str(value).map_err(E::custom).and_then(|value| self.visit_f64(value))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
