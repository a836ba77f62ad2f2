//! YAML into serde structs, with every error of a file in one run, each with its line and column.
//!
//! serde stops at the first error. So the value at fault is noted, taken out of the parsed tree, and the rest is
//! read again, until nothing is at fault.

use marked_yaml::spanned_serde::Error;
use marked_yaml::{LoadError, LoaderOptions, Marker, Node, Span, from_node, parse_yaml_with_options};
use serde::de::DeserializeOwned;

/// Errors reported of one file at most.
const PROBLEMS_MAX: usize = 100;
/// Lists and mappings within each other at most.
const DEPTH_MAX: usize = 64;

/// One thing wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Line and column, from 1; `None` when it is about the file as a whole.
    pub at: Option<(usize, usize)>,
    /// The key at fault, such as `targets[1].base_url`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl Problem {
    fn new(at: Option<Marker>, path: &str, message: impl Into<String>) -> Self {
        Self { at: at.map(|m| (m.line(), m.column())), path: path.to_owned(), message: message.into() }
    }
}

/// A parsed file, kept to tell where a key stands.
pub(crate) struct Document(Node);

impl Document {
    /// What stands at `path`, as JSON: plain scalars that read as a number, a boolean or null become one. `None` where there
    /// is nothing.
    pub(crate) fn json(&self, path: &str) -> Option<serde_json::Value> {
        self.walk(path).1.map(to_json)
    }

    /// A problem with the key at `path` (`targets[1].base_url`); where the key itself is missing, the position is
    /// that of the nearest thing around it.
    pub(crate) fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let (at, _) = self.walk(path);
        Problem::new(at, path, message)
    }

    /// The position of the nearest thing to `path`, and what stands there if it is all there. Keys may hold dots, such as names
    /// of facts: the longest key that is there counts.
    fn walk(&self, path: &str) -> (Option<Marker>, Option<&Node>) {
        let (mut node, mut rest, mut at) = (&self.0, path, None);
        while !rest.is_empty() {
            let Some((found, left)) = step(node, rest) else { return (at, None) };
            let first_key = found.as_mapping().and_then(|mapping| mapping.keys().next());
            at = first_key.map_or(found.span(), |key| key.span()).start().copied();
            (node, rest) = (found, left);
        }
        (at, Some(node))
    }
}

/// What the beginning of `path` leads to, and the rest of it.
fn step<'a, 'p>(node: &'a Node, path: &'p str) -> Option<(&'a Node, &'p str)> {
    let mapping = node.as_mapping()?;
    if let Some(whole) = mapping.get_node(path) {
        return Some((whole, ""));
    }
    let (segment, rest) = path.split_once('.').unwrap_or((path, ""));
    let (key, indexes) = segment.split_once('[').unwrap_or((segment, ""));
    let mut found = mapping.get_node(key)?;
    for index in indexes.split(['[', ']']).filter_map(|digits| digits.parse::<usize>().ok()) {
        found = found.as_sequence()?.get(index)?;
    }
    Some((found, rest))
}

fn to_json(node: &Node) -> serde_json::Value {
    use serde_json::Value;
    match node {
        Node::Sequence(sequence) => Value::Array(sequence.iter().map(to_json).collect()),
        Node::Mapping(mapping) => {
            Value::Object(mapping.iter().map(|(key, value)| (key.as_str().to_owned(), to_json(value))).collect())
        }
        Node::Scalar(scalar) => {
            let text = scalar.as_str();
            let plain = scalar.may_coerce().then(|| match text {
                "" | "~" => Some(Value::Null),
                // JSON's own spellings; a leading zero or a plus sign leave it a text.
                _ => serde_json::from_str(text).ok().filter(|value: &Value| !value.is_object() && !value.is_array()),
            });
            plain.flatten().unwrap_or_else(|| Value::String(text.to_owned()))
        }
    }
}

/// Reads `text`. The value holds whatever could be read beside the problems found.
///
/// # Errors
/// The problems, when the text is no YAML mapping at all.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<(T, Document, Vec<Problem>), Vec<Problem>> {
    let has_content = text.lines().any(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    // Some editors begin a file with a byte order mark.
    let text = if has_content { text.trim_start_matches('\u{feff}') } else { "{}" };
    if let Some(line) = too_deep(text) {
        let message = format!("goes deeper than {DEPTH_MAX} lists and mappings within each other");
        return Err(vec![Problem { at: Some((line, 1)), path: String::new(), message }]);
    }
    if let Some(line) = second_document(text) {
        let message = "a second document begins here, and only the first would be read".to_owned();
        return Err(vec![Problem { at: Some((line, 1)), path: String::new(), message }]);
    }
    let (mut tree, mut problems) = parse(text.to_owned())?;
    let document = Document(tree.clone());
    loop {
        let error = match from_node::<T>(&tree) {
            Ok(value) => return Ok((value, document, problems)),
            Err(error) => error,
        };
        let problem = Problem::new(error.start_mark(), error.path().unwrap_or_default(), describe(&error));
        let repeated = problems.last().is_some_and(|last: &Problem| last.at == problem.at);
        if !repeated {
            problems.push(problem);
        }
        let removed = error.start_mark().is_some_and(|mark| remove_at(&mut tree, mark));
        if !removed || problems.len() >= PROBLEMS_MAX {
            return Err(problems);
        }
    }
}

