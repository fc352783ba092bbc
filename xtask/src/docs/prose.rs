//! The English of the documentation: how long a sentence may be, and words that it may not have.

use std::path::Path;

/// Most words of a sentence.
const MOST_WORDS: usize = 25;

/// Words and phrases, in lower case and whole, with what to write instead.
const FORBIDDEN: &[(&str, &str)] = &[
    ("what is left", "name the things: leftovers, programs, queues"),
    ("what there is", "name the things"),
    ("that which", "name the thing"),
    ("is left of", "name the things: leftovers, remaining packets"),
    ("of one of which", "two sentences"),
    ("of which", "two sentences"),
    ("but for", "except"),
    ("save for", "except"),
    ("tells", "reports, shows, writes"),
    ("told", "notified, reported"),
    ("knows", "has, reads, records"),
    ("stands", "is"),
    ("rests", "is paused"),
    ("asks", "requests, queries"),
    ("in vain", "without effect, until the timeout"),
    ("gives up", "stops, exits"),
    ("takes away", "removes, detaches"),
    ("taken away", "removed, detached"),
    ("taken back", "reverted"),
    ("lets go", "detaches, releases"),
    ("let go", "detached, released"),
    ("is over", "has ended"),
    ("are over", "have ended"),
    ("whoever", "name the person"),
    ("whatever", "name the thing"),
    ("easy", "say what it takes"),
    ("easily", "say what it takes"),
    ("simply", "leave it out"),
    ("obviously", "leave it out"),
    ("of course", "leave it out"),
    ("please", "leave it out"),
    ("e.g.", "for example"),
    ("i.e.", "that is"),
    ("etc.", "name the rest"),
];

/// Openings of a sentence whose subject is a clause.
const CLAUSES: [&str; 4] = ["what ", "who ", "whom ", "whose "];

/// What is wrong in a page.
pub fn check(name: &Path, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for (line, sentence) in sentences(text) {
        let place = format!("{}:{line}", name.display());
        let count = sentence.split_whitespace().count();
        if count > MOST_WORDS {
            problems.push(format!("{place}: {count} words in a sentence, at most {MOST_WORDS}: {sentence}"));
        }
        let lower = sentence.to_lowercase();
        for (phrase, instead) in FORBIDDEN {
            if has(&lower, phrase) {
                problems.push(format!("{place}: \"{phrase}\"; write: {instead}"));
            }
        }
        if CLAUSES.iter().any(|clause| lower.starts_with(clause)) && !sentence.ends_with('?') {
            problems.push(format!("{place}: a clause as subject; name the thing: {sentence}"));
        }
        for negated in ["is no ", "are no "] {
            if has_negated_noun(&lower, negated) {
                problems.push(format!("{place}: \"{negated}\" before a noun; use an adjective or a verb: {sentence}"));
            }
        }
    }
    problems
}

/// Does the text have the phrase, with no letter at either side?
fn has(text: &str, phrase: &str) -> bool {
    let edge = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    text.match_indices(phrase)
        .any(|(at, _)| edge(text[..at].chars().next_back()) && edge(text[at + phrase.len()..].chars().next()))
}

/// `this is no YAML`, but neither `there is no fq` nor `is no longer`.
fn has_negated_noun(text: &str, negated: &str) -> bool {
    text.match_indices(negated).any(|(at, _)| {
        let before = text[..at].trim_end();
        let after = &text[at + negated.len()..];
        !before.ends_with("there") && !["longer", "more", "less", "later"].iter().any(|word| after.starts_with(word))
    })
}

/// The sentences of a page, each with the line that its paragraph begins at. Code, tables, headings and comments have none.
fn sentences(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut paragraph = String::new();
    let (mut begin, mut in_code, mut in_comment) = (1, false, false);
    for (number, line) in text.lines().chain([""]).enumerate() {
        let line = line.trim();
        let is_fence = line.starts_with("```");
        in_comment |= line.starts_with("<!--");
        let is_text = !is_fence && !in_code && !in_comment && !line.starts_with(['|', '#', '<']) && !line.is_empty();
        let item = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")).or_else(|| numbered(line));
        if (!is_text || item.is_some()) && !paragraph.is_empty() {
            split(&paragraph, begin, &mut found);
            paragraph.clear();
        }
        if is_text {
            if paragraph.is_empty() {
                begin = number + 1;
            }
            paragraph += item.unwrap_or(line).trim_start_matches("> ");
            paragraph.push(' ');
        }
        in_code ^= is_fence;
        in_comment &= !line.ends_with("-->");
    }
    found
}

/// The text of `1. text`.
fn numbered(line: &str) -> Option<&str> {
    let (number, rest) = line.split_once(". ")?;
    number.parse::<u32>().is_ok().then_some(rest)
}

/// At full stops, question marks and exclamation marks; code counts as one word, a link as its text.
fn split(paragraph: &str, line: usize, found: &mut Vec<(usize, String)>) {
    let text = without_targets(&without_code(paragraph)).replace("**", "");
    let mut sentence = String::new();
    for word in text.split_whitespace() {
        if !sentence.is_empty() {
            sentence.push(' ');
        }
        sentence += word;
        let ends = word.trim_end_matches([')', '"']).ends_with(['.', '?', '!']);
        if ends && !["e.g.", "i.e.", "etc."].contains(&word.to_lowercase().as_str()) {
            found.push((line, std::mem::take(&mut sentence)));
        }
    }
    if !sentence.is_empty() {
        found.push((line, sentence));
    }
}

fn without_code(text: &str) -> String {
    text.split('`').enumerate().map(|(place, part)| if place % 2 == 0 { part } else { "CODE" }).collect()
}

/// `[text](target)` becomes `text`.
fn without_targets(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        out += before;
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    out += rest;
    out.replace('[', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        check(Path::new("a.md"), text)
    }

    #[test]
    fn plain_sentences_pass() {
        let text = "# What is left\n\nchaos detaches the program. There is no fq on this kernel.\nIt is no longer attached. Who renews the lease?\n\n\
                    ```text\nwhat is left of it, told and taken away\n```\n\n| what is left | told |\n|---|---|\n\n\
                    - `tc` adds a [queue](limits.md#what-is-left).\n";
        assert_eq!(problems(text), Vec::<String>::new());
    }

    #[test]
    fn a_long_sentence_is_found_where_it_begins() {
        let long = "word ".repeat(26);
        let found = problems(&format!("# x\n\nShort one.\n{long}end.\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a.md:3: 27 words"), "{found:?}");
        let in_two = "word ".repeat(24);
        assert_eq!(problems(&format!("- {in_two}\n- {in_two}\n")), Vec::<String>::new());
    }

    #[test]
    fn each_forbidden_phrase_is_found() {
        for (phrase, _) in FORBIDDEN {
            let found = problems(&format!("The agent {phrase} here"));
            assert!(found.iter().any(|one| one.contains(&format!("\"{phrase}\""))), "{phrase}: {found:?}");
        }
        assert_eq!(problems("It foretells and retold uneasy standsman words."), Vec::<String>::new());
    }

    #[test]
    fn clauses_as_subjects_and_negated_nouns_are_found() {
        for text in
            ["What exceeds the limit is dropped.", "Good. Who waits is freed.", "This is no YAML.", "They are no pods."]
        {
            assert_eq!(problems(text).len(), 1, "{text}: {:?}", problems(text));
        }
    }
}
