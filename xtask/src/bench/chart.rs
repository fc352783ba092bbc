//! Bars as SVG: a bar is the median, the line over it goes from the least to the greatest round.

use std::fmt::Write as _;

use super::figure::{Figure, shown};

/// Of a row, in pixels.
const ROW: usize = 18;
/// Left of the bars, for names.
const NAMES: usize = 300;
/// Of the longest bar.
const BARS: usize = 420;
/// Right of them, for numbers.
const NUMBERS: usize = 80;

/// A drawing for each unit that at least two figures share.
pub fn by_unit(figures: &[&Figure]) -> Vec<(String, String)> {
    let mut units: Vec<&str> = Vec::new();
    for figure in figures {
        if !units.contains(&figure.unit.as_str()) {
            units.push(&figure.unit);
        }
    }
    let of = |unit: &str| figures.iter().copied().filter(|figure| figure.unit == unit).collect::<Vec<_>>();
    let groups = units.into_iter().map(|unit| (unit, of(unit))).filter(|(_, group)| group.len() > 1);
    groups.map(|(unit, group)| (unit.to_owned(), draw(unit, &group))).collect()
}

fn draw(unit: &str, figures: &[&Figure]) -> String {
    // What one figure takes must not make all others invisible: a figure beyond five times the median is cut and says so.
    let mut values: Vec<f64> = figures.iter().map(|figure| figure.max.max(0.0)).collect();
    values.sort_by(f64::total_cmp);
    let most = values.last().copied().unwrap_or(1.0);
    let scale = most.min(values[values.len() / 2] * 5.0).max(f64::MIN_POSITIVE);
    let at = |value: f64| NAMES as f64 + (value.max(0.0) / scale).min(1.0) * BARS as f64;
    let (width, height) = (NAMES + BARS + NUMBERS, ROW * (figures.len() + 2));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"4\" y=\"14\" font-weight=\"bold\">{}</text>\n",
        escape(unit)
    );
    for (number, figure) in figures.iter().enumerate() {
        let top = ROW * (number + 1) + 4;
        let (middle, base) = (top + ROW / 2 - 2, top + ROW - 6);
        let end = at(figure.value);
        let cut = if figure.value > scale { " (cut)" } else { "" };
        let _ = writeln!(svg, "<text x=\"4\" y=\"{base}\">{}</text>", escape(&figure.name));
        let _ = writeln!(
            svg,
            "<rect x=\"{NAMES}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\" fill=\"#4878a8\"/>",
            end - NAMES as f64,
            ROW - 5
        );
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"black\"/>",
            at(figure.min),
            at(figure.max)
        );
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{base}\">{}{cut}</text>",
            at(figure.max).max(end) + 4.0,
            shown(figure.value)
        );
    }
    svg + "</svg>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_has_a_bar_for_each_figure() {
        let figure = |name: &str, value: f64| Figure {
            name: name.into(),
            unit: "ns".into(),
            value,
            pair: None,
            ratio: None,
            min: value - 1.0,
            max: value + 1.0,
            samples: 7,
            kernel: "6.1".into(),
            emulated: false,
        };
        let (one, other, third) = (figure("a<b", 5.0), figure("c", 1000.0), figure("d", -2.0));
        let drawings = by_unit(&[&one, &other, &third]);
        let [(unit, svg)] = drawings.as_slice() else { panic!("one unit: {drawings:?}") };
        assert_eq!((unit.as_str(), svg.matches("fill=\"#4878a8\"").count()), ("ns", 3));
        assert!(svg.contains("a&lt;b") && svg.contains("1000 (cut)") && !svg.contains("width=\"-"), "{svg}");
        assert!(by_unit(&[&one]).is_empty(), "one bar says nothing");
    }
}
