use std::time::Duration;

use crate::{ChannelName, Regex};

/// Options of a namespace (`channel.without_namespace`, `channel.namespaces[]`), named as in Centrifugo's configuration
/// ("Channel and namespaces"), and what they allow, decided as Centrifugo's client handler decides it.
///
/// `user` is empty for an anonymous client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // Centrifugo's options
pub struct Namespace {
    /// Who is subscribed can be asked for.
    pub presence: bool,
    /// Subscribing and leaving are announced, see [`Namespace::announces`].
    pub join_leave: bool,
    /// Announcements are pushed to every subscriber, not only to those who ask.
    pub force_push_join_leave: bool,
    /// Publications kept for recovery; 0 = no history.
    pub history_size: u32,
    /// How long a publication is kept.
    pub history_ttl: Duration,
    /// How long a quiet channel's offset and epoch are kept; `channel.history_meta_ttl` (30 days) where the namespace says
    /// nothing.
    pub history_meta_ttl: Duration,
    /// Every subscription has a position.
    pub force_positioning: bool,
    /// A client may ask for a position.
    pub allow_positioning: bool,
    /// Every subscription can recover.
    pub force_recovery: bool,
    /// A client may ask for recovery.
    pub allow_recovery: bool,
    /// What recovery brings.
    pub force_recovery_mode: RecoveryMode,
    /// Recovers in cache mode without being asked; needs `force_recovery` and [`RecoveryMode::Cache`].
    pub auto_cache_recover: bool,
    /// What a subscriber may negotiate.
    pub allowed_delta_types: Vec<DeltaType>,
    /// Every publication may reach subscribers as a delta, whether its publisher asks or not.
    pub delta_publish: bool,
    /// A subscriber may filter by tags.
    pub allow_tags_filter: bool,
    /// Any authenticated client may subscribe.
    pub allow_subscribe_for_client: bool,
    /// So may anonymous ones; only adds to `allow_subscribe_for_client`.
    pub allow_subscribe_for_anonymous: bool,
    /// Any authenticated client may publish.
    pub allow_publish_for_client: bool,
    /// A subscriber may publish.
    pub allow_publish_for_subscriber: bool,
    /// So may anonymous ones; only adds to the two above.
    pub allow_publish_for_anonymous: bool,
    /// Any authenticated client may read the history.
    pub allow_history_for_client: bool,
    /// A subscriber may read the history.
    pub allow_history_for_subscriber: bool,
    /// So may anonymous ones; only adds to the two above.
    pub allow_history_for_anonymous: bool,
    /// Any authenticated client may ask who is there.
    pub allow_presence_for_client: bool,
    /// A subscriber may ask who is there.
    pub allow_presence_for_subscriber: bool,
    /// So may anonymous ones; only adds to the two above.
    pub allow_presence_for_anonymous: bool,
    /// A `#` in a name limits the channel to the users after it.
    pub allow_user_limited_channels: bool,
    /// What names must match after `namespace:`. Without it they must be ASCII.
    pub channel_regex: Option<Regex>,
    /// What publications must be.
    pub publication_data_format: DataFormat,
    /// Ours: how many parts the channel's subscriber rows are kept in, each posted to by an invocation of its own. 1 to 100; 1 is
    /// enough for some thousands of subscribers.
    pub shards: u32,
    /// `client.insecure` allows everything but to enter private channels without a token.
    pub insecure: bool,
    /// What a token says about its own subscription's announcements, in place of `join_leave`. Not an option; set by
    /// [`crate::Overrides::apply`].
    pub announce: Option<bool>,
}

/// What recovery brings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// `stream`: every publication that was missed, or none and `recovered: false`.
    #[default]
    Stream,
    /// `cache`: the newest publication.
    Cache,
}

/// A kind of delta compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaType {
    /// `fossil`
    Fossil,
}

