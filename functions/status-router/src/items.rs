use anyhow::Context as _;
use signalbox_channels::{ChannelName, items_channel};
use signalbox_messages::ItemValues;
use signalbox_publishing::{Message, PublishError, PublishOptions};
use tracing::{info, warn};

use crate::State;

/// One publication a message, as it is. Dropped where nobody could subscribe to it: without the namespace `items`,
/// and for a host whose name makes no channel.
pub(crate) async fn publish(state: &State, values: &ItemValues) -> anyhow::Result<()> {
    let dropped = |why: &'static str| {
        metrics::counter!("ItemValuesDropped", "reason" => why).increment(values.values.len() as u64);
        Ok(())
    };
    let Some(channel) = items_channel(&values.host.host) else { return dropped("name") };
    let name = ChannelName::parse(channel)?;
    let Some(namespace) = state.channels.namespace_of(&name) else { return dropped("namespace") };
    let data = serde_json::value::to_raw_value(values).context("publication")?;
    let options = PublishOptions { idempotency_keys: &[&values.id], ..PublishOptions::default() };
    let publisher = &state.publisher;
    let published = match publisher.publish(name.as_str(), namespace, &Message::new(&data), &options).await {
        Ok(published) => published,
        // with deltas a publication may need more room than its data has: again would be the same
        Err(PublishError::TooLarge) => {
            warn!(id = values.id, bytes = data.get().len(), "item values are too large for a publication");
            return dropped("size");
        }
        Err(PublishError::Unexpected(cause)) => return Err(cause).with_context(|| format!("publish to {name}")),
    };
    if !published.delivered {
        publisher.ensure_delivered(name.as_str(), namespace, published.offset).await?;
    }
    metrics::counter!("ItemValuesRouted").increment(values.values.len() as u64);
    info!(id = values.id, values = values.values.len(), "routed");
    Ok(())
}
