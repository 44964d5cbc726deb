use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Deserialize, Serialize};

/// Deeper trees are refused: a filter runs for each publication and subscriber.
const MAX_DEPTH: usize = 16;

/// `tf` of a subscribe: only publications whose tags match are delivered. A node either combines others (`op`) or compares
/// one tag (`key`, `cmp`). What is skipped still has its offset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// `and`, `or`, `not`; empty = compares a tag.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::lenient::or_default")]
    pub op: String,
    /// Name of the tag.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::lenient::or_default")]
    pub key: String,
    /// `eq`, `neq`, `sw` starts with, `ew` ends with, `ct` contains, `in`, `nin`, `ex` exists, `nex` does not; as decimal
    /// numbers `lt`, `lte`, `gt`, `gte`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::lenient::or_default")]
    pub cmp: String,
    /// What to compare with.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "crate::lenient::or_default")]
    pub val: String,
    /// What `in` and `nin` compare with.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::lenient::or_default")]
    pub vals: Vec<String>,
    /// What `op` combines: one for `not`, one or more for `and` and `or`.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::lenient::objects")]
    pub nodes: Vec<Filter>,
}

impl Filter {
    /// Whether the tree is one (error 107 if not), in Centrifugo's words; ours is the limit of its depth.
    pub fn check(&self) -> Result<(), String> {
        self.check_at(1)
    }