/// What a publication's data must be. There is no `binary`: text frames carry JSON alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DataFormat {
    /// Empty or `json`: any JSON.
    #[default]
    Json,
    /// `json_object`
    JsonObject,
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            presence: false,
            join_leave: false,
            force_push_join_leave: false,
            history_size: 0,
            history_ttl: Duration::ZERO,
            history_meta_ttl: Duration::from_hours(30 * 24),
            force_positioning: false,
            allow_positioning: false,
            force_recovery: false,
            allow_recovery: false,
            force_recovery_mode: RecoveryMode::Stream,
            auto_cache_recover: false,
            allowed_delta_types: Vec::new(),
            delta_publish: false,
            allow_tags_filter: false,
            allow_subscribe_for_client: false,
            allow_subscribe_for_anonymous: false,
            allow_publish_for_client: false,
            allow_publish_for_subscriber: false,
            allow_publish_for_anonymous: false,
            allow_history_for_client: false,
            allow_history_for_subscriber: false,
            allow_history_for_anonymous: false,
            allow_presence_for_client: false,
            allow_presence_for_subscriber: false,
            allow_presence_for_anonymous: false,
            allow_user_limited_channels: false,
            channel_regex: None,
            publication_data_format: DataFormat::Json,
            shards: 1,
            insecure: false,
            announce: None,
        }
    }
}

impl Namespace {
    /// History needs a size and a time.
    pub fn has_history(&self) -> bool {
        self.history_size > 0 && !self.history_ttl.is_zero()
    }

    /// Whether the namespace has channels of this name (error 107 if not).
    pub fn accepts(&self, name: &ChannelName) -> bool {
        match &self.channel_regex {
            Some(regex) => regex.matches(name.rest()),
            None => name.as_str().is_ascii(),
        }
    }

    /// Whether a client may subscribe without a subscription token.
    pub fn may_subscribe(&self, user: &str, name: &ChannelName) -> bool {
        !name.is_private() && (self.may_enter(user, name, name.is_for(user)) || self.insecure)
    }

    /// Whether `connect` may subscribe a client to a channel that it names in its `subs`: the same, but that no anonymous user
    /// is ever meant by a `#`, and a name that is not accepted is passed over too.
    pub fn may_subscribe_at_connect(&self, user: &str, name: &ChannelName) -> bool {
        let listed = !user.is_empty() && name.is_for(user);
        !name.is_private() && self.accepts(name) && (self.may_enter(user, name, listed) || self.insecure)
    }

    fn may_enter(&self, user: &str, name: &ChannelName, listed: bool) -> bool {
        if self.is_user_limited(name) {
            listed
        } else {
            self.allow_subscribe_for_client && (!user.is_empty() || self.allow_subscribe_for_anonymous)
        }
    }

    /// Whether the name limits the channel to users.
    pub fn is_user_limited(&self, name: &ChannelName) -> bool {
        self.allow_user_limited_channels && name.users().is_some()
    }

    /// Whether a client may publish.
    pub fn may_publish(&self, user: &str, subscribed: bool) -> bool {
        let known = !user.is_empty() || self.allow_publish_for_anonymous;
        let allowed = self.allow_publish_for_client || (self.allow_publish_for_subscriber && subscribed);
        (allowed && known) || self.insecure
    }

    /// Whether a client may read the history, where there is one.
    pub fn may_history(&self, user: &str, subscribed: bool) -> bool {
        let known = !user.is_empty() || self.allow_history_for_anonymous;
        let allowed = self.allow_history_for_client || (self.allow_history_for_subscriber && subscribed);
        (allowed && known) || self.insecure
    }

    /// Whether a client may ask who is there, where `presence` is on.
    pub fn may_presence(&self, user: &str, subscribed: bool) -> bool {
        let known = !user.is_empty() || self.allow_presence_for_anonymous;
        let allowed = self.allow_presence_for_client || (self.allow_presence_for_subscriber && subscribed);
        (allowed && known) || self.insecure
    }

    /// Whether a new subscription has a position; `asked` is the request's `positioned`. Where it recovers it has one too.
    pub fn positions(&self, user: &str, asked: bool) -> bool {
        self.has_history()
            && (self.force_positioning || (asked && (self.allow_positioning || self.may_history(user, true))))
    }

    /// Whether a new subscription can recover; `asked` is the request's `recoverable`.
    pub fn recovers(&self, user: &str, asked: bool) -> bool {
        self.has_history() && (self.force_recovery || (asked && (self.allow_recovery || self.may_history(user, true))))
    }

    /// Whether a new subscription that can recover does so without being asked, and gets the newest publication.
    pub fn recovers_unasked(&self, recoverable: bool) -> bool {
        self.auto_cache_recover && recoverable && self.force_recovery_mode == RecoveryMode::Cache
    }

    /// Whether a subscription's begin and end are announced to others.
    pub fn announces(&self) -> bool {
        self.announce.unwrap_or(self.join_leave)
    }

