//! YAML text as JSON values that know their lines.
//!
//! Built on the parser's events, because a tree builder would resolve aliases without a limit (a few lines of text can grow to
//! gigabytes) and drop doubled keys. Anchors, aliases and merges (`<<`, YAML 1.1) are taken within the limits of what is written out.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::Path;
use super::scalar;

/// Longest text that is read, in bytes: etcd takes no larger object (its default request limit is 1.5 MiB).
pub const MAX_TEXT: usize = 1_500_000;

/// Deepest nesting that is read; the schema needs 12.
const MAX_DEPTH: usize = 32;

/// Longest key, in characters; a host name has 253, and so has the longer part of a label.
const MAX_KEY: usize = 256;

/// Most values of a file, those that aliases stand for and those that anchors keep among them.
const MAX_NODES: usize = 100_000;

/// One document of a file.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Its content.
    pub(super) value: Value,
    /// What is wrong with it as YAML.
    pub(super) faults: Vec<Fault>,
    /// Whether the text stopped being YAML before the document's end; its content is not complete then.
    pub(super) broken: bool,
    places: HashMap<Path, Marker>,
}

/// Something that is wrong with the YAML itself.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) path: Path,
    pub(super) line: usize,
    pub(super) message: String,
}

impl Document {
    /// The line of the field, or of the nearest one that it should stand in.
    pub(super) fn line(&self, path: &Path) -> usize {
        self.place(path).0
    }

    /// The same with the column behind it, for sorting.
    pub(super) fn place(&self, path: &Path) -> (usize, usize) {
        let mut place = Some(path.clone());
        while let Some(at) = place {
            if let Some(marker) = self.places.get(&at) {
                return (marker.line(), marker.col());
            }
            place = at.parent();
        }
        (1, 0)
    }

    /// Whether nothing is in it, as behind a last `---`.
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_null() && self.faults.is_empty()
    }
}

/// Reads all documents of a text. Where the text is no YAML, the last document holds a fault that says so; what stood
/// before it is kept.
pub(super) fn read(text: &str) -> Vec<Document> {
    if text.len() > MAX_TEXT {
        let message = format!("the text has {} bytes; at most {MAX_TEXT} are read: split the file", text.len());
        let faults = vec![Fault { path: Path::root(), line: 1, message }];
        return vec![Document { faults, broken: true, ..Document::default() }];
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        document: Document::default(),
        line: 1,
        anchors: HashMap::new(),
        used: Size::default(),
    };
    let mut documents = Vec::new();
    loop {
        match reader.document() {
            Ok(true) => documents.push(std::mem::take(&mut reader.document)),
            Ok(false) => return documents,
            Err(stop) => {
                reader.document.faults.push(stop.0);
                reader.document.broken = true;
                documents.push(reader.document);
                return documents;
            }
        }
    }
}

/// Ends the reading of a file.
struct Stop(Fault);

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    document: Document,
    /// The last line seen, for an end that comes too early.
    line: usize,
    /// What aliases of this document stand for, by the parser's number.
    anchors: HashMap<usize, (Value, Size)>,
    /// What the documents take so far.
    used: Size,
}

/// How large a value is.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    nodes: usize,
    /// Of its texts.
    bytes: usize,
    depth: usize,
}

impl Size {
    fn of(value: &Value) -> Self {
        let mut size = Self { nodes: 1, ..Self::default() };
        match value {
            Value::String(text) => size.bytes = text.len(),
            Value::Array(items) => items.iter().for_each(|item| size.add(Self::of(item))),
            Value::Object(fields) => fields.iter().for_each(|(key, field)| {
                size.add(Self::of(field));
                size.bytes += key.len();
            }),
            _ => {}
        }
        size
    }

    fn add(&mut self, inner: Self) {
        self.nodes += inner.nodes;
        self.bytes += inner.bytes;
        self.depth = self.depth.max(inner.depth + 1);
    }
}

impl<'a> Reader<'a> {
    /// Reads the next document; false at the end of the text.
    fn document(&mut self) -> Result<bool, Stop> {
        loop {
            match self.next(&Path::root())? {
                (Event::StreamEnd, _) => return Ok(false),
                (Event::StreamStart | Event::DocumentEnd | Event::Nothing, _) => {}
                (Event::DocumentStart(_), _) => {
                    let (event, span) = self.next(&Path::root())?;
                    // What is kept is the whole file's: many documents could grow as one could.
                    self.anchors.clear();
                    self.document.places.insert(Path::root(), span.start);
                    self.document.value = self.node(event, span, &Path::root(), 0)?;
                    return Ok(true);
                }
                (_, span) => return Err(stop(&Path::root(), span, "unexpected content between documents")),
            }
        }
    }

