//! Settings before they mean anything: the file and the environment as one tree of texts, each knowing where it came
//! from, so that a mistake can say where to look.

use super::mistake::{Mistake, Origin};
use std::{collections::BTreeMap, sync::Arc};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) node: Node,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    /// A string, or a number or boolean as it was written.
    Text(String),
    List(Vec<Entry>),
    Table(Table),
}

pub(super) type Table = BTreeMap<String, Entry>;

/// Reads a TOML file. What is no TOML is reported, and the rest is read on.
pub(super) fn from_file(name: &str, text: &str, mistakes: &mut Vec<Mistake>) -> Table {
    let file = File { name: name.into(), text };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let origin = file.origin(error.span().map_or(0, |span| span.start));
        mistakes.push(Mistake { key: String::new(), origin: Some(origin), text: error.message().to_owned() });
    }
    file.table(table.get_ref())
}

struct File<'a> {
    name: Arc<str>,
    text: &'a str,
}

impl File<'_> {
    fn origin(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Origin::File {
            name: Arc::clone(&self.name),
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
        }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            // A table's own span is its header or its braces; the key's is where a reader looks.
            (
                key.get_ref().to_string(),
                Entry { node: self.node(value), origin: self.origin(key.span().start) },
            )
        };
        table.iter().map(entry).collect()
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        match value.get_ref() {
            DeValue::String(text) => Node::Text(text.to_string()),
            DeValue::Array(items) => Node::List(self.list(items)),
            DeValue::Table(table) => Node::Table(self.table(table)),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                Node::Text(self.text.get(value.span()).unwrap_or_default().to_owned())
            }
        }
    }

    fn list(&self, items: &DeArray<'_>) -> Vec<Entry> {
        let entry = |item: &Spanned<DeValue<'_>>| Entry {
            node: self.node(item),
            origin: self.origin(item.span().start),
        };
        items.iter().map(entry).collect()
    }
}

/// Lays the environment over the file's settings: `ROLLCALL_GATEWAY__LISTEN` is `gateway.listen`,
/// `ROLLCALL_APPS__0__SECRET` the secret of the first app, and `ROLLCALL_APPS` all of them, as a TOML array.
pub(super) fn overlay<'a>(
    table: &mut Table,
    environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    mistakes: &mut Vec<Mistake>,
) {
    let mut settings: Vec<_> =
        environment.into_iter().filter_map(|(name, value)| Some((path_of(name)?, name, value))).collect();
    // A whole before its parts, and an item after the one that precedes it.
    settings.sort();
    for ((_, path), name, value) in settings {
        let origin = Origin::Variable(name.into());
        if let Err(text) = put(table, &path, value, &origin) {
            let key = path.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
            mistakes.push(Mistake { key, origin: Some(origin), text });
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Index(usize),
    Name(String),
}

impl std::fmt::Display for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Segment::Index(index) => write!(f, "{index}"),
            Segment::Name(name) => f.write_str(name),
        }
    }
}

/// Who wins where several variables mean one setting: the later.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// `RUST_LOG`, by which people filter the logs of any Rust program.
    Custom,
    Ours,
}

fn path_of(variable: &str) -> Option<(Rank, Vec<Segment>)> {
    /// Read by the command line, not settings of the server.
    const NOT_SETTINGS: [&str; 5] =
        ["ROLLCALL_CONFIG", "ROLLCALL_SERVER", "ROLLCALL_TOKEN", "ROLLCALL_SECRET", "ROLLCALL_KEY"];
    if variable == "RUST_LOG" {
        let path = ["log", "filter"].map(|name| Segment::Name(name.to_owned()));
        return Some((Rank::Custom, path.to_vec()));
    }
    let rest = variable.strip_prefix("ROLLCALL_")?;
    if NOT_SETTINGS.contains(&variable) || is_kubernetes_link(rest) {
        return None;
    }
    let segment = |text: &str| match text.parse() {
        Ok(index) => Segment::Index(index),
        Err(_) => Segment::Name(text.to_ascii_lowercase()),
    };
    Some((Rank::Ours, rest.split("__").map(segment).collect()))
}

/// Kubernetes gives every pod variables about each service of its namespace: for one named `rollcall` or `rollcall-…`,
/// such as `ROLLCALL_SERVICE_HOST`, `ROLLCALL_PORT` and `ROLLCALL_GATEWAY_PORT_6001_TCP_ADDR`. Nobody wrote those as
/// settings, which all have a `__`.
fn is_kubernetes_link(rest: &str) -> bool {
    let about = |name: &str| rest == name || rest.ends_with(&format!("_{name}"));
    let within = |name: &str| rest.starts_with(&name[1..]) || rest.contains(name);
    !rest.contains("__")
        && (about("SERVICE_HOST")
            || about("SERVICE_PORT")
            || about("PORT")
            || within("_SERVICE_PORT_")
            || within("_PORT_"))
}

