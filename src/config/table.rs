//! Tables of a TOML text, taken apart key by key: what is left at the end is unknown, and every error has its place.

use std::collections::BTreeMap;
use std::ops::Range as Bytes;

use minijinja::Value;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::errors::{At, Errors, Place, nearest};

/// A table whose known keys are taken out
pub(super) struct Table<'t> {
    /// What it is, for error messages: `[[network]]`
    name: &'static str,
    /// Where it begins
    pub(super) place: Place,
    entries: DeTable<'t>,
    asked: Vec<&'static str>,
    found: Vec<&'static str>,
}

fn place(span: Bytes<usize>) -> Place {
    Place::Text(span.start, span.end)
}

/// What a value is, for error messages
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A value as templates see it
fn free_value(value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.into_owned()),
        DeValue::Boolean(boolean) => Value::from(boolean),
        DeValue::Integer(number) => {
            let number_of = |digits: &str| i64::from_str_radix(digits, number.radix()).ok();
            // TOML's numbers have 64 bits; what has more stays as it is written.
            number_of(number.as_str()).map_or_else(|| Value::from(number.as_str()), Value::from)
        }
        DeValue::Float(number) => {
            number.as_str().parse::<f64>().map_or_else(|_| Value::from(number.as_str()), Value::from)
        }
        DeValue::Datetime(date) => Value::from(date.to_string()),
        DeValue::Array(items) => items.into_iter().map(|item| free_value(item.into_inner())).collect(),
        DeValue::Table(entries) => Value::from_pairs(
            entries
                .into_iter()
                .map(|(key, value)| (key.into_inner().into_owned(), free_value(value.into_inner()))),
        ),
    }
}

impl<'t> Table<'t> {
    /// The table that a whole text is. Syntax errors are kept, and what could be read in spite of them is returned.
    pub(super) fn parse(text: &'t str, errors: &mut Errors) -> Self {
        let (document, syntax) = DeTable::parse_recoverable(text);
        for error in syntax {
            let span = error.span().unwrap_or(0..0);
            errors.push(place(span), error.message().trim().replace('\n', ", "));
        }
        Self::new("the file", Place::Missing, document.into_inner())
    }

    fn new(name: &'static str, place: Place, entries: DeTable<'t>) -> Self {
        Self { name, place, entries, asked: Vec::new(), found: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'t>>> {
        self.asked.push(key);
        let value = self.entries.remove(key);
        self.found.extend(value.is_some().then_some(key));
        value
    }

    /// Whether a key that was asked for is there, be its value wrong or right
    pub(super) fn found(&self, key: &str) -> bool {
        self.found.contains(&key)
    }

    /// Refuses a key that a later release will know
    pub(super) fn later(&mut self, key: &'static str, errors: &mut Errors, instead: &str) {
        if let Some(value) = self.entries.remove(key) {
            self.found.push(key);
            errors.push(place(value.span()), format!("`{key}` is not supported yet: {instead}"));
        }
    }

    /// A string, read by `read`
    pub(super) fn string<T>(
        &mut self,
        key: &'static str,
        errors: &mut Errors,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let value = self.take(key)?;
        let at = place(value.span());
        match value.get_ref() {
            DeValue::String(text) => errors.keep(at, read(text)).map(|value| At::new(value, at)),
            other => {
                errors.push(at, format!("`{key}` takes a string in quotes, not {}", kind(other)));
                None
            }
        }
    }

    /// A string or a list of strings, each read by `read`
    pub(super) fn strings<T>(
        &mut self,
        key: &'static str,
        errors: &mut Errors,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<At<T>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let list = match value.get_ref() {
            DeValue::Array(_) => value,
            _ => Spanned::new(value.span(), DeValue::Array(std::iter::once(value).collect::<DeArray<'_>>())),
        };
        let DeValue::Array(items) = list.into_inner() else { return Vec::new() };
        let mut values = Vec::new();
        for item in items.iter() {
            let at = place(item.span());
            match item.get_ref() {
                DeValue::String(text) => {
                    values.extend(errors.keep(at, read(text)).map(|value| At::new(value, at)));
                }
                // `arch = 7` is as clear as `arch = "7"`.
                DeValue::Integer(number) if number.radix() == 10 => {
                    values.extend(errors.keep(at, read(number.as_str())).map(|value| At::new(value, at)));
                }
                other => errors.push(at, format!("`{key}` takes strings in quotes, not {}", kind(other))),
            }
        }
        values
    }

    /// A number from `min` to `max`
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        errors: &mut Errors,
        min: u64,
        max: u64,
    ) -> Option<At<T>> {
        let value = self.take(key)?;
        let at = place(value.span());
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|number| (min..=max).contains(number))
            .and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            errors.push(at, format!("`{key}` takes a number from {min} to {max}"));
        }
        number.map(|number| At::new(number, at))
    }

