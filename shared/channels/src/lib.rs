//! Channel names, namespaces and who may subscribe. Pure: the namespaces come from `channels.json`, which has the shape and
//! the option names of Centrifugo's own configuration.

mod config;
mod name;
mod status;

pub use config::{ChannelsConfig, ConfigError, Namespace};
pub use name::{ChannelName, NameError};
pub use status::{STATUS_ALL, status_channels};
