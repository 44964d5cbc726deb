use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::name::MAX_NAME_BYTES;

/// Every change of every problem.
pub const STATUS_ALL: &str = "status:all";

/// What stays readable in a host's or a group's channel; everything else is percent-encoded, as JavaScript's
/// `encodeURIComponent` would do with these characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The channels that a change of a problem is published to: [`STATUS_ALL`], `status:host:<technical name>` and
/// `status:group:<name>` for each group, names percent-encoded. A name that is too long for a channel is left out: its
/// changes are still in [`STATUS_ALL`].
pub fn status_channels(host: &str, groups: &[String]) -> Vec<String> {
    let one = |kind: &str, name: &str| format!("status:{kind}:{}", utf8_percent_encode(name, ENCODED));
    let mut channels = vec![STATUS_ALL.to_owned()];
    if !host.is_empty() {
        channels.push(one("host", host));
    }
    channels.extend(groups.iter().map(|group| one("group", group)));
    channels.retain(|channel| channel.len() <= MAX_NAME_BYTES);
    channels
}

/// The channel for the values of a host's items, `items:<technical name>`, percent-encoded as in [`status_channels`];
/// `None` where that is too long for a channel.
pub fn items_channel(host: &str) -> Option<String> {
    let channel = format!("items:{}", utf8_percent_encode(host, ENCODED));
    (channel.len() <= MAX_NAME_BYTES).then_some(channel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ChannelName;

    #[test]
    fn a_change_goes_to_all_its_host_and_its_groups() {
        let groups = ["Site A/Web servers".to_owned(), "Büro".to_owned(), "x".repeat(300)];
        let channels = status_channels("web-01", &groups);
        assert_eq!(
            channels,
            ["status:all", "status:host:web-01", "status:group:Site%20A%2FWeb%20servers", "status:group:B%C3%BCro"]
        );
        assert!(channels.into_iter().all(|name| ChannelName::parse(name).is_ok()));
    }

    #[test]
    fn the_values_of_a_host_have_a_channel() {
        assert_eq!(items_channel("web-01").as_deref(), Some("items:web-01"));
        assert_eq!(items_channel("Büro: 1#2").as_deref(), Some("items:B%C3%BCro%3A%201%232"));
        assert_eq!(items_channel(&"x".repeat(300)), None);
        assert!(ChannelName::parse(items_channel("a\nb").unwrap()).is_ok());
    }
}
