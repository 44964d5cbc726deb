use std::{fmt, str::FromStr};

/// Version of a frontend, as far as the API differs by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
}

impl Version {
    /// Where host groups of hosts and triggers are asked for as such, and active checks have an availability.
    pub(crate) const HOST_GROUPS: Self = Self { major: 6, minor: 2 };
    /// Where a token goes into a header (7.2 takes it nowhere else).
    pub(crate) const BEARER: Self = Self { major: 6, minor: 4 };
    /// Where `event.get` certainly knows `selectAcknowledges`.
    pub(crate) const SELECT_ACKNOWLEDGES: Self = Self { major: 7, minor: 0 };
}

impl FromStr for Version {
    type Err = ();

    /// `7.0.22`, `7.4.0alpha1`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or(());
        Ok(Self { major: number()?, minor: number()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
