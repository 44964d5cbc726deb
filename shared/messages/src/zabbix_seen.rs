use serde::{Deserialize, Serialize};

/// How a poller found Zabbix, after every poll: what tells a calm board from one that hears nothing.
///
/// It may be late or come twice: the one with the greatest `at_ms` is so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZabbixSeen {
    /// When it was polled, unix milliseconds of the poller.
    pub at_ms: i64,
    /// Absent after a poll that went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<PollFailure>,
    /// The last poll that went well, unix milliseconds: what is shown is as it was then. Absent if there was none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good_at_ms: Option<i64>,
    /// When the server itself last gave a sign of life, unix seconds of the poller's clock. The API answers also when
    /// the server is dead or frozen: over 15 to 30 s is an alarm (Zabbix notes, 4). Absent if the token's user may see
    /// neither the server's nodes nor one of its own items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_seen_at: Option<i64>,
    /// That sign as it was given, unix seconds of the server's own clock: another one than the last poll's is a sign of
    /// life, whatever the clocks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_sign: Option<i64>,
    /// How many milliseconds the frontend's clock is ahead of the poller's, to about a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead_ms: Option<i64>,
    /// Of the frontend, for example `7.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many problems are open, internal ones among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<usize>,
}

impl ZabbixSeen {
    /// Seconds without a sign of life from the server that are an alarm: it gives one every 5 s (Zabbix notes, 4).
    pub const SILENT_AFTER_S: i64 = 30;

    /// Milliseconds between the clocks that are worth a word.
    pub const CLOCK_OFF_MS: i64 = 60_000;

    /// Whether the frontend's clock is another than the poller's.
    pub fn is_clock_off(&self) -> bool {
        self.ahead_ms.is_some_and(|ahead| ahead.abs() > Self::CLOCK_OFF_MS)
    }

    /// Whether the server itself is silent, though its frontend may answer.
    pub fn is_silent(&self) -> bool {
        self.server_seen_at.is_some_and(|seen| self.at_ms.div_euclid(1_000) - seen > Self::SILENT_AFTER_S)
    }
}

/// Why a poll came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollFailure {
    /// One of a fixed few, for example `unreachable`, `token_refused`, `not_json`.
    pub code: String,
    /// For people; without secrets.
    pub message: String,
}
