//! `channels.json`: it is taken or refused with reasons, and whatever was taken can be asked about any channel.

#![no_main]

use libfuzzer_sys::fuzz_target;
use signalbox_channels::{ChannelName, ChannelsConfig};

const NAMES: [&str; 6] = ["a", "a:b", "$a:b#1,2", ":", "a:#user", "\u{2028}ä:東"];

fuzz_target!(|json: &str| {
    let config = match ChannelsConfig::parse(json) {
        Ok(config) => config,
        Err(refused) => return assert!(!refused.to_string().is_empty()),
    };
    for name in NAMES.into_iter().chain(json.split('"')) {
        let Ok(name) = ChannelName::parse(name) else { continue };
        if let Some(namespace) = config.namespace_of(&name) {
            let allowed = namespace.may_subscribe("user", &name);
            assert!(!allowed || namespace.accepts(&name), "{name}");
            let _ = namespace.may_subscribe_at_connect("", &name);
            let _ = namespace.accepts_data(json);
        }
        let _ = config.client.allows_origin(name.as_str());
        let _ = config.personal_channel(name.as_str());
    }
});
