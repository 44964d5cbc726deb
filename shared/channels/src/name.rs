use std::fmt;

/// Longest channel name, in bytes (Centrifugo's `channel.max_length`).
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// The name of a channel: ASCII, 1 to 255 bytes, `namespace:rest` or a name without namespace.
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
    /// Not printable ASCII.
    #[error("channel name has characters outside printable ASCII")]
    NotAscii,
}

impl ChannelName {
    /// Checks a name that came from outside.
    pub fn parse(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        if name.is_empty() {
            Err(NameError::Empty)
        } else if name.len() > MAX_NAME_BYTES {
            Err(NameError::TooLong)
        } else if !name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            Err(NameError::NotAscii)
        } else {
            Ok(Self(name))
        }
    }

    /// The text before the first `:`, after a `$` that may lead the name; `None` without a `:`.
    pub fn namespace(&self) -> Option<&str> {
        let name = self.0.strip_prefix('$').unwrap_or(&self.0);
        name.split_once(':').map(|(namespace, _)| namespace)
    }

    /// `$` marks a channel that always needs a subscription token.
    pub fn is_private(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
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

    #[test]
    fn names_are_printable_ascii_of_1_to_255_bytes() {
        assert_eq!(ChannelName::parse(""), Err(NameError::Empty));
        assert_eq!(ChannelName::parse("x".repeat(256)), Err(NameError::TooLong));
        assert!(ChannelName::parse("x".repeat(255)).is_ok());
        assert_eq!(ChannelName::parse("größe"), Err(NameError::NotAscii));
        assert_eq!(ChannelName::parse("a\nb"), Err(NameError::NotAscii));
    }

    #[test]
    fn the_namespace_is_what_stands_before_the_first_colon() {
        let namespace = |name: &str| ChannelName::parse(name).unwrap().namespace().map(str::to_owned);
        assert_eq!(namespace("news"), None);
        assert_eq!(namespace("status:all").as_deref(), Some("status"));
        assert_eq!(namespace("status:host:web-01").as_deref(), Some("status"));
        assert_eq!(namespace("$private:x").as_deref(), Some("private"));
    }
}
