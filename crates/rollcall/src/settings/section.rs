//! Walking the tree of settings: each key is asked for once, by name, with its default; what nobody asked for is unknown.
//! Mistakes are noted on the way and the walk goes on, so that all of them are reported together.

use super::{
    mistake::{Mistake, Mistakes, Origin},
    tree::{Entry, Node, Table, list_from},
};
use std::{cell::RefCell, collections::BTreeMap};

/// What a walk finds out. Shared by all sections of one walk, which is what the cells are for.
#[derive(Default)]
pub(super) struct Notes {
    mistakes: RefCell<Vec<Mistake>>,
    unknown: RefCell<Vec<Unknown>>,
    known: RefCell<Vec<Known>>,
}

struct Unknown {
    key: String,
    template: String,
    origin: Origin,
    /// Instead of a similar key's name.
    hint: Option<&'static str>,
}

/// A key that was asked for, with list positions left out: `apps.secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) template: String,
    /// As it would be written; `None` if it has no default.
    pub(super) default: Option<&'static str>,
}

/// A table of the tree, or the part of it that has not been asked for yet.
pub(super) struct Section<'a> {
    notes: &'a Notes,
    key: String,
    template: String,
    origin: Option<Origin>,
    left: Table,
    origins: BTreeMap<&'static str, Origin>,
}

/// One item of a list.
pub(super) enum Item<'a> {
    Text(Text<'a>),
    Section(Section<'a>),
}

/// A value that stands alone in a list.
pub(super) struct Text<'a> {
    notes: &'a Notes,
    key: String,
    pub(super) text: String,
    origin: Origin,
}

/// Whether a value may be repeated in a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Plainly,
    Never,
}

impl Notes {
    pub(super) fn add(&self, mistake: Mistake) {
        self.mistakes.borrow_mut().push(mistake);
    }

    /// All mistakes, the unknown keys among them with a hint each.
    pub(super) fn finish(self) -> (Result<(), Mistakes>, Vec<Known>) {
        let known = self.known.into_inner();
        let mut mistakes = self.mistakes.into_inner();
        // What a line says that is no TOML was guessed: only that it is none is worth telling.
        let no_toml: Vec<_> = mistakes
            .iter()
            .filter(|mistake| mistake.key.is_empty())
            .map(|mistake| mistake.origin.clone())
            .collect();
        mistakes.retain(|mistake| mistake.key.is_empty() || !no_toml.contains(&mistake.origin));
        for unknown in self.unknown.into_inner() {
            let mut text = "is not a setting".to_owned();
            if let Some(hint) = unknown.hint {
                text = format!("{text}: {hint}");
            } else if let Some(similar) = similar(&unknown.template, &known) {
                text = format!("{text}; did you mean {similar}?");
            }
            mistakes.push(Mistake { key: unknown.key, origin: Some(unknown.origin), text });
        }
        // As one reads the file, then the environment.
        mistakes.sort_by_key(|mistake| match &mistake.origin {
            None => (0, 0),
            Some(Origin::File { line, .. }) => (1, *line),
            Some(Origin::Variable(_)) => (2, 0),
        });
        (if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }, known)
    }
}

/// The known key that was probably meant: the one spelt most alike, or else one of that name in another section.
fn similar(unknown: &str, known: &[Known]) -> Option<String> {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &str| strsim::damerau_levenshtein(unknown, key);
    let nearest = known.iter().map(|known| &known.template).min_by_key(|key| distance(key))?;
    if distance(nearest) <= 3 && distance(nearest) * 2 < unknown.len() {
        return Some(nearest.clone());
    }
    let mut elsewhere: Vec<_> =
        known.iter().map(|known| &*known.template).filter(|key| name(key) == name(unknown)).collect();
    elsewhere.dedup();
    (!elsewhere.is_empty()).then(|| elsewhere.join(" or "))
}

impl<'a> Section<'a> {
    pub(super) fn root(table: Table, notes: &'a Notes) -> Section<'a> {
        Section {
            notes,
            key: String::new(),
            template: String::new(),
            origin: None,
            left: table,
            origins: BTreeMap::new(),
        }
    }

    fn path(parent: &str, key: &str) -> String {
        if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
    }

    fn take(&mut self, key: &'static str, default: Option<&'static str>) -> Option<Entry> {
        let known = Known { template: Self::path(&self.template, key), default };
        if !self.notes.known.borrow().contains(&known) {
            self.notes.known.borrow_mut().push(known);
        }
        let entry = self.left.remove(key)?;
        self.origins.insert(key, entry.origin.clone());
        Some(entry)
    }

    /// Notes that something is wrong with this key, or with what it means together with others.
    pub(super) fn mistake(&self, key: &str, text: impl Into<String>) {
        let origin = self.origins.get(key).or(self.origin.as_ref()).cloned();
        self.notes.add(Mistake { key: Self::path(&self.key, key), origin, text: text.into() });
    }

    /// Whether the key was given.
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.contains_key(key) || self.origins.contains_key(key)
    }

