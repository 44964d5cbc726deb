//! Append, ordered delivery and the posts to connections.
//!
//! A channel with history has one *head* (`signalbox_connections::Head`), a log of publications, and one deliverer at a
//! time. Appending takes the next offset and, where nobody delivers, the delivery too; whoever delivers posts everything
//! that piled up, in offset order, one frame per connection, and lets go only when nothing was appended meanwhile. A
//! subscribe brings its own connection up to date before the deliverer sees its row. docs/ARCHITECTURE.md walks through it.

mod deliver;
mod gateway;
mod publish;
mod subscribe;

pub use gateway::{ApiGateway, Frame, Gateway, PostError};
#[cfg(feature = "testing")]
pub use gateway::{Recorded, Scripted};
pub use publish::{MAX_DATA_BYTES, PublishError, Published, Publisher, Timing};
pub use subscribe::{Begun, CatchUp, SubscribeCommand};
