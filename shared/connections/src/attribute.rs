//! Reading and writing DynamoDB attribute values.

use std::collections::HashMap;

use anyhow::{Context as _, anyhow};
use aws_sdk_dynamodb::types::AttributeValue;

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(crate) fn number(value: impl std::fmt::Display) -> AttributeValue {
    AttributeValue::N(format!("{value}"))
}

pub(crate) fn boolean(value: bool) -> AttributeValue {
    AttributeValue::Bool(value)
}

/// Sets an attribute, if there is a value for it.
pub(crate) fn set(item: &mut Item, name: &str, value: impl Into<Option<AttributeValue>>) {
    if let Some(value) = value.into() {
        item.insert(name.to_owned(), value);
    }
}

pub(crate) fn get_text<'a>(item: &'a Item, name: &str) -> anyhow::Result<&'a str> {
    let value = item.get(name).with_context(|| format!("item has no {name}"))?;
    value.as_s().map(String::as_str).map_err(|_| anyhow!("{name} is not a string"))
}

pub(crate) fn find_text(item: &Item, name: &str) -> Option<String> {
    item.get(name).and_then(|value| value.as_s().ok()).cloned()
}

pub(crate) fn find_number<T: std::str::FromStr>(item: &Item, name: &str) -> anyhow::Result<Option<T>> {
    match item.get(name) {
        None => Ok(None),
        Some(AttributeValue::N(digits)) => digits.parse().map(Some).map_err(|_| anyhow!("{name} is out of range")),
        Some(_) => Err(anyhow!("{name} is not a number")),
    }
}

pub(crate) fn get_number<T: std::str::FromStr>(item: &Item, name: &str) -> anyhow::Result<T> {
    find_number(item, name)?.with_context(|| format!("item has no {name}"))
}

pub(crate) fn get_flag(item: &Item, name: &str) -> bool {
    matches!(item.get(name), Some(AttributeValue::Bool(true)))
}
