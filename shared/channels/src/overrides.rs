use serde::{Deserialize, Serialize};

use crate::Namespace;

/// `override` of a subscription: what a token or the server API changes of the namespace's options for this one subscription, as
/// `{"presence": {"value": true}}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// In place of `presence`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<BoolValue>,
    /// In place of `join_leave`, as far as the subscription's own announcements go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join_leave: Option<BoolValue>,
    /// In place of `force_recovery`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_recovery: Option<BoolValue>,
    /// In place of `force_positioning`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_positioning: Option<BoolValue>,
    /// In place of `force_push_join_leave`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_push_join_leave: Option<BoolValue>,
}

/// A boolean that may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoolValue {
    /// The value.
    pub value: bool,
}

impl Overrides {
    /// The options that hold for the subscription. What clients may ask for stays as the namespace has it, so a subscription
    /// that is not forced to recover can still be allowed to.
    pub fn apply(&self, namespace: &Namespace) -> Namespace {
        let or = |value: Option<BoolValue>, option: bool| value.map_or(option, |value| value.value);
        Namespace {
            presence: or(self.presence, namespace.presence),
            force_recovery: or(self.force_recovery, namespace.force_recovery),
            force_positioning: or(self.force_positioning, namespace.force_positioning),
            force_push_join_leave: or(self.force_push_join_leave, namespace.force_push_join_leave),
            announce: self.join_leave.map(|value| value.value).or(namespace.announce),
            ..namespace.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_overridden_stays() {
        let namespace = Namespace { presence: true, force_recovery: true, join_leave: true, ..Namespace::default() };
        assert_eq!(Overrides::default().apply(&namespace), namespace);
    }

    #[test]
    fn a_token_s_override_turns_options_on_and_off() {
        let json = concat!(
            r#"{"presence":{"value":false},"join_leave":{"value":true},"force_recovery":{"value":false},"#,
            r#""force_positioning":{"value":true},"force_push_join_leave":{"value":true}}"#
        );
        let overrides: Overrides = serde_json::from_str(json).unwrap();
        let namespace = Namespace { presence: true, force_recovery: true, ..Namespace::default() };
        let applied = overrides.apply(&namespace);
        assert!(!applied.presence && !applied.force_recovery);
        assert!(applied.announces() && applied.force_positioning && applied.pushes_join_leave("", false));
        assert_eq!(serde_json::to_string(&overrides).unwrap(), json);
    }

    #[test]
    fn an_observer_who_does_not_announce_itself_still_sees_the_others() {
        let namespace = Namespace { join_leave: true, allow_presence_for_client: true, ..Namespace::default() };
        let hidden = Overrides { join_leave: Some(BoolValue { value: false }), ..Overrides::default() };
        let applied = hidden.apply(&namespace);
        assert!(!applied.announces() && applied.pushes_join_leave("anna", true));
    }

    #[test]
    fn null_and_an_empty_object_are_no_override_and_false() {
        let overrides: Overrides = serde_json::from_str(r#"{"presence":null,"join_leave":{}}"#).unwrap();
        assert_eq!(overrides.presence, None);
        assert_eq!(overrides.join_leave, Some(BoolValue { value: false }));
    }
}
