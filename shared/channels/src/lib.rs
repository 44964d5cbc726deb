//! Channel names, namespaces and who may do what in them. Pure: all comes from `channels.json`, which has the shape and the
//! option names of Centrifugo's own configuration.

mod client;
mod config;
mod duration;
mod error;
mod name;
mod namespace;
mod overrides;
mod regex;
mod section;
mod status;
mod unserved;

pub use client::{ClientConfig, PersonalChannel, TokenConfig};
pub use config::{ChannelsConfig, ErrorMode, HttpApiConfig};
pub use error::{ConfigError, Mistake};
pub use name::{ChannelName, NameError};
pub use namespace::{DataFormat, DeltaType, Namespace, RecoveryMode};
pub use overrides::{BoolValue, Overrides};
pub use regex::Regex;
pub use status::{STATUS_ALL, group_channel, host_channel, items_channel, status_channels};
