//! No text makes the parser panic, and what it accepts it can write and read again.

use super::file;
use crate::parse;

/// Small generator of pseudo-random numbers (xorshift64, Marsaglia 2003): a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound.max(1)).expect("small")).expect("small")
    }
}

const SNIPPETS: [&str; 24] = [
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    ": ",
    "- ",
    "\n",
    "\t",
    "&a ",
    "*a",
    "!!int ",
    "---\n",
    "...\n",
    "? ",
    "| ",
    "> ",
    "~",
    "-1",
    "99999999999999999999",
    "1e400",
    "\u{feff}",
    "\u{0}é中",
];

fn mutated(text: &str, dice: &mut Dice) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=dice.below(4) {
        let (at, other) = (dice.below(chars.len()), dice.below(chars.len()));
        let (low, high) = (at.min(other), at.max(other).min(at.min(other) + 40));
        match dice.below(6) {
            0 => drop(chars.drain(low..high)),
            1 => chars.truncate(at),
            2 => drop(chars.splice(at..at, SNIPPETS[dice.below(SNIPPETS.len())].chars())),
            3 => {
                let part = chars[low..high].to_vec();
                drop(chars.splice(at..at, part));
            }
            4 if !chars.is_empty() => chars.swap(at, other),
            _ if !chars.is_empty() => chars[at] = char::from(u8::try_from(dice.below(128)).expect("ASCII")),
            _ => {}
        }
    }
    chars.into_iter().collect()
}

#[test]
fn no_text_panics() {
    let golden = [file("tests/golden/checkout-slow-db.yaml"), file("tests/golden/every-fault.yaml")];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..4000 {
        let text = mutated(&golden[round % 2], &mut dice);
        match parse("f", &text) {
            Ok(all) => {
                accepted += 1;
                for parsed in all {
                    let again = serde_json::to_string_pretty(&parsed.experiment).expect("JSON");
                    let again = parse("again", &again).unwrap_or_else(|p| panic!("round {round}: {p:#?}\n{text}"));
                    assert_eq!(again[0].experiment, parsed.experiment);
                }
            }
            Err(problems) => {
                refused += 1;
                let lines = text.lines().count() + 1;
                assert!(!problems.is_empty());
                for problem in problems {
                    assert!((1..=lines).contains(&problem.line), "round {round}: {problem}\n{text}");
                    assert!(!problem.message.is_empty() && !problem.to_string().contains('\n'), "{problem:?}");
                }
            }
        }
    }
    assert!(
        accepted > 100 && refused > 1000,
        "{accepted} accepted, {refused} refused: the mutations are too tame or too wild"
    );
}
