use std::collections::{BTreeMap, HashSet};

use futures::TryStreamExt as _;
use signalbox_connections::Subscriber;
use signalbox_protocol::{ClientInfo, PresenceStatsResult};

use crate::{
    ending::{info_of, is_over},
    publish::{Publisher, now_ms},
};

impl Publisher {
    /// Who is in a channel, by client id. One row is read for each, and each is in memory: a reply has 128 KB anyway.
    pub async fn presence(&self, channel: &str) -> anyhow::Result<BTreeMap<String, ClientInfo>> {
        let present = self.rows(channel, 0..self.shards(channel), None).try_filter_map(|row| async move {
            Ok(self.is_present(&row).then(|| (row.client.clone(), info_of(&row))))
        });
        present.try_collect().await
    }

    /// How many connections and users are in a channel.
    pub async fn presence_stats(&self, channel: &str) -> anyhow::Result<PresenceStatsResult> {
        let counted = self.rows(channel, 0..self.shards(channel), None).try_fold(
            (0_u32, HashSet::new()),
            |(clients, mut users), row| async move {
                if !self.is_present(&row) {
                    return Ok((clients, users));
                }
                users.insert(row.user);
                Ok((clients + 1, users))
            },
        );
        let (num_clients, users) = counted.await?;
        Ok(PresenceStatsResult { num_clients, num_users: u32::try_from(users.len())? })
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