    /// Whether a new subscription gets the announcements; `asked` is the request's `join_leave`.
    pub fn pushes_join_leave(&self, user: &str, asked: bool) -> bool {
        self.force_push_join_leave || (asked && self.join_leave && self.may_presence(user, true))
    }

    /// What a request's `delta` is granted; `None` leaves publications as they are.
    pub fn delta(&self, asked: &str) -> Option<DeltaType> {
        self.allowed_delta_types.iter().copied().find(|delta| delta.as_str() == asked)
    }

    /// Whether a publication's data (which is JSON) is what the namespace wants (error 107 if not).
    pub fn accepts_data(&self, data: &str) -> bool {
        match self.publication_data_format {
            DataFormat::Json => true,
            DataFormat::JsonObject => data.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{'),
        }
    }
}

impl DeltaType {
    /// Its name in the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fossil => "fossil",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    fn with_history() -> Namespace {
        Namespace { history_size: 10, history_ttl: Duration::from_mins(1), ..Namespace::default() }
    }

    #[test]
    fn nothing_is_allowed_that_was_not_configured() {
        let nothing = Namespace::default();
        assert!(!nothing.may_subscribe("anna", &name("x")) && !nothing.may_subscribe("anna", &name("x#anna")));
        assert!(!nothing.may_subscribe_at_connect("anna", &name("x")));
        assert!(!nothing.may_publish("anna", true));
        assert!(!nothing.may_history("anna", true));
        assert!(!nothing.may_presence("anna", true));
        assert!(!nothing.positions("anna", true) && !nothing.recovers("anna", true));
        assert!(!nothing.pushes_join_leave("anna", true) && !nothing.announces());
        assert_eq!(nothing.delta("fossil"), None);
        assert!(!nothing.allow_tags_filter);
    }

    #[test]
    fn an_anonymous_client_needs_its_own_permission_to_subscribe() {
        let clients = Namespace { allow_subscribe_for_client: true, ..Namespace::default() };
        assert!(clients.may_subscribe("anna", &name("x")) && !clients.may_subscribe("", &name("x")));
        let all = Namespace { allow_subscribe_for_anonymous: true, ..clients };
        assert!(all.may_subscribe("", &name("x")) && all.may_subscribe_at_connect("", &name("x")));
        let alone = Namespace { allow_subscribe_for_anonymous: true, ..Namespace::default() };
        assert!(!alone.may_subscribe("", &name("x")), "it only adds");
    }

    #[test]
    fn a_private_channel_needs_a_token_whatever_else_is_allowed() {
        let all = Namespace {
            allow_subscribe_for_client: true,
            allow_user_limited_channels: true,
            insecure: true,
            ..Namespace::default()
        };
        for private in ["$x", "$x#anna"] {
            assert!(
                !all.may_subscribe("anna", &name(private)) && !all.may_subscribe_at_connect("anna", &name(private))
            );
        }
    }

    #[test]
    fn a_user_limited_channel_is_its_users_alone() {
        let limited = Namespace {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            allow_user_limited_channels: true,
            ..Namespace::default()
        };
        assert!(limited.may_subscribe("anna", &name("x#anna,bert")));
        assert!(!limited.may_subscribe("carl", &name("x#anna,bert")));
        assert!(limited.may_subscribe("carl", &name("x")));
        assert!(limited.may_subscribe("", &name("x#")), "as Centrifugo");
        assert!(!limited.may_subscribe_at_connect("", &name("x#")));
        assert!(limited.may_subscribe_at_connect("anna", &name("x#anna")));
        let only = Namespace { allow_user_limited_channels: true, ..Namespace::default() };
        assert!(only.may_subscribe("anna", &name("x#anna")), "the list is the permission");
        let ignored = Namespace { allow_user_limited_channels: false, ..limited };
        assert!(ignored.may_subscribe("carl", &name("x#anna")), "without the option a # is a character");
    }

