//! The event bus: where what the ways in have heard goes to those who act on it.

mod bus;

#[cfg(feature = "testing")]
pub use bus::Recording;
pub use bus::{Bus, EventBridge, MAX_ENTRY_BYTES, PutAllError, PutError};