    fn next(&mut self, path: &Path) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok((event, span))
            }
            Some(Err(error)) => Err(not_yaml(&error)),
            None => Err(Stop(Fault { path: path.clone(), line: self.line, message: "the text ends too early".into() })),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, path: &Path, depth: usize) -> Result<Value, Stop> {
        if depth > MAX_DEPTH {
            return Err(stop(path, span, "nested too deeply"));
        }
        self.charge(Size { nodes: 1, ..Size::default() }, path, span)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span, path);
                let is_plain = style == ScalarStyle::Plain;
                (if is_plain { scalar::resolve(&text) } else { Value::String(text.into_owned()) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span, path);
                (self.sequence(path, depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span, path);
                (self.mapping(path, depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(anchor, span, path, depth),
            _ => return Err(stop(path, span, "a value is missing")),
        };
        // The parser numbers anchors from 1 on; 0 is none.
        if anchor != 0 {
            let size = Size::of(&value);
            self.charge(size, path, span)?;
            self.anchors.insert(anchor, (value.clone(), size));
        }
        Ok(value)
    }

    fn alias(&mut self, anchor: usize, span: Span, path: &Path, depth: usize) -> Result<Value, Stop> {
        let Some(size) = self.anchors.get(&anchor).map(|(_, size)| *size) else {
            return Err(stop(path, span, "the alias (*name) stands within what it names; write the value out"));
        };
        if depth + size.depth > MAX_DEPTH {
            return Err(stop(path, span, "nested too deeply"));
        }
        self.charge(size, path, span)?;
        Ok(self.anchors.get(&anchor).map(|(value, _)| value.clone()).unwrap_or_default())
    }

    /// Counts what is kept, before it is made.
    fn charge(&mut self, size: Size, path: &Path, span: Span) -> Result<(), Stop> {
        self.used.nodes += size.nodes;
        self.used.bytes += size.bytes;
        if self.used.nodes > MAX_NODES || self.used.bytes > MAX_TEXT {
            let message = format!(
                "the file is too large: at most {MAX_NODES} values and {MAX_TEXT} bytes by anchors and aliases are read"
            );
            return Err(stop(path, span, &message));
        }
        Ok(())
    }

    fn sequence(&mut self, path: &Path, depth: usize) -> Result<Value, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next(path)?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(items));
            }
            let path = path.index(items.len());
            self.document.places.insert(path.clone(), span.start);
            items.push(self.node(event, span, &path, depth + 1)?);
        }
    }

    fn mapping(&mut self, path: &Path, depth: usize) -> Result<Value, Stop> {
        let (mut fields, mut merged) = (Map::new(), Vec::new());
        loop {
            let (event, span) = self.next(path)?;
            let (key, is_merge) = match event {
                Event::MappingEnd => {
                    // What stands in the mapping itself counts, then what was merged first.
                    for (key, value) in merged.into_iter().flatten() {
                        fields.entry(key).or_insert(value);
                    }
                    return Ok(Value::Object(fields));
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.refuse_tag(tag.as_deref(), span, path);
                    if anchor != 0 {
                        self.fault(path, span, "anchors (&name) of keys are not read; write the key out");
                    }
                    let is_merge = style == ScalarStyle::Plain && text == "<<";
                    (text.into_owned(), is_merge)
                }
                _ => return Err(stop(path, span, "a key must be a plain word")),
            };
            if key.chars().nth(MAX_KEY).is_some() {
                return Err(stop(path, span, &format!("a key is longer than {MAX_KEY} characters")));
            }
            let path = path.key(&key);
            if is_merge {
                let (event, span) = self.next(&path)?;
                match self.node(event, span, &path, depth + 1)? {
                    Value::Object(fields) => merged.push(fields),
                    Value::Array(all) if all.iter().all(Value::is_object) => {
                        merged.extend(all.into_iter().filter_map(|one| match one {
                            Value::Object(fields) => Some(fields),
                            _ => None,
                        }));
                    }
                    _ => self.fault(&path, span, "<< merges mappings; write << : *name, or a list of such"),
                }
                continue;
            }
            if fields.contains_key(&key) {
                self.fault(&path, span, "the key is given twice; remove one of them");
                let (event, span) = self.next(&path)?;
                self.node(event, span, &path, depth + 1)?;
                continue;
            }
            self.document.places.insert(path.clone(), span.start);
            let (event, span) = self.next(&path)?;
            let value = self.node(event, span, &path, depth + 1)?;
            fields.insert(key, value);
        }
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: Span, path: &Path) {
        if tag.is_some() {
            self.fault(path, span, "tags (!name) are not read; write a string in quotes instead");
        }
    }

    fn fault(&mut self, path: &Path, span: Span, message: &str) {
        self.document.faults.push(Fault { path: path.clone(), line: span.start.line(), message: message.to_owned() });
    }
}

fn stop(path: &Path, span: Span, message: &str) -> Stop {
    Stop(Fault { path: path.clone(), line: span.start.line(), message: message.to_owned() })
}

fn not_yaml(error: &ScanError) -> Stop {
    let message = format!("this is no YAML: {} (column {})", error.info(), error.marker().col() + 1);
    Stop(Fault { path: Path::root(), line: error.marker().line().max(1), message })
}
