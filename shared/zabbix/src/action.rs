//! What one entry of an update history did: the bits of `event.acknowledge` (Zabbix notes, 4) and Zabbix's words for
//! them.

use signalbox_messages::Suppression;

use crate::api::Acknowledge;

/// Closed the problem.
pub const CLOSE: u32 = 1;
/// Acknowledged it.
pub const ACKNOWLEDGE: u32 = 2;
/// Left a comment.
pub const MESSAGE: u32 = 4;
/// Changed the severity.
pub const SEVERITY: u32 = 8;
/// Took the acknowledgement back.
pub const UNACKNOWLEDGE: u32 = 16;
/// Suppressed it (6.2).
pub const SUPPRESS: u32 = 32;
/// Ended that (6.2).
pub const UNSUPPRESS: u32 = 64;
/// Made a symptom a cause again (6.4).
pub const RANK_TO_CAUSE: u32 = 128;
/// Made it the symptom of another problem (6.4).
pub const RANK_TO_SYMPTOM: u32 = 256;

const SEVERITIES: [&str; 6] = ["Not classified", "Information", "Warning", "Average", "High", "Disaster"];

impl Acknowledge {
    /// Whether it did this: one of the constants of [`crate::action`].
    pub fn did(&self, bit: u32) -> bool {
        self.action & bit != 0
    }

    /// As `{EVENT.UPDATE.ACTION}` reads, in the order in which Zabbix lists it: `acknowledged, commented and closed`.
    ///
    /// Severities by their usual names, for a plain user may not read what the installation calls them; times in UTC,
    /// for the API does not tell the server's zone.
    pub fn words(&self) -> String {
        let severity = |number: u8| SEVERITIES.get(usize::from(number)).copied().unwrap_or("unknown");
        let (from, to) = (severity(self.old_severity), severity(self.new_severity));
        let did = |bit, words: &str| self.did(bit).then(|| words.to_owned());
        let words = [
            did(ACKNOWLEDGE, "acknowledged"),
            did(UNACKNOWLEDGE, "unacknowledged"),
            did(MESSAGE, "commented"),
            did(SEVERITY, &format!("changed severity from {from} to {to}")),
            did(CLOSE, "closed"),
            did(SUPPRESS, &format!("suppressed {}", self.until())),
            did(UNSUPPRESS, "unsuppressed"),
            did(RANK_TO_SYMPTOM, "ranked as symptom"),
            did(RANK_TO_CAUSE, "ranked as cause"),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        match words.split_last() {
            None => "updated".to_owned(),
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
        }
    }

    fn until(&self) -> String {
        match jiff::Timestamp::from_second(self.suppress_until) {
            Ok(until) if self.suppress_until > 0 => format!("until {}", until.strftime("%Y.%m.%d %H:%M:%S")),
            _ => "indefinitely".to_owned(),
        }
    }

    /// Of an entry that suppressed or unsuppressed.
    pub fn suppression(&self) -> Option<Suppression> {
        if self.did(UNSUPPRESS) {
            return Some(Suppression { suppressed: false, until: None });
        }
        let until = Some(self.suppress_until).filter(|until| *until > 0);
        self.did(SUPPRESS).then_some(Suppression { suppressed: true, until })
    }

    /// As `{USER.FULLNAME}` reads: `Zabbix Administrator (Admin)`.
    pub fn user(&self) -> Option<String> {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let username = self.username.as_ref().filter(|name| !name.is_empty())?;
        Some(format!("{} {} ({username})", part(&self.name), part(&self.surname)).trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the recorded webhooks (`fixtures/`), and those of Zabbix's source for what they do not have.
    #[test]
    fn an_entry_reads_as_zabbix_words_it() {
        let entry = |action, suppress_until| Acknowledge {
            action,
            suppress_until,
            old_severity: 4,
            new_severity: 5,
            ..Acknowledge::default()
        };
        let cases = [
            (2 | 4, 0, "acknowledged and commented"),
            (8, 0, "changed severity from High to Disaster"),
            (1 | 4, 0, "commented and closed"),
            (4, 0, "commented"),
            (16, 0, "unacknowledged"),
            (32, 1_795_252_643, "suppressed until 2026.11.21 09:17:23"),
            (32, 0, "suppressed indefinitely"),
            (64, 0, "unsuppressed"),
            (2 | 4 | 8, 0, "acknowledged, commented and changed severity from High to Disaster"),
            (256, 0, "ranked as symptom"),
            (128 | 4, 0, "commented and ranked as cause"),
            (512, 0, "updated"),
        ];
        for (action, until, words) in cases {
            assert_eq!(entry(action, until).words(), words);
        }
    }

    #[test]
    fn a_user_without_names_is_known_by_login() {
        let named = |name: &str, surname: &str, username: Option<&str>| Acknowledge {
            name: Some(name.to_owned()),
            surname: Some(surname.to_owned()),
            username: username.map(str::to_owned),
            ..Acknowledge::default()
        };
        let user = named("Zabbix", "Administrator", Some("Admin")).user();
        assert_eq!(user.as_deref(), Some("Zabbix Administrator (Admin)"));
        assert_eq!(named("", "", Some("router-webhook")).user().as_deref(), Some("(router-webhook)"));
        assert_eq!(named("", "", None).user(), None);
    }
}
