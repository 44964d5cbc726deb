//! Environment variables, read once at start and never in a handler.

/// A variable that is absent or not usable; names the variable, never its value.
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// Not set, or set to nothing.
    #[error("environment variable {0} is not set")]
    Missing(&'static str),
    /// Set to something that cannot be used.
    #[error("environment variable {name} must be {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

/// The variable, or an error that names it. An empty value counts as absent: a template cannot leave one out.
pub fn require(name: &'static str) -> Result<String, EnvError> {
    optional(name).ok_or(EnvError::Missing(name))
}

/// The variable, if it is set to something.
pub fn optional(name: &'static str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `true` or `false`; absent is false.
pub fn flag(name: &'static str) -> Result<bool, EnvError> {
    match optional(name).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(EnvError::Invalid { name, expected: "true or false" }),
    }
}
