//! The page of a run: tables, and charts beside it.

use std::fmt::Write as _;

use anyhow::Result;

use super::{
    chart,
    compare::{Change, Changes},
    figure::{Figure, shown},
    store::{self, Run},
};

/// Writes the page and its charts; returns the page.
pub fn write(run: &Run, last: Option<&Run>, changes: &Changes) -> Result<String> {
    let mut text = head(run, last);
    for (kernel, group) in groups(run) {
        let figures: Vec<&Figure> =
            run.figures.iter().filter(|one| one.kernel == kernel && one.group() == group).collect();
        let _ = writeln!(text, "\n## {group}, Linux {kernel}\n");
        let _ = writeln!(text, "| figure | value | least to greatest | unit | pair | ratio | before | change |");
        let _ = writeln!(text, "|---|---|---|---|---|---|---|---|");
        for figure in &figures {
            let change = changes.get(&(figure.name.clone(), figure.kernel.clone()));
            let _ = writeln!(text, "{}", row(figure, change));
        }
        for (number, (unit, drawing)) in chart::by_unit(&figures).into_iter().enumerate() {
            let path = run.path(&format!("-{group}-{kernel}-{number}.svg"));
            store::write(&path, &drawing)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let _ = writeln!(text, "\n![{group}, {unit}]({name})");
        }
    }
    if !run.absent.is_empty() {
        let _ = writeln!(text, "\n## Not measured\n");
        for absent in &run.absent {
            let _ = writeln!(text, "- `{}` on {}: {}", absent.name, absent.kernel, absent.absent);
        }
    }
    store::write(&run.path(".md"), &text)?;
    Ok(text)
}

fn head(run: &Run, last: Option<&Run>) -> String {
    let mut text = format!("# Benchmarks, {}\n\n", run.date);
    text += "Each value is the median of its rounds, measured in turns with its pair. \"over\" is the difference to the pair.\n";
    if run.quick {
        text += "Quick: three rounds, which show that the benchmarks work.\n";
    }
    if !run.optimised {
        text +=
            "User space is not optimised, which the figures of lifecycle show; what runs in the kernel is the same.\n";
    }
    if let Some(last) = last {
        let _ = writeln!(
            text,
            "\"before\" is the run of {}; `*`: no round of the one run was like any of the other.",
            last.date
        );
    }
    text
}

/// Kernels and benchmarks, in the order of the figures.
fn groups(run: &Run) -> Vec<(&str, &str)> {
    let mut groups = Vec::new();
    for figure in &run.figures {
        let group = (figure.kernel.as_str(), figure.group());
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

fn row(figure: &Figure, change: Option<&Change>) -> String {
    let optional = |value: Option<f64>| value.map(shown).unwrap_or_default();
    let changed = change.map_or_else(String::new, |change| {
        format!("{}{}", optional(change.ratio), if change.differs { " *" } else { "" })
    });
    format!(
        "| {} | {} | {} to {} | {} | {} | {} | {} | {changed} |",
        figure.name,
        shown(figure.value),
        shown(figure.min),
        shown(figure.max),
        figure.unit,
        optional(figure.pair),
        optional(figure.ratio),
        optional(change.map(|change| change.before)),
    )
}
