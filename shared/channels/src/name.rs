use std::fmt;

/// Longest channel name, in bytes (Centrifugo's default of `channel.max_length`; not an option here).
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// The name of a channel: 1 to 255 bytes, `namespace:rest` or a name without namespace. Whether its characters are allowed
/// hangs on its namespace, see [`crate::Namespace::accepts`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(String);

/// Why a name is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Centrifugo ends the connection over this one (3501), so it has a variant of its own.
    #[error("channel name is empty")]
    Empty,
    /// Over 255 bytes.
    #[error("channel name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// Line breaks and the like.
    #[error("channel name has control characters")]
    Control,
}

impl ChannelName {
    /// Checks a name that came from outside.
    pub fn parse(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        if name.is_empty() {
            Err(NameError::Empty)
        } else if name.len() > MAX_NAME_BYTES {
            Err(NameError::TooLong)
        } else if name.chars().any(char::is_control) {
            Err(NameError::Control)
        } else {
            Ok(Self(name))
        }
    }

    /// The text before the first `:`, after a `$` that may lead the name; `None` without a `:`. Empty for `:x`, which is the
    /// same as none.
    pub fn namespace(&self) -> Option<&str> {
        self.split().map(|(namespace, _)| namespace).filter(|namespace| !namespace.is_empty())
    }

    /// What `channel_regex` looks at: the text after the namespace and its `:`; the whole name, `$` included, where there is no
    /// namespace.
    pub fn rest(&self) -> &str {
        self.split().map_or(&self.0, |(_, rest)| rest)
    }

    /// The users that a `#` limits the channel to, as in `dialog#42,43`: what follows the last `#`, split at commas. `None`
    /// without a `#`. It counts where the namespace has `allow_user_limited_channels`.
    pub fn users(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.rsplit_once('#').map(|(_, users)| users.split(','))
    }

    /// Whether `user` is one of [`ChannelName::users`].
    pub fn is_for(&self, user: &str) -> bool {
        self.users().is_some_and(|mut users| users.any(|one| one == user))
    }

    /// `$` marks a channel that always needs a subscription token.
    pub fn is_private(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn split(&self) -> Option<(&str, &str)> {
        self.0.strip_prefix('$').unwrap_or(&self.0).split_once(':')
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ChannelName {
        ChannelName::parse(name).unwrap()
    }

    #[test]
    fn names_have_1_to_255_bytes_and_no_control_characters() {
        assert_eq!(ChannelName::parse(""), Err(NameError::Empty));
        assert_eq!(ChannelName::parse("x".repeat(256)), Err(NameError::TooLong));
        assert_eq!(ChannelName::parse("ö".repeat(128)), Err(NameError::TooLong));
        assert!(ChannelName::parse("x".repeat(255)).is_ok());
        assert!(ChannelName::parse("größe").is_ok(), "a namespace with a regex may allow it");
        assert_eq!(ChannelName::parse("a\nb"), Err(NameError::Control));
        assert_eq!(ChannelName::parse("a\u{7f}b"), Err(NameError::Control));
    }

    #[test]
    fn the_namespace_is_what_stands_before_the_first_colon() {
        assert_eq!(name("news").namespace(), None);
        assert_eq!(name("status:all").namespace(), Some("status"));
        assert_eq!(name("status:host:web-01").namespace(), Some("status"));
        assert_eq!(name("$private:x").namespace(), Some("private"));
        assert_eq!(name(":x").namespace(), None);
    }

    #[test]
    fn the_rest_is_what_stands_after_the_namespace() {
        assert_eq!(name("news").rest(), "news");
        assert_eq!(name("$news").rest(), "$news");
        assert_eq!(name("status:host:web-01").rest(), "host:web-01");
        assert_eq!(name("$private:x").rest(), "x");
        assert_eq!(name("chat:").rest(), "");
    }

    #[test]
    fn users_are_listed_after_the_last_hash() {
        let users = |text: &str| name(text).users().map(|users| users.map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(users("chat:x"), None);
        assert_eq!(users("chat:x#42,43"), Some(vec!["42".to_owned(), "43".to_owned()]));
        assert_eq!(users("#a#b"), Some(vec!["b".to_owned()]));
        assert!(name("chat:x#42,43").is_for("43"));
        assert!(!name("chat:x#42,43").is_for("4"));
        assert!(!name("chat:x").is_for("42"));
        assert!(name("chat:x#").is_for(""), "an empty list is the anonymous user's, as in Centrifugo");
    }
}
