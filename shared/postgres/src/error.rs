use std::error::Error as _;

use tokio_postgres::error::SqlState;

/// Why the database did not do what it was asked; says nothing secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Not reachable, lost, shutting down, out of resources or too slow: the same again later can succeed.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// Two transactions got in each other's way: the same again at once can succeed.
    #[error("transactions collided: {0}")]
    Collided(String),
    /// The data cannot be stored as it is (SQLSTATE classes 22, 23 and 54): the same again fails again.
    #[error("refused by the database: {0}")]
    Refused(String),
    /// Anything else: a schema that is not there yet, a missing right, a bug.
    #[error("database error: {0}")]
    Failed(String),
}

impl Error {
    /// True when trying again later can help without anything else changing.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The connection is known to be in order after these: the server itself has answered and knows what it said.
    pub(crate) fn keeps_connection(&self) -> bool {
        matches!(self, Self::Collided(_) | Self::Refused(_))
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            // No answer of the server: closed, I/O, TLS, or our own mistake in a type or a column.
            let lost = error.is_closed() || error.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>);
            return if lost { Self::Unavailable(with_causes(&error)) } else { Self::Failed(with_causes(&error)) };
        };
        let code = db.code();
        let mut reason = format!("{} (SQLSTATE {}", db.message(), code.code());
        for (label, value) in [
            ("table", db.table()),
            ("column", db.column()),
            ("constraint", db.constraint()),
            ("detail", short(db.detail())),
        ] {
            if let Some(value) = value {
                reason.push_str(", ");
                reason.push_str(label);
                reason.push(' ');
                reason.push_str(value);
            }
        }
        reason.push(')');
        match code {
            &SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED => Self::Collided(reason),
            // After a failover an old connection may still lead to what is now a replica.
            &SqlState::READ_ONLY_SQL_TRANSACTION => Self::Unavailable(reason),
            code => match code.code().get(..2) {
                Some("22" | "23" | "54") => Self::Refused(reason),
                Some("08" | "53" | "57" | "58") => Self::Unavailable(reason),
                _ => Self::Failed(reason),
            },
        }
    }
}

/// Postgres puts the whole failing row into `detail` of a CHECK violation; the log does not need it.
fn short(detail: Option<&str>) -> Option<&str> {
    detail.filter(|detail| !detail.starts_with("Failing row contains") && detail.len() <= 200)
}

fn with_causes(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
