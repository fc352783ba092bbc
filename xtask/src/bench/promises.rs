//! PROMISES.md.

use std::fmt::Write as _;

use super::{
    figure::{Figure, shown, version},
    promise::{Bound, Of, PROMISES, Promise},
    store::Run,
};

const HEAD: &str = "# Promises

Written by `cargo xtask bench --promises`. Each promise is a bound on one figure of the benchmarks. `cargo xtask bench --only NAME` prints it
again, where NAME is the first word of the figure. Kernels other than that of the machine run in a virtual one with an emulated processor. A figure is the median of its rounds; the least and the greatest round stand beside it.
Nanoseconds are over an empty program in the same run; a ratio is of ours to its pair, measured in turns.

| promise | bound | measured | least to greatest | rounds | kernel | figure | |
|---|---|---|---|---|---|---|---|
";

/// The page. What this run did not measure is taken from the newest earlier one that did.
pub fn page(run: &Run, earlier: &[Run]) -> String {
    let mut text = HEAD.to_owned();
    let mut missed = String::new();
    let runs: Vec<&Run> = earlier.iter().chain([run]).collect();
    for promise in PROMISES {
        let figures = newest(promise, &runs);
        if figures.is_empty() {
            let why = runs.iter().rev().flat_map(|one| &one.absent).find(|one| promise.figure.starts_with(&one.name));
            // What is in brackets is for those who want to know all.
            let short = |text: &str| text.split(" (").next().unwrap_or(text).to_owned();
            let why = why.map_or("not measured".into(), |one| format!("not measured: {}", short(&one.absent)));
            let _ = writeln!(text, "| {} | {} | | | | | `{}` | {why} |", promise.what, bound(promise), promise.figure);
        }
        for figure in figures {
            let Some(measured) = promise.measured(figure) else { continue };
            // A bound in nanoseconds is for a processor, not for a program that imitates one.
            let judged = !(figure.emulated && matches!(promise.of, Of::Value));
            let kept = promise.kept(measured);
            let verdict = match (judged, kept) {
                (false, _) => "emulated: not judged",
                (true, true) => "kept",
                (true, false) => "**missed**",
            };
            let _ = writeln!(text, "{}", row(promise, figure, measured, verdict));
            if judged && !kept {
                let reason = if promise.reason.is_empty() { "the reason is not known yet" } else { promise.reason };
                let _ = writeln!(
                    missed,
                    "- `{}` on {}: {} instead of {}. {reason}.",
                    promise.figure,
                    version(&figure.kernel),
                    shown(measured),
                    bound(promise)
                );
            }
        }
    }
    if !runs.iter().any(|run| run.optimised && run.figures.iter().any(|figure| figure.group() == "lifecycle")) {
        text += "\nThe figures of lifecycle are of a user space that was not optimised.\n";
    }
    if !missed.is_empty() {
        let _ = write!(text, "\n## Missed\n\n{missed}");
    }
    text
}

/// One figure for each kernel: that of the last run which has it.
fn newest<'a>(promise: &Promise, runs: &[&'a Run]) -> Vec<&'a Figure> {
    let mut found: Vec<&Figure> = Vec::new();
    // The last one of the best kind: all rounds, and an optimised user space.
    let mut best: Vec<&Run> = runs.iter().rev().copied().collect();
    best.sort_by_key(|run| (run.quick, !run.optimised));
    let all = best.into_iter().flat_map(|run| &run.figures);
    for figure in all.filter(|figure| figure.name == promise.figure) {
        if !found.iter().any(|one| one.kernel == figure.kernel) {
            found.push(figure);
        }
    }
    found
}

fn bound(promise: &Promise) -> String {
    match promise.bound {
        Bound::AtMost(bound) => format!("<= {bound}"),
        Bound::AtLeast(bound) => format!(">= {bound}"),
        Bound::Within(low, high) => format!("{low} to {high}"),
    }
}

fn row(promise: &Promise, figure: &Figure, measured: f64, verdict: &str) -> String {
    let (unit, spread) = match promise.of {
        Of::Value => (figure.unit.as_str(), format!("{} to {}", shown(figure.min), shown(figure.max))),
        Of::Ratio => ("times", String::new()),
    };
    format!(
        "| {} | {} {unit} | {} | {spread} | {} | {} | `{}` | {verdict} |",
        promise.what,
        bound(promise),
        shown(measured),
        figure.samples,
        version(&figure.kernel),
        figure.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_said_twice_and_what_is_not_measured_once() {
        let figure = |value| Figure {
            name: "verdicts/idle".into(),
            unit: "ns over empty".into(),
            value,
            pair: Some(26.0),
            ratio: Some(1.2),
            min: 4.0,
            max: 99.0,
            samples: 7,
            kernel: "6.1".into(),
            emulated: false,
        };
        let old = Run { figures: vec![figure(5.0)], ..Run::new(false, true) };
        let run = Run { figures: vec![figure(11.0)], ..Run::new(false, true) };
        let text = page(&run, std::slice::from_ref(&old));
        assert!(text.contains("| 11.0 | 4.00 to 99.0 | 7 | 6.1 | `verdicts/idle` | **missed** |"), "{text}");
        assert!(text.contains("- `verdicts/idle` on 6.1: 11.0 instead of <= 10"), "{text}");
        assert!(text.contains("not measured"), "{text}");
        assert!(
            page(&Run::new(false, true), &[old]).contains("| kept |"),
            "an earlier run counts where this one has nothing"
        );
    }
}
