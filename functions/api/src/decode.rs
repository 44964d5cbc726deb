//! JSON as Go reads it, which is what Centrifugo takes: null stands for absent, and an object is never written as an array.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use signalbox_protocol::Json;

/// A request: an object, or null for one without fields.
pub(crate) fn request<'de, T: Deserialize<'de> + Default>(json: &'de str) -> serde_json::Result<T> {
    let request: Option<Object<T>> = serde_json::from_str(json)?;
    Ok(request.map(|object| object.0).unwrap_or_default())
}

/// A field; null is its default.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(json: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or_default())
}

/// A field that holds an object; null is none.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(json)?.map(|object| object.0))
}

/// A list of texts; null is empty, and a null in it an empty text.
pub(crate) fn texts<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<String>, D::Error> {
    let texts: Vec<Option<String>> = or_default(json)?;
    Ok(texts.into_iter().map(Option::unwrap_or_default).collect())
}

/// Texts by name, in the same way.
pub(crate) fn named_texts<'de, D: Deserializer<'de>>(json: D) -> Result<BTreeMap<String, String>, D::Error> {
    let texts: BTreeMap<String, Option<String>> = or_default(json)?;
    Ok(texts.into_iter().map(|(name, text)| (name, text.unwrap_or_default())).collect())
}

/// A payload, of which null is one.
pub(crate) fn payload<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(json).map(Some)
}

/// What serde derives takes an array of a struct's fields for the struct; this takes an object alone.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        json.deserialize_map(Fields(PhantomData))
    }
}
