//! The merged layers as a tree in which every value remembers where it came from.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::de::{ReadError, TreeReader};
use super::report::Origin;

/// A value and its origin.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Table(BTreeMap<String, Node>),
    /// Elements keep the number that they had in their source, for messages after some were set aside.
    List(Vec<(usize, Node)>),
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    /// A scalar from the environment or the command line: what it reads as, and the text as it was written, which is
    /// what a field of text takes (`--set name=007`).
    Written(Box<Value>, String),
}

impl Node {
    pub(super) fn empty_table(origin: Origin) -> Self {
        Self {
            origin,
            value: Value::Table(BTreeMap::new()),
        }
    }

    pub(super) fn from_toml(value: toml::Value, origin: &Origin) -> Self {
        let value = match value {
            toml::Value::String(text) => Value::Text(text),
            toml::Value::Integer(number) => Value::Integer(number),
            toml::Value::Float(number) => Value::Float(number),
            toml::Value::Boolean(answer) => Value::Bool(answer),
            // Fields of time read RFC 3339 text.
            toml::Value::Datetime(moment) => Value::Text(moment.to_string()),
            toml::Value::Array(elements) => Value::List(
                elements
                    .into_iter()
                    .map(|element| Self::from_toml(element, origin))
                    .enumerate()
                    .collect(),
            ),
            toml::Value::Table(table) => Value::Table(
                table
                    .into_iter()
                    .map(|(key, value)| (key, Self::from_toml(value, origin)))
                    .collect(),
            ),
        };
        Self {
            origin: origin.clone(),
            value,
        }
    }

    /// A tree that holds one value at the path `parts`: a TOML value, or else the text itself.
    pub(super) fn from_text(text: &str, parts: &[String], origin: &Origin) -> Self {
        let value = match text.parse::<toml::Value>() {
            Ok(toml) => match Self::from_toml(toml, origin).value {
                value @ (Value::Bool(_) | Value::Integer(_) | Value::Float(_)) => {
                    Value::Written(Box::new(value), text.to_owned())
                }
                value => value,
            },
            Err(_) => Value::Text(text.to_owned()),
        };
        let leaf = Self {
            origin: origin.clone(),
            value,
        };
        parts.iter().rev().fold(leaf, |inner, part| Self {
            origin: origin.clone(),
            value: Value::Table(BTreeMap::from([(part.clone(), inner)])),
        })
    }

    /// Lays `upper` over this node: tables key by key, everything else as a whole.
    pub(super) fn merge(&mut self, upper: Self) {
        match (&mut self.value, upper.value) {
            (Value::Table(lower), Value::Table(table)) => {
                for (key, node) in table {
                    match lower.get_mut(&key) {
                        Some(below) => below.merge(node),
                        None => {
                            lower.insert(key, node);
                        }
                    }
                }
            }
            (value, replacement) => {
                *value = replacement;
                self.origin = upper.origin;
            }
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ReadError> {
        T::deserialize(TreeReader(self))
    }

    /// Takes the node at `path` out; false when there is none, or when it is the root.
    pub(super) fn remove(&mut self, path: &[String]) -> bool {
        let Some((last, parents)) = path.split_last() else {
            return false;
        };
        let Some(parent) = parents.iter().try_fold(self, |node, part| node.child_mut(part)) else {
            return false;
        };
        match &mut parent.value {
            Value::Table(table) => table.remove(last).is_some(),
            Value::List(elements) => {
                let before = elements.len();
                elements.retain(|(number, _)| number.to_string() != *last);
                elements.len() < before
            }
            _ => false,
        }
    }

    /// Where the value at a dotted key came from; the default when no layer has it.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.find(key).map_or(Origin::Default, |node| node.origin.clone())
    }

    pub(super) fn is_list(&self, key: &str) -> bool {
        self.find(key).is_some_and(|node| matches!(node.value, Value::List(_)))
    }

    fn find(&self, key: &str) -> Option<&Self> {
        if key.is_empty() {
            return Some(self);
        }
        key.split('.').try_fold(self, |node, part| match &node.value {
            Value::Table(table) => table.get(part),
            Value::List(elements) => elements
                .iter()
                .find(|(number, _)| number.to_string() == part)
                .map(|(_, element)| element),
            _ => None,
        })
    }

    fn child_mut(&mut self, part: &str) -> Option<&mut Self> {
        match &mut self.value {
            Value::Table(table) => table.get_mut(part),
            Value::List(elements) => elements
                .iter_mut()
                .find(|(number, _)| number.to_string() == part)
                .map(|(_, element)| element),
            _ => None,
        }
    }
}