    fn check_at(&self, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("filter is deeper than {MAX_DEPTH} nodes"));
        }
        match self.op.as_str() {
            "" => self.check_leaf(),
            "and" | "or" if self.nodes.is_empty() => Err(format!("{} node must have at least one child", self.op)),
            "not" if self.nodes.len() != 1 => Err("not node must have exactly one child".to_owned()),
            "and" | "or" | "not" => self.nodes.iter().try_for_each(|node| node.check_at(depth + 1)),
            op => Err(format!("invalid op: {op}")),
        }
    }

    fn check_leaf(&self) -> Result<(), String> {
        let cmp = &self.cmp;
        let (val, vals) = (!self.val.is_empty(), !self.vals.is_empty());
        match cmp.as_str() {
            "" => Err("leaf node must have cmp set".to_owned()),
            "eq" | "neq" | "sw" | "ew" | "ct" | "lt" | "lte" | "gt" | "gte" if !val => {
                Err(format!("{cmp} comparison requires val"))
            }
            "eq" | "neq" | "sw" | "ew" | "ct" | "lt" | "lte" | "gt" | "gte" if vals => {
                Err(format!("{cmp} comparison must not use vals"))
            }
            "in" | "nin" if !vals => Err(format!("{cmp} comparison requires non-empty vals")),
            "in" | "nin" if val => Err(format!("{cmp} comparison must not use val")),
            "ex" | "nex" if val || vals => Err(format!("{cmp} comparison must not use val or vals")),
            "ex" | "nex" => Ok(()),
            "eq" | "neq" | "sw" | "ew" | "ct" | "lt" | "lte" | "gt" | "gte" | "in" | "nin" => {
                if self.key.is_empty() {
                    Err("leaf node requires key".to_owned())
                } else {
                    Ok(())
                }
            }
            cmp => Err(format!("unknown comparison operator: {cmp}")),
        }
    }

    /// Whether a publication with these tags is delivered. A node that [`Filter::check`] refuses matches nothing.
    pub fn matches(&self, tags: &BTreeMap<String, String>) -> bool {
        self.evaluate(tags).unwrap_or(false)
    }

    /// `None` for a malformed tree, so that `not` does not turn it into a match.
    fn evaluate(&self, tags: &BTreeMap<String, String>) -> Option<bool> {
        match (self.op.as_str(), self.nodes.as_slice()) {
            ("", _) => self.evaluate_leaf(tags.get(&self.key).map(String::as_str)),
            ("and", nodes) => {
                for node in nodes {
                    if !node.evaluate(tags)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            ("or", nodes) => {
                for node in nodes {
                    if node.evaluate(tags)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
            ("not", [node]) => node.evaluate(tags).map(|matched| !matched),
            _ => None,
        }
    }

    fn evaluate_leaf(&self, tag: Option<&str>) -> Option<bool> {
        let val = self.val.as_str();
        // Centrifugo looks for an absent tag as for an empty one
        let listed = || self.vals.iter().any(|listed| listed == tag.unwrap_or_default());
        let number = |wanted: fn(Ordering) -> bool| {
            let order = Decimal::parse(tag?)?.cmp(&Decimal::parse(val)?);
            Some(wanted(order))
        };
        Some(match self.cmp.as_str() {
            "eq" => tag == Some(val),
            "neq" => tag != Some(val),
            "in" => listed(),
            "nin" => !listed(),
            "ex" => tag.is_some(),
            "nex" => tag.is_none(),
            "sw" => tag.is_some_and(|tag| tag.starts_with(val)),
            "ew" => tag.is_some_and(|tag| tag.ends_with(val)),
            "ct" => tag.is_some_and(|tag| tag.contains(val)),
            "lt" => number(Ordering::is_lt).unwrap_or(false),
            "lte" => number(Ordering::is_le).unwrap_or(false),
            "gt" => number(Ordering::is_gt).unwrap_or(false),
            "gte" => number(Ordering::is_ge).unwrap_or(false),
            _ => return None,
        })
    }
}

/// A decimal number as Centrifugo's filters read it (the Go package udecimal): a sign, digits, at most 19 of them after the
/// point, no exponent, 200 characters in all. Compared exactly, without a float in between.
#[derive(Debug, PartialEq, Eq)]
struct Decimal<'a> {
    negative: bool,
    /// Without leading zeros.
    whole: &'a str,
    /// Without trailing zeros.
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, fraction) = match unsigned.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (unsigned, ""),
        };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if text.len() > 200 || whole.is_empty() || fraction.len() > 19 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: text.starts_with('-') && !zero, whole, fraction })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        // digits of equal places compare as text; a fraction that goes on is larger
        let magnitude = |a: &Self, b: &Self| {
            a.whole.len().cmp(&b.whole.len()).then(a.whole.cmp(b.whole)).then(a.fraction.cmp(b.fraction))
        };
        match (self.negative, other.negative) {
            (false, false) => magnitude(self, other),
            (true, true) => magnitude(other, self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(json: &str) -> Filter {
        serde_json::from_str(json).unwrap()
    }

    fn matches(json: &str, tags: &[(&str, &str)]) -> bool {
        let filter = filter(json);
        assert_eq!(filter.check(), Ok(()), "{json}");
        filter.matches(&tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_leaf_compares_one_tag() {
        let tags = [("team", "red"), ("score", "10.50")];
        for (leaf, expected) in [
            (r#"{"key":"team","cmp":"eq","val":"red"}"#, true),
            (r#"{"key":"team","cmp":"eq","val":"re"}"#, false),
            (r#"{"key":"gone","cmp":"eq","val":"red"}"#, false),
            (r#"{"key":"team","cmp":"neq","val":"blue"}"#, true),
            (r#"{"key":"gone","cmp":"neq","val":"blue"}"#, true),
            (r#"{"key":"team","cmp":"neq","val":"red"}"#, false),
            (r#"{"key":"team","cmp":"in","vals":["blue","red"]}"#, true),
            (r#"{"key":"team","cmp":"in","vals":["blue"]}"#, false),
            (r#"{"key":"gone","cmp":"in","vals":[""]}"#, true),
            (r#"{"key":"team","cmp":"nin","vals":["blue"]}"#, true),
            (r#"{"key":"team","cmp":"nin","vals":["red"]}"#, false),
            (r#"{"key":"gone","cmp":"nin","vals":["red"]}"#, true),
            (r#"{"key":"team","cmp":"ex"}"#, true),
            (r#"{"key":"gone","cmp":"ex"}"#, false),
            (r#"{"key":"gone","cmp":"nex"}"#, true),
            (r#"{"key":"team","cmp":"nex"}"#, false),
            (r#"{"key":"team","cmp":"sw","val":"re"}"#, true),
            (r#"{"key":"team","cmp":"sw","val":"ed"}"#, false),
            (r#"{"key":"team","cmp":"ew","val":"ed"}"#, true),
            (r#"{"key":"team","cmp":"ew","val":"re"}"#, false),
            (r#"{"key":"team","cmp":"ct","val":"e"}"#, true),
            (r#"{"key":"team","cmp":"ct","val":"x"}"#, false),
            (r#"{"key":"score","cmp":"gt","val":"9"}"#, true),
            (r#"{"key":"score","cmp":"gt","val":"10.5"}"#, false),
            (r#"{"key":"score","cmp":"gte","val":"10.5"}"#, true),
            (r#"{"key":"score","cmp":"lt","val":"10.51"}"#, true),
            (r#"{"key":"score","cmp":"lt","val":"10.5"}"#, false),
            (r#"{"key":"score","cmp":"lte","val":"+010.5"}"#, true),
            (r#"{"key":"team","cmp":"gt","val":"1"}"#, false),
            (r#"{"key":"team","cmp":"lte","val":"1"}"#, false),
            (r#"{"key":"score","cmp":"gt","val":"many"}"#, false),
            (r#"{"key":"gone","cmp":"lt","val":"1"}"#, false),
        ] {
            assert_eq!(matches(leaf, &tags), expected, "{leaf}");
        }
    }

    #[test]
    fn nodes_combine_what_is_below_them() {
        let (red, blue) = (r#"{"key":"a","cmp":"eq","val":"red"}"#, r#"{"key":"b","cmp":"eq","val":"blue"}"#);
        let tree = |op: &str, nodes: &str| format!(r#"{{"op":"{op}","nodes":[{nodes}]}}"#);
        let (both, either) = (tree("and", &format!("{red},{blue}")), tree("or", &format!("{red},{blue}")));
        assert!(matches(&both, &[("a", "red"), ("b", "blue")]));
        assert!(!matches(&both, &[("a", "red")]));
        assert!(matches(&either, &[("b", "blue")]));
        assert!(!matches(&either, &[]));
        assert!(matches(&tree("not", &either), &[]));
        assert!(!matches(&tree("not", &both), &[("a", "red"), ("b", "blue")]));
    }

    #[test]
    fn a_malformed_tree_is_refused_with_its_reason_and_matches_nothing() {
        for (json, reason) in [
            ("{}", "leaf node must have cmp set"),
            (r#"{"key":"a","cmp":"like","val":"b"}"#, "unknown comparison operator: like"),
            (r#"{"key":"a","cmp":"eq"}"#, "eq comparison requires val"),
            (r#"{"key":"a","cmp":"gt","val":"1","vals":["2"]}"#, "gt comparison must not use vals"),
            (r#"{"key":"a","cmp":"in"}"#, "in comparison requires non-empty vals"),
            (r#"{"key":"a","cmp":"nin","vals":["1"],"val":"1"}"#, "nin comparison must not use val"),
            (r#"{"key":"a","cmp":"ex","val":"1"}"#, "ex comparison must not use val or vals"),
            (r#"{"cmp":"eq","val":"1"}"#, "leaf node requires key"),
            (r#"{"op":"and"}"#, "and node must have at least one child"),
            (r#"{"op":"or","nodes":[]}"#, "or node must have at least one child"),
            (r#"{"op":"not"}"#, "not node must have exactly one child"),
            (r#"{"op":"xor","nodes":[{"key":"a","cmp":"ex"}]}"#, "invalid op: xor"),
            (r#"{"op":"not","nodes":[{"key":"a","cmp":"like","val":"b"}]}"#, "unknown comparison operator: like"),
        ] {
            assert_eq!(filter(json).check(), Err(reason.to_owned()), "{json}");
        }
        assert!(!filter(r#"{"op":"not","nodes":[{"key":"a","cmp":"like","val":"b"}]}"#).matches(&BTreeMap::new()));
        assert!(!filter(r#"{"op":"not","nodes":[]}"#).matches(&BTreeMap::new()));
    }

    #[test]
    fn a_tree_that_is_too_deep_is_refused() {
        let leaf = Filter { key: "a".to_owned(), cmp: "ex".to_owned(), ..Filter::default() };
        let not = |node: Filter| Filter { op: "not".to_owned(), nodes: vec![node], ..Filter::default() };
        let deepest = (1..MAX_DEPTH).fold(leaf, |node, _| not(node));
        assert_eq!(deepest.check(), Ok(()));
        assert_eq!(not(deepest).check(), Err("filter is deeper than 16 nodes".to_owned()));
    }

    #[test]
    fn numbers_are_decimals_of_at_most_19_places() {
        for text in ["", "+", "-", ".5", "-.5", "5.", "1.2.3", "1e3", " 1", "1 ", "0x1", "1_0", "٣", "--1", "NaN"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert!(Decimal::parse("0.1234567890123456789").is_some());
        assert!(Decimal::parse("0.12345678901234567890").is_none());
        assert!(Decimal::parse(&"9".repeat(200)).is_some());
        assert!(Decimal::parse(&"9".repeat(201)).is_none());
    }

    #[test]
    fn a_filter_stays_itself_in_a_table() {
        let json = r#"{"op":"or","nodes":[{"key":"a","cmp":"in","vals":["1","2"]},{"key":"b","cmp":"gt","val":"3"}]}"#;
        assert_eq!(serde_json::to_string(&filter(json)).unwrap(), json);
    }

    proptest! {
        #[test]
        fn decimals_compare_as_the_numbers_they_are(a in -1_000_000_i64..1_000_000, b in -1_000_000_i64..1_000_000) {
            let text = |n: i64| format!("{}{:03}.{:03}", if n < 0 { "-" } else { "" }, n.abs() / 1000, n.abs() % 1000);
            let (left, right) = (text(a), text(b));
            let order = Decimal::parse(&left).unwrap().cmp(&Decimal::parse(&right).unwrap());
            prop_assert_eq!(order, a.cmp(&b), "{} {}", left, right);
        }

        #[test]
        fn what_a_checked_leaf_matches_its_negation_does_not(
            cmp in prop::sample::select(vec!["eq", "neq", "sw", "ew", "ct", "lt", "lte", "gt", "gte"]),
            val in "[a-c0-9.]{1,3}",
            tag in prop::option::of("[a-c0-9.]{0,3}"),
        ) {
            let leaf = Filter { key: "k".to_owned(), cmp: cmp.to_owned(), val, ..Filter::default() };
            let not = Filter { op: "not".to_owned(), nodes: vec![leaf.clone()], ..Filter::default() };
            let tags = tag.map(|tag| ("k".to_owned(), tag)).into_iter().collect();
            prop_assert_ne!(leaf.matches(&tags), not.matches(&tags));
        }
    }
}
