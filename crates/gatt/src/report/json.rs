//! Writing of JSON objects.

use alloc::string::String;
use core::fmt::{Display, Write};

use crate::{Decimal, MedFloat};

/// An object under construction.
pub(super) struct Object {
    text: String,
}

impl Object {
    /// An empty object.
    pub(super) fn new() -> Self {
        Self {
            text: String::from("{"),
        }
    }

    /// An object that begins with `"ok":true`.
    pub(super) fn accepted() -> Self {
        let mut object = Self::new();
        object.bool("ok", true);
        object
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }

    fn key(&mut self, key: &str) {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        push_string(&mut self.text, key);
        self.text.push(':');
    }

    /// A value whose `Display` is JSON: an integer or a [`Decimal`].
    pub(super) fn display(&mut self, key: &str, value: impl Display) {
        self.key(key);
        push_display(&mut self.text, value);
    }

    pub(super) fn bool(&mut self, key: &str, value: bool) {
        self.display(key, value);
    }

    pub(super) fn null(&mut self, key: &str) {
        self.display(key, "null");
    }

    pub(super) fn display_or_null(&mut self, key: &str, value: Option<impl Display>) {
        match value {
            Some(value) => self.display(key, value),
            None => self.null(key),
        }
    }

    pub(super) fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        push_string(&mut self.text, value);
    }

    pub(super) fn hex(&mut self, key: &str, bytes: &[u8]) {
        let mut digits = String::new();
        for byte in bytes {
            push_display(&mut digits, format_args!("{byte:02X}"));
        }
        self.string(key, &digits);
    }

    /// A number as such, a special as a string.
    pub(super) fn med_float(&mut self, key: &str, value: &MedFloat) {
        match value.special_name() {
            Some(name) => self.string(key, name),
            None => self.display(key, value),
        }
    }

    /// A number, or nothing.
    pub(super) fn decimal(&mut self, key: &str, value: Option<Decimal>) {
        if let Some(value) = value {
            self.display(key, value);
        }
    }

    pub(super) fn object(&mut self, key: &str, value: Self) {
        self.display(key, value.finish());
    }

    pub(super) fn strings<'a>(&mut self, key: &str, values: impl Iterator<Item = &'a str>) {
        self.list(key, values, push_string);
    }

    pub(super) fn list<T>(&mut self, key: &str, values: impl Iterator<Item = T>, push: impl Fn(&mut String, T)) {
        self.key(key);
        self.text.push('[');
        for (index, value) in values.enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            push(&mut self.text, value);
        }
        self.text.push(']');
    }

    pub(super) fn trailing(&mut self, trailing_bytes: usize) {
        if trailing_bytes > 0 {
            self.display("trailing_bytes", trailing_bytes);
        }
    }

    /// Why a value is suspicious though readable.
    pub(super) fn notes(&mut self, notes: &[&str]) {
        if !notes.is_empty() {
            self.string("note", &notes.join("; "));
        }
    }
}

pub(super) fn push_display(text: &mut String, value: impl Display) {
    // Writing to a String fails only if the value's own Display does, and none of ours do.
    if write!(text, "{value}").is_err() {
        text.push_str("null");
    }
}

fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            // Line ends and other control characters, also those outside ASCII that terminals act upon.
            control if control.is_control() => {
                push_display(text, format_args!("\\u{:04x}", u32::from(control)));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}
