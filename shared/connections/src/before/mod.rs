//! The table as it was before issue 3, for callers that have not moved yet; goes away with the last of them.

mod channel;
mod connection;
mod subscription;

pub use channel::{Appended, Head, LogEntry, LogWrite};
pub use connection::{Admission, Authentication, Connection, ConnectionState};
pub use subscription::{PageStart, Subscribed, Subscriber};

use aws_sdk_dynamodb::Client;
use aws_types::SdkConfig;

/// Connections, subscriptions, channel heads and logs.
#[derive(Debug, Clone)]
pub struct ConnectionTable {
    pub(crate) client: Client,
    pub(crate) table: String,
}

impl ConnectionTable {
    /// The table of that name.
    pub fn new(aws: &SdkConfig, table: impl Into<String>) -> Self {
        Self { client: Client::new(aws), table: table.into() }
    }
}

impl From<ConnectionTable> for crate::table::ConnectionTable {
    fn from(old: ConnectionTable) -> Self {
        Self::with_client(old.client, old.table)
    }
}

impl From<crate::table::ConnectionTable> for ConnectionTable {
    fn from(new: crate::table::ConnectionTable) -> Self {
        Self { client: new.client, table: new.table }
    }
}