    /// A value with a default. After a mistake it is the default, only so that the walk can go on.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        default: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        let given =
            self.take(key, Some(default)).and_then(|entry| self.read(key, entry, Shown::Plainly, &parse));
        given.unwrap_or_else(|| parse(default).expect("a default is valid"))
    }

    /// A value without a default.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        shown: Shown,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let entry = self.take(key, None)?;
        self.read(key, entry, shown, &parse)
    }

    /// A value that must be there; `None` once its absence or another mistake has been noted.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        shown: Shown,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(key) {
            self.mistake(key, "is missing");
        }
        self.optional(key, shown, parse)
    }

    fn read<T>(
        &self,
        key: &'static str,
        entry: Entry,
        shown: Shown,
        parse: &impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Node::Text(text) = entry.node else {
            self.mistake(key, "must be a single value");
            return None;
        };
        parse(&text).map_err(|wrong| self.mistake(key, with_value(wrong, &text, shown))).ok()
    }

    /// A table in this one; an absent one is empty.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'a> {
        let entry = self.take(key, None);
        let origin = entry.as_ref().map(|entry| entry.origin.clone());
        let left = match entry.map(|entry| entry.node) {
            None => Table::new(),
            Some(Node::Table(table)) => table,
            Some(Node::Text(_) | Node::List(_)) => {
                self.mistake(key, format!("must be a section: [{key}] and its settings below"));
                Table::new()
            }
        };
        Section {
            notes: self.notes,
            key: Self::path(&self.key, key),
            template: Self::path(&self.template, key),
            origin,
            left,
            origins: BTreeMap::new(),
        }
    }

    /// The items of a list; an absent one is empty. A variable holds a list as a TOML array.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Item<'a>> {
        let Some(entry) = self.take(key, None) else { return Vec::new() };
        let items = match entry.node {
            Node::List(items) => Ok(items),
            Node::Text(text) if matches!(entry.origin, Origin::Variable(_)) => {
                list_from(&text, &entry.origin)
            }
            Node::Text(_) | Node::Table(_) => Err("must be a list".to_owned()),
        };
        let items = items.unwrap_or_else(|wrong| {
            self.mistake(key, wrong);
            Vec::new()
        });
        let (list, template) = (Self::path(&self.key, key), Self::path(&self.template, key));
        let item = |(index, entry): (usize, Entry)| {
            let key = format!("{list}.{index}");
            match entry.node {
                Node::Text(text) => {
                    Some(Item::Text(Text { notes: self.notes, key, text, origin: entry.origin }))
                }
                Node::Table(left) => Some(Item::Section(Section {
                    notes: self.notes,
                    key,
                    template: template.clone(),
                    origin: Some(entry.origin),
                    left,
                    origins: BTreeMap::new(),
                })),
                Node::List(_) => {
                    let text = "must not be a list itself".to_owned();
                    self.notes.add(Mistake { key, origin: Some(entry.origin), text });
                    None
                }
            }
        };
        items.into_iter().enumerate().filter_map(item).collect()
    }

    /// A list of plain values, each parsed.
    pub(super) fn values<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let value = |item| match item {
            Item::Text(text) => text.read(Shown::Plainly, &parse),
            Item::Section(section) => {
                section.mistake("", "must be a plain value");
                None
            }
        };
        self.list(key).into_iter().filter_map(value).collect()
    }

    /// Ends the walk of this section: what is left is unknown.
    pub(super) fn finish(self) {
        self.finish_with(None);
    }

    /// Ends the walk of this section; `hint` says why it has no such keys.
    pub(super) fn finish_with(self, hint: Option<&'static str>) {
        let unknown = |(key, entry): (String, Entry)| Unknown {
            key: Self::path(&self.key, &key),
            template: Self::path(&self.template, &key),
            origin: entry.origin,
            hint,
        };
        self.notes.unknown.borrow_mut().extend(self.left.into_iter().map(unknown));
    }
}

impl Text<'_> {
    pub(super) fn read<T>(&self, shown: Shown, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        parse(&self.text).map_err(|wrong| self.mistake(with_value(wrong, &self.text, shown))).ok()
    }

    pub(super) fn mistake(&self, text: impl Into<String>) {
        let origin = Some(self.origin.clone());
        self.notes.add(Mistake { key: self.key.clone(), origin, text: text.into() });
    }
}

fn with_value(wrong: String, text: &str, shown: Shown) -> String {
    match shown {
        Shown::Plainly => format!("{wrong} (is {:?})", text.chars().take(60).collect::<String>()),
        Shown::Never => wrong,
    }
}