    /// `true` or `false`
    pub(super) fn boolean(&mut self, key: &'static str, errors: &mut Errors) -> Option<At<bool>> {
        let value = self.take(key)?;
        let at = place(value.span());
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(At::new(*boolean, at)),
            other => {
                errors.push(at, format!("`{key}` takes true or false, not {}", kind(other)));
                None
            }
        }
    }

    /// `true` or `false`, or a string, read by `read`: `false` is as if it were not there, and `true` as if it were `"true"`
    pub(super) fn boolean_or_string<T>(
        &mut self,
        key: &'static str,
        errors: &mut Errors,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let value = self.take(key)?;
        let at = place(value.span());
        let text = match value.get_ref() {
            DeValue::Boolean(false) => return None,
            DeValue::Boolean(true) => "true",
            DeValue::String(text) => text,
            other => {
                errors.push(at, format!("`{key}` takes true, or a string in quotes, not {}", kind(other)));
                return None;
            }
        };
        errors.keep(at, read(text)).map(|value| At::new(value, at))
    }

    /// A table of whatever values the operator likes, called `name` in messages; `is_taken` are names that it cannot have
    pub(super) fn free(
        &mut self,
        key: &'static str,
        name: &'static str,
        errors: &mut Errors,
        is_taken: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, Value> {
        let Some(table) = self.table(key, name, errors) else { return BTreeMap::new() };
        let mut values = BTreeMap::new();
        for (key, value) in table.entries {
            let (text, at) = (key.get_ref(), place(key.span()));
            let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_name {
                let message =
                    format!("`{text}` is no name of a value: a template takes letters, digits and `_`");
                errors.push(at, message);
            } else if is_taken(text) {
                errors.push(at, format!("`{text}` is known of each machine by itself: give it another name"));
            } else {
                values.insert(text.to_string(), free_value(value.into_inner()));
            }
        }
        values
    }

    /// A table, called `name` in messages
    pub(super) fn table(
        &mut self,
        key: &'static str,
        name: &'static str,
        errors: &mut Errors,
    ) -> Option<Self> {
        let value = self.take(key)?;
        let at = place(value.span());
        match value.into_inner() {
            DeValue::Table(entries) => Some(Self::new(name, at, entries)),
            other => {
                errors.push(at, format!("`{key}` takes a table, not {}: write {name}", kind(&other)));
                None
            }
        }
    }

    /// A table of tables, each called `name` in messages, by their keys
    pub(super) fn named(
        &mut self,
        key: &'static str,
        name: &'static str,
        errors: &mut Errors,
    ) -> Vec<(At<String>, Self)> {
        let Some(table) = self.table(key, name, errors) else { return Vec::new() };
        let mut tables = Vec::new();
        for (key, value) in table.entries {
            let key = At::new(key.get_ref().to_string(), place(key.span()));
            let at = place(value.span());
            match value.into_inner() {
                DeValue::Table(entries) => tables.push((key, Self::new(name, at, entries))),
                other => errors.push(at, format!("write {name}, not {}", kind(&other))),
            }
        }
        tables
    }

    /// A list of tables, each called `name` in messages
    pub(super) fn tables(&mut self, key: &'static str, name: &'static str, errors: &mut Errors) -> Vec<Self> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let at = place(value.span());
        let mut tables = Vec::new();
        match value.into_inner() {
            DeValue::Array(items) => {
                for item in items {
                    let at = place(item.span());
                    match item.into_inner() {
                        DeValue::Table(entries) => tables.push(Self::new(name, at, entries)),
                        other => errors
                            .push(at, format!("`{key}` takes tables, not {}: write {name}", kind(&other))),
                    }
                }
            }
            other => {
                errors
                    .push(at, format!("`{key}` takes a list of tables, not {}: write {name}", kind(&other)));
            }
        }
        tables
    }

    /// Keeps an error for every key that nobody asked for
    pub(super) fn finish(&self, errors: &mut Errors) {
        for key in self.entries.keys() {
            let text = key.get_ref();
            let known = || self.asked.iter().copied();
            let advice = match nearest(text, known()) {
                Some(name) => format!("write `{name}`"),
                None => format!("{} takes {}", self.name, known().collect::<Vec<_>>().join(", ")),
            };
            errors.push(place(key.span()), format!("unknown key `{text}`: {advice}"));
        }
    }
}
