use std::fmt;

/// A regular expression of the configuration. It matches a part of the text unless `^` and `$` say otherwise, as in Centrifugo.
/// The syntax is Go's but for Unicode classes (`\p{…}`), which are refused.
#[derive(Clone)]
pub struct Regex(regex_lite::Regex);

impl Regex {
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        regex_lite::Regex::new(pattern).map(Self).map_err(|cause| cause.to_string())
    }

    /// Whether a part of the text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Regex {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_matches_a_part_unless_it_is_anchored() {
        let matches = |pattern: &str, text: &str| Regex::parse(pattern).unwrap().matches(text);
        assert!(matches("[a-z]+", "42abc!"));
        assert!(!matches("^[a-z]+$", "42abc!"));
        assert!(matches(r"^\d{3}[[:alpha:]]\z", "123x"));
        assert!(matches("^größe$", "größe"));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for pattern in ["(", "[a", "a{2,1}", r"\p{Greek}", r"(?P<n>"] {
            assert!(Regex::parse(pattern).is_err(), "{pattern}");
        }
    }
}
