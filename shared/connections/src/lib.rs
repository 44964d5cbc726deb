//! The two DynamoDB tables. Keys and access patterns are in docs/DATA.md; nothing here scans.
//!
//! [`ConnectionTable`] holds connections, their subscriptions, each channel's head and log of publications.
//! [`StatusTable`] holds the current state of every Zabbix problem and the hosts that have had one.

mod attribute;
mod channel;
mod connection;
mod status;
mod subscription;
mod table;
#[cfg(feature = "testing")]
pub mod testing;

pub use channel::{Appended, Head, LogEntry, LogWrite};
pub use connection::{Admission, Authentication, CONNECTION_TTL, Connection, ConnectionState};
pub use status::{Applied, KnownHost, RecentlyResolved, SnapshotPage, StatusTable};
pub use subscription::{PageStart, Subscribed, Subscriber};
pub use table::ConnectionTable;
