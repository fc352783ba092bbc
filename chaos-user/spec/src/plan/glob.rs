//! Globs as a table that the kernel follows byte by byte: a nondeterministic automaton per pattern, their union made deterministic
//! by subsets. Matching costs one look-up per byte, however many patterns there are.

use chaos_abi::{GLOB_ACCEPT, GLOB_DEAD};
use std::collections::{BTreeMap, BTreeSet};

/// One state: the next by byte, 0: none. Entry 0 says whether the text may end here. States count from [`FIRST`].
pub type Row = [u16; 256];
/// The number of the first state: lower ones mean something else.
pub const FIRST: u16 = 2;
/// Most states of one table.
const MOST: usize = 2048;
/// Most edges that are followed to make one: a tenth of a second. The largest table of ordinary patterns takes a hundredth of that.
const MOST_STEPS: usize = 20_000_000;

/// How text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// A path, from its end to its begin. `*` and `?` stay within a folder, `**` does not.
    Path,
    /// A name, from its begin to its end. `*` is any text, `?` any character.
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Byte(u8),
    NotSlash,
    Any,
}

impl Class {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => own == byte,
            Self::NotSlash => byte != b'/',
            Self::Any => true,
        }
    }
}

/// Edges by state; None: for nothing.
#[derive(Default)]
struct Automaton {
    edges: Vec<(usize, Option<Class>, usize)>,
    states: usize,
    first: BTreeSet<usize>,
    last: BTreeSet<usize>,
}

impl Automaton {
    fn state(&mut self) -> usize {
        self.states += 1;
        self.states - 1
    }

    fn edge(&mut self, from: usize, class: Class) -> usize {
        let to = self.state();
        self.edges.push((from, Some(class), to));
        to
    }

    fn repeat(&mut self, at: usize, class: Class) -> usize {
        self.edges.push((at, Some(class), at));
        // A state of its own behind it, or what follows would be part of what is repeated.
        let to = self.state();
        self.edges.push((at, None, to));
        to
    }

    fn add(&mut self, pattern: &[u8], text: Text) {
        let within = if text == Text::Path { Class::NotSlash } else { Class::Any };
        let mut at = self.state();
        self.first.insert(at);
        let mut rest = pattern;
        while let Some((byte, tail)) = rest.split_first() {
            if text == Text::Path && rest.starts_with(b"/**/") {
                // Any number of folders, and none.
                at = self.edge(at, Class::Byte(b'/'));
                let start = self.state();
                self.edges.push((at, None, start));
                let inside = self.repeat(start, Class::Any);
                let behind = self.edge(inside, Class::Byte(b'/'));
                self.edges.push((at, None, behind));
                (at, rest) = (behind, &rest[4..]);
                continue;
            }
            if rest.starts_with(b"**") && text == Text::Path {
                let start = self.state();
                self.edges.push((at, None, start));
                (at, rest) = (self.repeat(start, Class::Any), &rest[2..]);
                continue;
            }
            at = match byte {
                b'*' => {
                    let start = self.state();
                    self.edges.push((at, None, start));
                    self.repeat(start, within)
                }
                b'?' => self.edge(at, within),
                other => self.edge(at, Class::Byte(*other)),
            };
            rest = tail;
        }
        self.last.insert(at);
    }

    fn reversed(mut self) -> Self {
        for (from, _, to) in &mut self.edges {
            std::mem::swap(from, to);
        }
        std::mem::swap(&mut self.first, &mut self.last);
        self
    }

    /// Bytes that some edge tells from all others, and one that none does.
    fn alphabet(&self) -> (BTreeSet<u8>, Option<u8>) {
        let mut named: BTreeSet<u8> = self
            .edges
            .iter()
            .filter_map(|(_, class, _)| match class {
                Some(Class::Byte(byte)) => Some(*byte),
                _ => None,
            })
            .collect();
        named.insert(b'/');
        let other = (1..=u8::MAX).find(|byte| !named.contains(byte));
        (named, other)
    }

    fn table(&self) -> Option<Vec<Row>> {
        let (named, other) = self.alphabet();
        let mut steps = Steps::of(self);
        let start = steps.closed(self.first.iter().copied().collect())?;
        let mut numbers = BTreeMap::from([(start.clone(), 0_usize)]);
        let (mut open, mut rows) = (vec![start], Vec::new());
        let mut next = 0;
        while next < open.len() {
            let set = open[next].clone();
            next += 1;
            let mut number = |to: Set, open: &mut Vec<Set>| {
                if to.is_empty() {
                    return GLOB_DEAD;
                }
                let new = numbers.len();
                let number = *numbers.entry(to.clone()).or_insert(new);
                if number == new {
                    open.push(to);
                }
                FIRST + u16::try_from(number).unwrap_or(u16::MAX - FIRST)
            };
            let mut row = [GLOB_DEAD; 256];
            if let Some(other) = other {
                row = [number(steps.after(&set, other)?, &mut open); 256];
            }
            for byte in &named {
                row[usize::from(*byte)] = number(steps.after(&set, *byte)?, &mut open);
            }
            row[0] = if set.iter().any(|state| self.last.contains(state)) { GLOB_ACCEPT } else { GLOB_DEAD };
            rows.push(row);
            if open.len() > MOST {
                return None;
            }
        }
        Some(rows)
    }
}

/// States, in order.
type Set = Vec<usize>;

