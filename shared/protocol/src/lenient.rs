//! JSON as Go reads it, which is what Centrifugo takes: null stands for absent, and an object is never written as an array.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A field; null is its default.
pub(crate) fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(json: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or_default())
}

/// A field that holds an object; null is none.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(json)?.map(|object| object.0))
}

/// A field that holds a list of objects; null is empty.
pub(crate) fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(json: D) -> Result<Vec<T>, D::Error> {
    let list: Vec<Object<T>> = or_default(json)?;
    Ok(list.into_iter().map(|object| object.0).collect())
}

/// A field that holds objects by name; null is empty.
pub(crate) fn named_objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    json: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let map: BTreeMap<String, Object<T>> = or_default(json)?;
    Ok(map.into_iter().map(|(name, object)| (name, object.0)).collect())
}

/// What serde derives takes an array of a struct's fields for the struct; this takes an object alone.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

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