    /// Publish, history and presence follow the same rule.
    #[test]
    fn a_subscriber_s_permission_needs_a_subscription() {
        type May = fn(&Namespace, &str, bool) -> bool;
        let cases: [(May, [Namespace; 3]); 3] = [
            (
                Namespace::may_publish,
                [
                    Namespace { allow_publish_for_client: true, ..Namespace::default() },
                    Namespace { allow_publish_for_subscriber: true, ..Namespace::default() },
                    Namespace {
                        allow_publish_for_subscriber: true,
                        allow_publish_for_anonymous: true,
                        ..Namespace::default()
                    },
                ],
            ),
            (
                Namespace::may_history,
                [
                    Namespace { allow_history_for_client: true, ..Namespace::default() },
                    Namespace { allow_history_for_subscriber: true, ..Namespace::default() },
                    Namespace {
                        allow_history_for_subscriber: true,
                        allow_history_for_anonymous: true,
                        ..Namespace::default()
                    },
                ],
            ),
            (
                Namespace::may_presence,
                [
                    Namespace { allow_presence_for_client: true, ..Namespace::default() },
                    Namespace { allow_presence_for_subscriber: true, ..Namespace::default() },
                    Namespace {
                        allow_presence_for_subscriber: true,
                        allow_presence_for_anonymous: true,
                        ..Namespace::default()
                    },
                ],
            ),
        ];
        for (may, [clients, subscribers, anonymous]) in cases {
            assert!(may(&clients, "anna", false) && !may(&clients, "", true));
            assert!(may(&subscribers, "anna", true) && !may(&subscribers, "anna", false));
            assert!(!may(&subscribers, "", true));
            assert!(may(&anonymous, "", true) && !may(&anonymous, "", false));
            assert!(may(&Namespace { insecure: true, ..Namespace::default() }, "", false));
        }
    }

    #[test]
    fn positions_and_recovery_are_forced_or_asked_for() {
        let asked = Namespace { allow_positioning: true, allow_recovery: true, ..with_history() };
        assert!(asked.positions("anna", true) && !asked.positions("anna", false));
        assert!(asked.recovers("anna", true) && !asked.recovers("anna", false));
        let forced = Namespace { force_positioning: true, force_recovery: true, ..with_history() };
        assert!(forced.positions("", false) && forced.recovers("", false));
        let reader = Namespace { allow_history_for_subscriber: true, ..with_history() };
        assert!(reader.positions("anna", true) && reader.recovers("anna", true), "who may read it may recover");
        assert!(!reader.recovers("", true));
        let bare = Namespace { force_recovery: true, force_positioning: true, ..Namespace::default() };
        assert!(!bare.recovers("anna", true) && !bare.positions("anna", true), "there is nothing to recover from");
    }

    #[test]
    fn the_cache_is_recovered_unasked_only_in_cache_mode() {
        let cache =
            Namespace { auto_cache_recover: true, force_recovery_mode: RecoveryMode::Cache, ..Namespace::default() };
        assert!(cache.recovers_unasked(true) && !cache.recovers_unasked(false));
        assert!(!Namespace { force_recovery_mode: RecoveryMode::Stream, ..cache }.recovers_unasked(true));
    }

    #[test]
    fn announcements_are_pushed_to_those_who_may_ask_who_is_there() {
        let asked = Namespace { join_leave: true, allow_presence_for_subscriber: true, ..Namespace::default() };
        assert!(asked.announces());
        assert!(asked.pushes_join_leave("anna", true) && !asked.pushes_join_leave("anna", false));
        assert!(!asked.pushes_join_leave("", true));
        let forced = Namespace { join_leave: true, force_push_join_leave: true, ..Namespace::default() };
        assert!(forced.pushes_join_leave("", false));
    }

    #[test]
    fn a_delta_is_granted_only_where_it_is_allowed() {
        let fossil = Namespace { allowed_delta_types: vec![DeltaType::Fossil], ..Namespace::default() };
        assert_eq!(fossil.delta("fossil"), Some(DeltaType::Fossil));
        assert_eq!((fossil.delta(""), fossil.delta("vcdiff")), (None, None));
    }

    #[test]
    fn names_are_ascii_unless_a_regex_says_otherwise() {
        let plain = Namespace::default();
        assert!(plain.accepts(&name("chat:room-1")) && !plain.accepts(&name("chat:größe")));
        let regex = Regex::parse("^[a-zöß]+$").ok();
        let chosen = Namespace { channel_regex: regex, ..Namespace::default() };
        assert!(chosen.accepts(&name("chat:größe")) && !chosen.accepts(&name("chat:room-1")));
        assert!(!chosen.may_subscribe_at_connect("anna", &name("chat:room-1")));
    }

    #[test]
    fn data_can_be_wanted_as_an_object() {
        let object = Namespace { publication_data_format: DataFormat::JsonObject, ..Namespace::default() };
        assert!(object.accepts_data(" \n{\"a\":1}") && !object.accepts_data("[{}]"));
        assert!(Namespace::default().accepts_data("7"));
    }
}