/// The tree without the keys that stand twice, of which only the first is kept, and a problem for each of those.
///
/// # Errors
/// The problems, when the text is no YAML mapping.
fn parse(mut text: String) -> Result<(Node, Vec<Problem>), Vec<Problem>> {
    let (mut problems, mut doubles) = (Vec::new(), Vec::new());
    loop {
        let options = LoaderOptions::default().error_on_duplicate_keys(true);
        let error = match parse_yaml_with_options(0, &text, options) {
            Ok(mut tree) => {
                doubles.into_iter().for_each(|mark| {
                    remove_at(&mut tree, mark);
                });
                return Ok((tree, problems));
            }
            Err(error) => error,
        };
        let (at, message) = describe_load_error(&error);
        problems.push(Problem::new(at, "", message));
        let is_double = matches!(error, LoadError::DuplicateKey(_)) && problems.len() < PROBLEMS_MAX;
        let renamed = at.filter(|_| is_double).and_then(|mark| renamed(&text, mark, doubles.len()));
        let (Some(mark), Some(renamed)) = (at, renamed) else { return Err(problems) };
        doubles.push(mark);
        text = renamed;
    }
}

/// The text with another first letter of the key at `mark`, one that no other key has; every place in it stays the same.
fn renamed(text: &str, mark: Marker, number: usize) -> Option<String> {
    const PRIVATE_USE: u32 = 0xe000;
    let key = |(_, character): &(usize, char)| character.is_alphanumeric() || *character == '_';
    let begins = |(_, character): &(usize, char)| !matches!(character, '"' | '\'');
    let (at, old) = text.char_indices().skip(mark.character()).find(begins).filter(key)?;
    let new = char::from_u32(PRIVATE_USE + u32::try_from(number).ok()?)?;
    Some(format!("{}{new}{}", text.get(..at)?, text.get(at + old.len_utf8()..)?))
}

/// The line that goes too deep. The parser recurses into what is nested by indentation: every `- ` opens a list, and so can
/// each further column of indentation.
fn too_deep(text: &str) -> Option<usize> {
    let depth = |line: &str| {
        let content = line.trim_start_matches([' ', '\t', '-', '?', ':']);
        line.len() - content.len()
    };
    text.lines().position(|line| depth(line) > 2 * DEPTH_MAX).map(|at| at + 1)
}

/// The line in which a second document begins: a document mark with content before it and after it.
fn second_document(text: &str) -> Option<usize> {
    let is_mark = |line: &str| {
        line.strip_prefix("---")
            .or(line.strip_prefix("..."))
            .is_some_and(|rest| rest.trim().is_empty() || rest.starts_with([' ', '\t']))
    };
    let is_content = |line: &str| !is_mark(line) && !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| is_content(line))?;
    let mark = first + lines[first..].iter().position(|line| is_mark(line))?;
    let same_line = lines[mark].get(3..).is_some_and(|rest| !rest.trim().is_empty());
    let follows = same_line || lines[mark + 1..].iter().any(|line| is_content(line));
    follows.then_some(mark + 1)
}

/// The error without its path, which stands beside it.
fn describe(error: &Error) -> String {
    match error {
        Error::NotBoolean(_) => "expected true or false".to_owned(),
        Error::IntegerParseFailure(..) => "expected a whole number within range".to_owned(),
        Error::FloatParseFailure(..) => "expected a number".to_owned(),
        Error::UnknownFieldError(field, known, _) => {
            format!("unknown key {field:?}; known here: {}", known.join(", "))
        }
        other => other.to_string(),
    }
}

/// Takes the innermost entry or element that begins at `mark` out of the tree.
fn remove_at(node: &mut Node, mark: Marker) -> bool {
    let begins = |span: &Span| span.start().is_some_and(|start| start.character() == mark.character());
    match node {
        Node::Scalar(_) => false,
        Node::Sequence(sequence) => {
            if sequence.iter_mut().any(|element| remove_at(element, mark)) {
                return true;
            }
            let found = sequence.iter().position(|element| begins(element.span()));
            found.map(|index| sequence.remove(index)).is_some()
        }
        Node::Mapping(mapping) => {
            if mapping.values_mut().any(|value| remove_at(value, mark)) {
                return true;
            }
            let found = mapping.iter().find(|(key, value)| begins(key.span()) || begins(value.span()));
            let Some(key) = found.map(|(key, _)| key.clone()) else { return false };
            mapping.remove(&key).is_some()
        }
    }
}

fn describe_load_error(error: &LoadError) -> (Option<Marker>, String) {
    match error {
        LoadError::TopLevelMustBeMapping(at) | LoadError::TopLevelMustBeSequence(at) => {
            (Some(*at), "expected a mapping of keys at the top".to_owned())
        }
        LoadError::UnexpectedAnchor(at) => (Some(*at), "anchors are not supported".to_owned()),
        LoadError::MappingKeyMustBeScalar(at) => (Some(*at), "a key has to be plain text".to_owned()),
        LoadError::UnexpectedTag(at) => (Some(*at), "tags are not supported".to_owned()),
        LoadError::DuplicateKey(inner) => {
            let first = inner.prev_key.span().start().map_or(0, Marker::line);
            let message = format!("key {:?} is given twice; first in line {first}", inner.key.as_str());
            (inner.key.span().start().copied(), message)
        }
        LoadError::ScanError(at, error) => (Some(*at), format!("not valid YAML: {error}")),
    }
}
