use signalbox_channels::Namespace;
use signalbox_protocol::Json;

use crate::publish::{Message, PublishError, PublishOptions, Publisher, now_ms};

/// A part of a publication that tells of several things.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The same key on a channel within five minutes is published once, whatever it stands together with.
    pub idempotency_key: &'a str,
    /// Any JSON.
    pub data: &'a Json,
}

impl Publisher {
    /// Publishes those of `parts` that are not published yet, together, and sees to it that all of them are delivered
    /// ([`Publisher::ensure_delivered`]). `compose` makes the payload. In a channel without history each part is a publication.
    ///
    /// For who works on batches that may come again, and with other neighbours: in a channel that many write to at once, a
    /// publication costs what it costs, and not what it tells. `again`: some may be published already.
    pub async fn publish_parts(
        &self,
        channel: &str,
        namespace: &Namespace,
        mut parts: Vec<Part<'_>>,
        again: bool,
        compose: impl Fn(&[Part<'_>]) -> Result<Json, serde_json::Error>,
    ) -> Result<(), PublishError> {
        let compose = |parts: &[Part<'_>]| compose(parts).map_err(|cause| PublishError::Unexpected(cause.into()));
        if !namespace.has_history() {
            for part in parts {
                let (data, keys) = (compose(&[part])?, [part.idempotency_key]);
                let options = PublishOptions { idempotency_keys: &keys, ..PublishOptions::default() };
                self.publish(channel, namespace, &Message::new(&data), &options).await?;
            }
            return Ok(());
        }
        let (mut top, mut look) = (0, again);
        while !parts.is_empty() {
            if look {
                let keys: Vec<&str> = parts.iter().map(|part| part.idempotency_key).collect();
                let offsets = self.table.offsets_of(channel, &keys, now_ms() / 1000).await?;
                top = offsets.iter().flatten().copied().fold(top, u64::max);
                let mut known = offsets.into_iter().map(|offset| offset.is_some());
                parts.retain(|_| !known.next().unwrap_or_default());
                look = false;
                continue;
            }
            let data = compose(&parts)?;
            let keys: Vec<&str> = parts.iter().map(|part| part.idempotency_key).collect();
            let options = PublishOptions { idempotency_keys: &keys, ..PublishOptions::default() };
            let published = self.publish(channel, namespace, &Message::new(&data), &options).await?;
            if published.duplicate {
                // one of them is out: which one?
                look = true;
                continue;
            }
            top = top.max(if published.delivered { 0 } else { published.offset });
            break;
        }
        if top > 0 {
            self.ensure_delivered(channel, namespace, top).await?;
        }
        Ok(())
    }
}
