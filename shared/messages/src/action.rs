use serde::{Deserialize, Serialize};

/// Longest comment from a board, characters.
pub const MAX_COMMENT_CHARS: usize = 2_000;

/// What a viewer asks Zabbix to do with a problem. It is the body of a message of the action queue.
///
/// What comes of it is not told here: Zabbix tells it, as any other update.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// A UUID.
    pub id: String,
    /// The problem's event id, digits.
    pub event_id: String,
    /// Who asks: the subject of the viewer's token, never empty.
    pub user: String,
    /// Unix milliseconds.
    pub requested_at_ms: i64,
    /// What shall be done.
    #[serde(flatten)]
    pub request: ActionRequest,
}

/// What shall be done with a problem; by default nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionRequest {
    /// Acknowledge it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub acknowledge: bool,
    /// Take the acknowledgement back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unacknowledge: bool,
    /// A comment, up to [`MAX_COMMENT_CHARS`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The new severity, 0 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// Close it. Zabbix does where the trigger allows manual close.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub close: bool,
}

impl ActionRequest {
    /// What is wrong with it, for the client.
    ///
    /// # Errors
    /// One sentence.
    pub fn check(&self) -> Result<(), &'static str> {
        let empty = |message: &String| message.trim().is_empty();
        match self {
            Self { acknowledge: true, unacknowledge: true, .. } => Err("acknowledge and unacknowledge at once"),
            Self { severity: Some(6..), .. } => Err("severity is 0 to 5"),
            Self { message: Some(message), .. } if empty(message) => Err("the comment is empty"),
            Self { message: Some(message), .. } if message.chars().count() > MAX_COMMENT_CHARS => {
                Err("the comment is longer than 2,000 characters")
            }
            nothing if *nothing == Self::default() => Err("nothing to do"),
            _ => Ok(()),
        }
    }
}

/// Zabbix did not do it, and will not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRefused {
    /// The action's id.
    pub id: String,
    /// The problem's event id.
    pub event_id: String,
    /// Who asked.
    pub user: String,
    /// For people.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_said_in_a_sentence() {
        let check = |json: &str| serde_json::from_str::<ActionRequest>(json).unwrap().check();
        for good in [
            r#"{"acknowledge":true}"#,
            r#"{"severity":0}"#,
            r#"{"close":true,"message":"done"}"#,
            &format!(r#"{{"message":"{}"}}"#, "ä".repeat(MAX_COMMENT_CHARS)),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "{}",
            r#"{"acknowledge":false}"#,
            r#"{"acknowledge":true,"unacknowledge":true}"#,
            r#"{"severity":6}"#,
            r#"{"message":" "}"#,
            &format!(r#"{{"message":"{}"}}"#, "ä".repeat(MAX_COMMENT_CHARS + 1)),
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