/// Puts `value` where `path` leads, making what is missing on the way.
fn put(table: &mut Table, path: &[Segment], value: &str, origin: &Origin) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else { return Ok(()) };
    let name = first.to_string();
    let given = table.remove(&name);
    let mut entry =
        given.clone().unwrap_or(Entry { node: Node::Text(String::new()), origin: origin.clone() });
    let put = put_into(&mut entry, rest, value, origin);
    // What cannot be put leaves no trace: the mistake is enough.
    table.extend(if put.is_ok() { Some(entry) } else { given }.map(|entry| (name, entry)));
    put
}

fn put_into(entry: &mut Entry, path: &[Segment], value: &str, origin: &Origin) -> Result<(), String> {
    match path {
        [] => {
            *entry = Entry { node: Node::Text(value.to_owned()), origin: origin.clone() };
            Ok(())
        }
        [Segment::Index(index), rest @ ..] => {
            let mut items = match &entry.node {
                Node::List(items) => items.clone(),
                Node::Text(text) if text.is_empty() => Vec::new(),
                Node::Text(text) => list_from(text, origin)?,
                Node::Table(_) => return Err("is a section, not a list".to_owned()),
            };
            if *index > items.len() {
                return Err(format!(
                    "is item {index} of a list that has {} so far: count from 0",
                    items.len()
                ));
            }
            if *index == items.len() {
                items.push(Entry { node: Node::Text(String::new()), origin: origin.clone() });
            }
            put_into(&mut items[*index], rest, value, origin)?;
            entry.node = Node::List(items);
            Ok(())
        }
        [Segment::Name(_), ..] => {
            if !matches!(entry.node, Node::Table(_)) {
                *entry = Entry { node: Node::Table(Table::new()), origin: origin.clone() };
            }
            match &mut entry.node {
                Node::Table(table) => put(table, path, value, origin),
                Node::Text(_) | Node::List(_) => unreachable!("made a table above"),
            }
        }
    }
}

/// The items of a list that one variable holds as a TOML array.
pub(super) fn list_from(text: &str, origin: &Origin) -> Result<Vec<Entry>, String> {
    let hint = "must be a TOML array, such as [\"a\", \"b\"]";
    let value = DeValue::parse(text).map_err(|error| format!("{hint}: {}", error.message()))?;
    let DeValue::Array(items) = value.get_ref() else { return Err(hint.to_owned()) };
    let mut items = File { name: "".into(), text }.list(items);
    items.iter_mut().for_each(|item| set_origin(item, origin));
    Ok(items)
}

fn set_origin(entry: &mut Entry, origin: &Origin) {
    entry.origin = origin.clone();
    match &mut entry.node {
        Node::Text(_) => {}
        Node::List(items) => items.iter_mut().for_each(|item| set_origin(item, origin)),
        Node::Table(table) => table.values_mut().for_each(|entry| set_origin(entry, origin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_sets_is_no_setting() {
        for link in [
            "ROLLCALL_SERVICE_HOST",
            "ROLLCALL_SERVICE_PORT",
            "ROLLCALL_SERVICE_PORT_HTTP",
            "ROLLCALL_PORT",
            "ROLLCALL_PORT_6001_TCP",
            "ROLLCALL_GATEWAY_SERVICE_HOST",
            "ROLLCALL_GATEWAY_PORT_6001_TCP_ADDR",
        ] {
            assert!(path_of(link).is_none(), "{link}");
        }
        for setting in
            ["ROLLCALL_GATEWAY__LISTEN", "ROLLCALL_APPS", "ROLLCALL_GATEWAY__PORT", "ROLLCALL_LISTEN"]
        {
            assert!(path_of(setting).is_some(), "{setting}");
        }
        assert!(path_of("HOME").is_none());
        assert!(path_of("ROLLCALL_CONFIG").is_none());
    }

    #[test]
    fn what_is_no_toml_is_reported_with_its_line() {
        let mut mistakes = Vec::new();
        let table = from_file("f.toml", "[gateway]\nlisten = = 1\nworkers = 2\n", &mut mistakes);
        assert!(!mistakes.is_empty());
        assert!(mistakes[0].to_string().starts_with("f.toml:2: "), "{}", mistakes[0]);
        assert!(table.contains_key("gateway"));
    }
}