/// The edges by where they begin, and how much may still be done with them: patterns are anybody's, and their sets can be as large as all of
/// them together.
struct Steps {
    moves: Vec<Vec<(Class, usize)>>,
    silent: Vec<Vec<usize>>,
    left: usize,
}

impl Steps {
    fn of(automaton: &Automaton) -> Self {
        let mut moves = vec![Vec::new(); automaton.states];
        let mut silent = vec![Vec::new(); automaton.states];
        for (from, class, to) in &automaton.edges {
            match class {
                Some(class) => moves[*from].push((*class, *to)),
                None => silent[*from].push(*to),
            }
        }
        Self { moves, silent, left: MOST_STEPS }
    }

    /// With what is reached for nothing; None where too much was done.
    fn closed(&mut self, states: Set) -> Option<Set> {
        let mut set: BTreeSet<usize> = states.iter().copied().collect();
        let mut open = states;
        while let Some(state) = open.pop() {
            self.left = self.left.checked_sub(1 + self.silent[state].len())?;
            open.extend(self.silent[state].iter().copied().filter(|to| set.insert(*to)));
        }
        Some(set.into_iter().collect())
    }

    fn after(&mut self, set: &Set, byte: u8) -> Option<Set> {
        let mut reached = Set::new();
        for state in set {
            self.left = self.left.checked_sub(1 + self.moves[*state].len())?;
            reached.extend(self.moves[*state].iter().filter(|(class, _)| class.has(byte)).map(|(_, to)| *to));
        }
        reached.sort_unstable();
        reached.dedup();
        self.closed(reached)
    }
}

/// The table for text that agrees with one of the patterns; None where it would need too many states or too much time, as many `**` may.
#[must_use]
pub fn compile(patterns: &[String], text: Text) -> Option<Vec<Row>> {
    let mut automaton = Automaton::default();
    for pattern in patterns {
        automaton.add(pattern.as_bytes(), text);
    }
    if text == Text::Path { automaton.reversed() } else { automaton }.table()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each table would have its states in time, were it not for the size of the sets.
    #[test]
    fn patterns_that_would_take_minutes_are_given_up() {
        let letters = (b'a'..=b'z').cycle().map(char::from);
        let long: String =
            letters.flat_map(|letter| ["**", "?"].map(|part| format!("{part}{letter}"))).take(1000).collect();
        let many: Vec<String> = (0..64).map(|number| format!("/{number}{long}")).collect();
        assert!(compile(&many, Text::Path).is_none());
        assert!(compile(&many, Text::Name).is_none());
        // Found by libFuzzer: a table that is possible, and took seconds.
        let found = "?**?*[3a*?b*/\u{f6}i*[-]**b-]**b]]d*/***/[";
        let _either = compile(&[found.to_owned()], Text::Path);
    }

    fn agrees(patterns: &[&str], text: Text, subject: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let rows = compile(&patterns, text).unwrap();
        let mut bytes: Vec<u8> = subject.bytes().collect();
        if text == Text::Path {
            bytes.reverse();
        }
        let mut row = FIRST;
        for byte in bytes {
            row = rows[usize::from(row - FIRST)][usize::from(byte)];
            if row == GLOB_DEAD {
                return false;
            }
        }
        rows[usize::from(row - FIRST)][0] == GLOB_ACCEPT
    }

    #[test]
    fn globs_mean_what_shells_mean() {
        let cases = [
            ("/var/lib/db/**", "/var/lib/db/a", true),
            ("/var/lib/db/**", "/var/lib/db/a/b/c.log", true),
            ("/var/lib/db/**", "/var/lib/db", false),
            ("/var/lib/db/**", "/var/lib/dbx/a", false),
            ("/var/*/x", "/var/a/x", true),
            ("/var/*/x", "/var/a/b/x", false),
            ("/var/*/x", "/var//x", true),
            ("/etc/host?", "/etc/hosts", true),
            ("/etc/host?", "/etc/host", false),
            ("/etc/host?", "/etc/host/", false),
            ("/a/**/b", "/a/b", true),
            ("/a/**/b", "/a/x/y/b", true),
            ("/a/**/b", "/a/xb", false),
            ("/a/**.log", "/a/x/y.log", true),
            ("/a/*.log", "/a/x/y.log", false),
            ("/", "/", true),
            ("/**", "/", true),
            ("/**", "/any/thing", true),
            ("/a.b", "/axb", false),
        ];
        for (pattern, path, wanted) in cases {
            assert_eq!(agrees(&[pattern], Text::Path, path), wanted, "{pattern} {path}");
        }
        assert!(agrees(&["/a/*", "/b/**"], Text::Path, "/b/c/d"));
        assert!(!agrees(&["/a/*", "/b/**"], Text::Path, "/a/c/d"));
    }

    #[test]
    fn names_have_no_folders() {
        assert!(agrees(&["postgres*"], Text::Name, "postgres: a/b"));
        assert!(agrees(&["kworker/?:0"], Text::Name, "kworker/1:0"));
        assert!(!agrees(&["postgres"], Text::Name, "postgresql"));
    }

    #[test]
    fn many_patterns_fit_and_too_many_states_are_refused() {
        let many: Vec<String> = (0..64).map(|n| format!("/srv/tenant-{n}/**")).collect();
        assert!(compile(&many, Text::Path).unwrap().len() < 1200);
        let wild: Vec<String> = (0..64).map(|n| format!("/**a?????????{n:02}?????/**")).collect();
        assert!(compile(&wild, Text::Path).is_none());
    }
}
