use std::{fmt, ops::RangeInclusive, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::{Mistake, Regex, duration};

/// One object of the configuration. Options are taken out by name; what is left at the end is unknown. Mistakes are collected, so
/// that all are told at once; an option with a mistake has its default.
#[derive(Debug)]
pub(crate) struct Section<'m> {
    path: String,
    options: Map<String, Value>,
    known: Vec<&'static str>,
    mistakes: &'m mut Vec<Mistake>,
}

impl<'m> Section<'m> {
    pub(crate) fn new(path: String, value: Value, mistakes: &'m mut Vec<Mistake>) -> Self {
        let options = match value {
            Value::Object(options) => options,
            Value::Null => Map::new(),
            other => {
                mistakes.push(Mistake { path: path.clone(), reason: format!("an object is expected, not {other}") });
                Map::new()
            }
        };
        Self { path, options, known: Vec::new(), mistakes }
    }

    /// An option's whole path.
    pub(crate) fn path(&self, option: &str) -> String {
        if self.path.is_empty() { option.to_owned() } else { format!("{}.{option}", self.path) }
    }

    pub(crate) fn mistake(&mut self, option: &str, reason: impl Into<String>) {
        let path = self.path(option);
        self.mistakes.push(Mistake { path, reason: reason.into() });
    }

    /// All that was found so far, here or elsewhere.
    pub(crate) fn mistakes(&mut self) -> &mut Vec<Mistake> {
        self.mistakes
    }

    /// The value of an option; null counts as absent.
    pub(crate) fn take(&mut self, option: &'static str) -> Option<Value> {
        self.known.push(option);
        self.options.remove(option).filter(|value| !value.is_null())
    }

    pub(crate) fn section(&mut self, option: &'static str) -> Section<'_> {
        let value = self.take(option).unwrap_or_default();
        Section::new(self.path(option), value, self.mistakes)
    }

    pub(crate) fn flag(&mut self, option: &'static str) -> bool {
        match self.take(option) {
            None => false,
            Some(Value::Bool(value)) => value,
            Some(other) => {
                self.mistake(option, format!("true or false is expected, not {other}"));
                false
            }
        }
    }

    pub(crate) fn text(&mut self, option: &'static str) -> Option<String> {
        match self.take(option) {
            None => None,
            Some(Value::String(text)) => Some(text).filter(|text| !text.is_empty()),
            Some(other) => {
                // not the value: a secret that is no text must not get into a log
                self.mistake(option, format!("a text is expected, not {}", kind(&other)));
                None
            }
        }
    }

    pub(crate) fn texts(&mut self, option: &'static str) -> Vec<String> {
        let Some(value) = self.take(option) else { return Vec::new() };
        Vec::deserialize(&value).unwrap_or_else(|_| {
            self.mistake(option, format!("a list of texts is expected, not {value}"));
            Vec::new()
        })
    }

    pub(crate) fn number(&mut self, option: &'static str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let Some(value) = self.take(option) else { return default };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return number;
        }
        let (least, most) = range.into_inner();
        let reason = if most == u32::MAX {
            format!("a number from {least} is expected, not {value}")
        } else {
            format!("a number from {least} to {most} is expected, not {value}")
        };
        self.mistake(option, reason);
        default
    }

    /// In whole seconds. A bare number would be nanoseconds with Centrifugo, which nobody means.
    pub(crate) fn duration(&mut self, option: &'static str, default: Duration) -> Duration {
        let parsed = match self.take(option) {
            None => return default,
            Some(Value::Number(number)) if number.as_u64() == Some(0) => Ok(Duration::ZERO),
            Some(Value::String(text)) if text.is_empty() => return default,
            Some(Value::String(text)) => duration::parse(&text).ok_or(Value::String(text)),
            Some(other) => Err(other),
        };
        match parsed {
            Ok(duration) if duration.subsec_nanos() == 0 => duration,
            Ok(duration) => {
                self.mistake(option, format!("{} is not in whole seconds", duration::format(duration)));
                default
            }
            Err(value) => {
                self.mistake(option, format!("a duration such as \"30s\" or \"1h30m\" is expected, not {value}"));
                default
            }
        }
    }

