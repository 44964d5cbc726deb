use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::name::MAX_NAME_BYTES;

/// Every change of every problem.
pub const STATUS_ALL: &str = "status:all";

/// What stays readable in a host's or a group's channel; everything else is percent-encoded, as JavaScript's
/// `encodeURIComponent` would do with these characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn named(kind: &str, name: &str) -> String {
    format!("status:{kind}:{}", utf8_percent_encode(name, ENCODED))
}

/// The channel of a host's problems, by its technical name; `None` where that is empty or too long for a channel.
pub fn host_channel(host: &str) -> Option<String> {
    Some(named("host", host)).filter(|channel| !host.is_empty() && channel.len() <= MAX_NAME_BYTES)
}

/// The channel of a host group's problems; `None` where its name is empty or too long for a channel.
pub fn group_channel(group: &str) -> Option<String> {
    Some(named("group", group)).filter(|channel| !group.is_empty() && channel.len() <= MAX_NAME_BYTES)
}

/// The channels that a change of a problem is published to: [`STATUS_ALL`], `status:host:<technical name>` and
/// `status:group:<name>` for each group, names percent-encoded. A name that is too long for a channel is left out: its
/// changes are still in [`STATUS_ALL`].
pub fn status_channels(host: &str, groups: &[String]) -> Vec<String> {
    let groups = groups.iter().filter_map(|group| group_channel(group));
    [STATUS_ALL.to_owned()].into_iter().chain(host_channel(host)).chain(groups).collect()
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
