//! Reads a tree into a struct, with errors that know the path of the value they are about.

use std::collections::btree_map;
use std::fmt;
use std::slice;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};

use super::tree::{Node, Value};

/// Characters of a name from outside that a message repeats.
const MAX_SHOWN_CHARS: usize = 64;

/// Why a tree cannot be read.
#[derive(Debug)]
pub(super) struct ReadError {
    /// From the root to the value that the fault is about, or to the table that misses a field.
    pub(super) path: Vec<String>,
    pub(super) fault: Fault,
}

/// What is wrong with the value at a path. `Display` continues a sentence that begins with the key.
#[derive(Debug)]
pub(super) enum Fault {
    Unknown { allowed: &'static [&'static str] },
    Missing(String),
    Wrong(String),
}

impl ReadError {
    fn wrong(message: String) -> Self {
        Self {
            path: Vec::new(),
            fault: Fault::Wrong(message),
        }
    }

    fn below(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }

    pub(super) fn key(&self) -> String {
        self.path.join(".")
    }

    pub(super) fn child_key(&self, field: &str) -> String {
        let mut parts = self.path.clone();
        parts.push(field.to_owned());
        parts.join(".")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { allowed: [] } => formatter.write_str("is not a known key; none is allowed here"),
            Self::Unknown { allowed } => {
                write!(formatter, "is not a known key; allowed here: {}", allowed.join(", "))
            }
            Self::Missing(field) => write!(formatter, "misses {field}"),
            Self::Wrong(message) => formatter.write_str(message),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.key(), self.fault)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::wrong(message.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong(format!("must be {}, and is {}", wanted(expected), kind(&found)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn Expected) -> Self {
        let shown = match found {
            // Numbers are repeated, because an extra zero is easier seen than described; text may be a secret.
            de::Unexpected::Unsigned(number) => number.to_string(),
            de::Unexpected::Signed(number) => number.to_string(),
            de::Unexpected::Float(number) => number.to_string(),
            other => format!("another {}", kind(&other).trim_start_matches("a ")),
        };
        Self::wrong(format!("must be {}, and is {shown}", wanted(expected)))
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::wrong(format!("must be {}, and has {length} elements", wanted(expected)))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let shown: String = variant.chars().take(MAX_SHOWN_CHARS).collect();
        Self::wrong(format!("must be one of {}, and is {shown:?}", expected.join(", ")))
    }

    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Self {
            path: Vec::new(),
            fault: Fault::Unknown { allowed: expected },
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self {
            path: Vec::new(),
            fault: Fault::Missing(field.to_owned()),
        }
    }
}

/// What serde expects, in words for people: serde names the Rust type.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let range = |low: i128, high: i128| format!("a whole number from {low} to {high}");
    match text.as_str() {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        // TOML's integers end at 2^63 - 1.
        "u64" | "usize" => range(0, i64::MAX.into()),
        "i8" => range(i8::MIN.into(), i8::MAX.into()),
        "i16" => range(i16::MIN.into(), i16::MAX.into()),
        "i32" => range(i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "a borrowed string" | "a character" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.strip_prefix("a nonzero ").map_or_else(
            || other.to_owned(),
            |integer| format!("a whole number other than 0 ({integer})"),
        ),
    }
}

/// What was found, without the value.
fn kind(found: &de::Unexpected<'_>) -> &'static str {
    match found {
        de::Unexpected::Bool(_) => "true or false",
        de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) => "a whole number",
        de::Unexpected::Float(_) => "a number with a fraction",
        de::Unexpected::Char(_) | de::Unexpected::Str(_) => "a text",
        de::Unexpected::Seq => "a list",
        de::Unexpected::Map => "a table",
        _ => "a value of another kind",
    }
}

/// A deserializer over a node.
#[derive(Clone, Copy)]
pub(super) struct TreeReader<'t>(pub(super) &'t Node);

impl<'de> Deserializer<'de> for TreeReader<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visit(&self.0.value, visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.0.value {
            Value::Written(_, text) => visitor.visit_str(text),
            value => visit(value, visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.0.value {
            Value::Text(text) | Value::Written(_, text) => {
                let name: StrDeserializer<'_, ReadError> = text.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            Value::Table(table) => visitor.visit_enum(MapAccessDeserializer::new(TableReader::new(table))),
            other => Err(ReadError::wrong(format!(
                "must be one of {}, and is {}",
                variants.join(", "),
                kind(&unexpected(other))
            ))),
        }
    }

    /// Derived structs also read lists by position, which a configuration that changes over the years must not allow.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.0.value {
            Value::Table(table) => visitor.visit_map(TableReader::new(table)),
            other => Err(de::Error::invalid_type(unexpected(other), &"a table")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

fn visit<'de, V: Visitor<'de>>(value: &Value, visitor: V) -> Result<V::Value, ReadError> {
    match value {
        Value::Table(table) => visitor.visit_map(TableReader::new(table)),
        Value::List(elements) => {
            let mut reader = ListReader(elements.iter());
            let read = visitor.visit_seq(&mut reader)?;
            // A pair takes two elements and does not look for a third.
            match reader.0.len() {
                0 => Ok(read),
                extra => Err(ReadError::wrong(format!(
                    "must have {} elements, and has {}",
                    elements.len() - extra,
                    elements.len()
                ))),
            }
        }
        Value::Bool(answer) => visitor.visit_bool(*answer),
        Value::Integer(number) => visitor.visit_i64(*number),
        Value::Float(number) => visitor.visit_f64(*number),
        Value::Text(text) => visitor.visit_str(text),
        Value::Written(value, _) => visit(value, visitor),
    }
}

fn unexpected(value: &Value) -> de::Unexpected<'_> {
    match value {
        Value::Table(_) => de::Unexpected::Map,
        Value::List(_) => de::Unexpected::Seq,
        Value::Bool(answer) => de::Unexpected::Bool(*answer),
        Value::Integer(number) => de::Unexpected::Signed(*number),
        Value::Float(number) => de::Unexpected::Float(*number),
        Value::Text(text) | Value::Written(_, text) => de::Unexpected::Str(text),
    }
}

struct TableReader<'t> {
    entries: btree_map::Iter<'t, String, Node>,
    current: Option<(&'t str, &'t Node)>,
}

impl<'t> TableReader<'t> {
    fn new(table: &'t btree_map::BTreeMap<String, Node>) -> Self {
        Self {
            entries: table.iter(),
            current: None,
        }
    }
}

impl<'de> MapAccess<'de> for TableReader<'_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.current = Some((key, node));
        let name: StrDeserializer<'_, ReadError> = key.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| error.below(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        let (key, node) = self.current.take().expect("serde asks for a value after its key");
        seed.deserialize(TreeReader(node)).map_err(|error| error.below(key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

struct ListReader<'t>(slice::Iter<'t, (usize, Node)>);

impl<'de> SeqAccess<'de> for ListReader<'_> {
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, ReadError> {
        let Some((number, node)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(TreeReader(node))
            .map(Some)
            .map_err(|error| error.below(&number.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
