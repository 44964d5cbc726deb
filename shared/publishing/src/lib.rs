//! Append, ordered delivery and the posts to connections.
//!
//! A channel with history has one *head* (`signalbox_connections::Head`), a log of publications, and one deliverer at a
//! time. Appending takes the next offset and, where nobody delivers, the delivery too; whoever delivers posts everything
//! that piled up, in offset order, one frame per connection, and lets go only when nothing was appended meanwhile. A
//! subscribe brings its own connection up to date before the deliverer sees its row. docs/ARCHITECTURE.md walks through it.

mod batch;
mod deliver;
mod ending;
mod fan_out;
mod gateway;
mod history;
mod keep;
mod occupancy;
mod parts;
mod presence;
mod publish;
mod signature;
mod subscribe;
mod users;

pub use fan_out::{FanOut, FanOutTask};
pub use gateway::{ApiGateway, Frame, Gateway, PostError};
#[cfg(feature = "testing")]
pub use gateway::{Recorded, Scripted};
pub use history::{HistoryError, HistoryPage, HistoryQuery};
pub use keep::Swept;
pub use occupancy::Occupancy;
pub use parts::Part;
pub use publish::{MAX_DATA_BYTES, Message, PublishError, PublishOptions, Published, Publisher, Timing, Version};
pub use subscribe::{Begun, CatchUp, Grant, REPLY_BYTES, SubscribeCommand};
pub use users::{Refreshed, ServerSubscription, UserTarget};