    pub(crate) fn regex(&mut self, option: &'static str) -> Option<Regex> {
        let pattern = self.text(option)?;
        match Regex::parse(&pattern) {
            Ok(regex) => Some(regex),
            Err(cause) => {
                self.mistake(option, format!("{pattern:?} is not a regular expression: {cause}"));
                None
            }
        }
    }

    /// One of several words; the first is the default, and may be left empty.
    pub(crate) fn choice<T: Copy>(&mut self, option: &'static str, choices: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(option) else { return default };
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return *value;
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.mistake(option, format!("one of {} is expected, not {text:?}", names.join(", ")));
        default
    }

    /// An option that has one value here.
    pub(crate) fn fixed(&mut self, option: &'static str, only: &Value, reason: &str) {
        if let Some(value) = self.take(option).filter(|value| value != only) {
            self.mistake(option, format!("{value} cannot be had, only {only}: {reason}"));
        }
    }

    /// Options of Centrifugo's that there is no serving here: they may be there when they are off.
    pub(crate) fn refuse(&mut self, unserved: &[(&str, &str)]) {
        for &(option, reason) in unserved {
            if let Some(value) = self.options.remove(option)
                && !is_off(&value)
            {
                self.mistake(option, reason);
            }
        }
    }

    /// What was not taken is unknown.
    pub(crate) fn finish(mut self) {
        for (option, _) in std::mem::take(&mut self.options) {
            let reason = match self.known.iter().find(|known| is_near(known, &option)) {
                Some(known) => format!("unknown option; is {known} meant?"),
                None => "unknown option".to_owned(),
            };
            self.mistake(&option, reason);
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(options) => options.values().all(is_off),
    }
}

/// At most two letters wrong, missing or too many (Levenshtein's distance).
fn is_near(known: &str, written: &str) -> bool {
    let (known, written) = (known.as_bytes(), written.as_bytes());
    if known.len().abs_diff(written.len()) > 2 {
        return false;
    }
    let mut distances: Vec<usize> = (0..=written.len()).collect();
    for (row, letter) in known.iter().enumerate() {
        let mut diagonal = distances[0];
        distances[0] = row + 1;
        for (column, other) in written.iter().enumerate() {
            let replaced = diagonal + usize::from(!letter.eq_ignore_ascii_case(other));
            diagonal = distances[column + 1];
            distances[column + 1] = replaced.min(diagonal + 1).min(distances[column] + 1);
        }
    }
    distances[written.len()] <= 2
}

/// JSON in which no object has an option twice: of two the first would be lost without a word.
pub(crate) struct Unambiguous(pub(crate) Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Unambiguous;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Unambiguous, E> {
                Ok(Unambiguous(Value::Null))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Unambiguous, E> {
                Ok(Unambiguous(Value::Bool(value)))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Unambiguous, E> {
                Ok(Unambiguous(Value::Number(value.into())))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Unambiguous, E> {
                Ok(Unambiguous(Value::Number(value.into())))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Unambiguous, E> {
                Ok(Unambiguous(Number::from_f64(value).map_or(Value::Null, Value::Number)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Unambiguous, E> {
                Ok(Unambiguous(Value::String(value.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Unambiguous, A::Error> {
                let mut values = Vec::new();
                while let Some(Unambiguous(value)) = list.next_element()? {
                    values.push(value);
                }
                Ok(Unambiguous(Value::Array(values)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
                let mut options = Map::new();
                while let Some(name) = map.next_key::<String>()? {
                    if options.contains_key(&name) {
                        return Err(A::Error::custom(format!("{name} is there twice")));
                    }
                    let Unambiguous(value) = map.next_value()?;
                    options.insert(name, value);
                }
                Ok(Unambiguous(Value::Object(options)))
            }
        }

        json.deserialize_any(AnyValue)
    }
}
