//! YAML text as JSON values that know their lines.
//!
//! Built on the parser's events, because a tree builder would resolve aliases (a few lines of text can grow to gigabytes)
//! and drop doubled keys.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::Path;
use super::scalar;

/// Longest text that is read, in bytes: etcd takes no larger object (its default request limit is 1.5 MiB).
const MAX_TEXT: usize = 1_500_000;

/// Deepest nesting that is read; the schema needs 12.
const MAX_DEPTH: usize = 32;

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
    let mut reader = Reader { parser: Parser::new_from_str(text), document: Document::default(), line: 1 };
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
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_extras(anchor, tag.as_deref(), span, path);
                Ok(if style == ScalarStyle::Plain { scalar::resolve(&text) } else { Value::String(text.into_owned()) })
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.as_deref(), span, path);
                self.sequence(path, depth)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_extras(anchor, tag.as_deref(), span, path);
                self.mapping(path, depth)
            }
            Event::Alias(_) => {
                self.fault(path, span, "aliases (*name) are not read; write the value out");
                Ok(Value::Null)
            }
            _ => Err(stop(path, span, "a value is missing")),
        }
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
        let mut fields = Map::new();
        loop {
            let (event, span) = self.next(path)?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Object(fields)),
                Event::Scalar(text, _, anchor, tag) => {
                    self.refuse_extras(anchor, tag.as_deref(), span, path);
                    text.into_owned()
                }
                _ => return Err(stop(path, span, "a key must be a plain word")),
            };
            let path = path.key(&key);
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

    fn refuse_extras(&mut self, anchor: usize, tag: Option<&Tag>, span: Span, path: &Path) {
        // The parser numbers anchors from 1 on; 0 is none.
        if anchor != 0 {
            self.fault(path, span, "anchors (&name) are not read; write the value out where it is needed");
        }
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
