use std::collections::{BTreeMap, HashSet};

use futures::{Stream, TryStreamExt as _, future};
use signalbox_connections::Subscriber;
use signalbox_protocol::{ClientInfo, PresenceStatsResult};

use crate::{
    ending::{info_of, is_over},
    publish::{Publisher, now_ms},
};

/// Connections of which it is looked up at once whether their tokens were renewed.
const AT_ONCE: usize = 32;

impl Publisher {
    /// Who is in a channel, by client id. One row is read for each, and each is in memory: a reply has 128 KB anyway.
    pub async fn presence(&self, channel: &str) -> anyhow::Result<BTreeMap<String, ClientInfo>> {
        self.present(channel).map_ok(|row| (row.client.clone(), info_of(&row))).try_collect().await
    }

    /// How many connections and users are in a channel.
    pub async fn presence_stats(&self, channel: &str) -> anyhow::Result<PresenceStatsResult> {
        let counted = self.present(channel).try_fold((0_u32, HashSet::new()), |(clients, mut users), row| {
            users.insert(row.user);
            future::ready(Ok((clients + 1, users)))
        });
        let (num_clients, users) = counted.await?;
        Ok(PresenceStatsResult { num_clients, num_users: u32::try_from(users.len())? })
    }

    fn present<'a>(&'a self, channel: &'a str) -> impl Stream<Item = anyhow::Result<Subscriber>> + 'a {
        self.rows(channel, 0..self.shards(channel), None)
            .try_filter(|row| future::ready(self.is_present(row)))
            .map_ok(move |row| async move { Ok((!self.is_expired(channel, &row).await?).then_some(row)) })
            .try_buffer_unordered(AT_ONCE)
            .try_filter_map(future::ok)
    }

    /// TTL removes rows late, and what came to its end is told with the next post. A row need not be ready: a client that asks as
    /// soon as it is told that it is subscribed finds itself.
    fn is_present(&self, row: &Subscriber) -> bool {
        row.presence
            && !row.lost
            && row.ttl > now_ms() / 1000
            && !is_over(row.sub_expires_at, self.channels.client.expired_sub_close_delay)
    }
}
