//! `POST /webhook/zabbix`: a signed Zabbix notification becomes a [`StatusChanged`] on the bus.
//!
//! Zabbix's script throws on any answer but 2xx, and Zabbix then tries again (`maxattempts`, `attempt_interval` of the media
//! type), so the answer says whether the message is on the bus: 200 when it is, and when it is not
//!
//! | status | code | when |
//! |---|---|---|
//! | 413 | `too_large` | the body is over 256 KB |
//! | 401 | `unsigned`, `bad_signature`, `stale` | no or a malformed signature, a wrong one, one of another time |
//! | 400 | `not_json` | not a JSON object |
//! | 422 | `missing_field`, `invalid_field` | `field` names the field of the body |
//! | 503 | `bus_unavailable` | the bus did not take it |
//!
//! with the body `{"error": {"code", "message", "field"?}}`.

mod refusal;

use anyhow::Context as _;
use lambda_http::{Body, Request, Response};
use metrics::{counter, histogram};
use serde_json::json;
use signalbox_auth::{SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookSecret};
use signalbox_bus::Bus;
use signalbox_lambda::{Boot, env, now_ms};
use signalbox_messages::StatusChanged;
use signalbox_zabbix::{Zone, status_changed};
use tracing::{info, warn};

use crate::refusal::Refusal;

/// Largest body taken. Zabbix's own fields add up to some 20 KB; more would not fit onto the bus either.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// What the handler needs; one for the life of the environment.
#[derive(Debug)]
pub struct State {
    /// `WEBHOOK_SECRET`.
    pub secret: WebhookSecret,
    /// `ZABBIX_TIME_ZONE`: `auto`, or an IANA name.
    pub zone: Zone,
    /// `EVENT_BUS_NAME`.
    pub bus: Bus,
}

impl State {
    /// Reads the environment.
    ///
    /// # Errors
    /// Names the variable that is missing or not usable.
    pub fn from_env(boot: &Boot) -> anyhow::Result<Self> {
        let secret = WebhookSecret::new(&env::require("WEBHOOK_SECRET")?).context("WEBHOOK_SECRET is empty")?;
        let zone =
            env::optional("ZABBIX_TIME_ZONE").as_deref().unwrap_or("auto").parse().context("ZABBIX_TIME_ZONE")?;
        let bus = Bus::new(&boot.aws()?, env::require("EVENT_BUS_NAME")?);
        Ok(Self { secret, zone, bus })
    }
}

/// Answers one request.
pub async fn handle(state: &State, request: Request) -> Response<Body> {
    match accept(state, &request, now_ms()).await {
        Ok(message) => {
            counter!("Accepted").increment(1);
            if let Some(sent_at_ms) = message.sent_at_ms {
                // clocks differ: a message does not arrive before it was sent
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of latency")]
                histogram!("ZabbixToAccepted").record((message.accepted_at_ms - sent_at_ms).max(0) as f64);
            }
            let (id, event_id) = (&message.id, &message.event_id);
            info!(message.id = %id, event_id = %event_id, kind = message.kind.as_str(), "Accepted {id}");
            refusal::respond(200, &json!({ "id": id, "event_id": event_id }))
        }
        Err(refusal) => {
            let code = refusal.code();
            counter!("Rejected", "reason" => code).increment(1);
            // a field's value is text from outside and stays out of the log
            warn!(code, field = refusal.field(), cause = refusal.cause(), "Refused a webhook: {code}");
            refusal.into_response()
        }
    }
}

async fn accept(state: &State, request: &Request, now_ms: i64) -> Result<StatusChanged, Refusal> {
    let body: &[u8] = request.body();
    if body.len() > MAX_BODY_BYTES {
        return Err(Refusal::TooLarge);
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    state.secret.verify(header(TIMESTAMP_HEADER), header(SIGNATURE_HEADER), body, now_ms.div_euclid(1_000))?;
    let message = status_changed(body, now_ms, &state.zone)?;
    state.bus.put(&message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests;
