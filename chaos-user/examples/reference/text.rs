//! Markdown that says what a text says, whatever characters it has.

/// Says where a page comes from.
pub fn head(title: &str, source: &str) -> String {
    format!("<!-- Written by `cargo xtask docs` from {source}. Do not edit. -->\n\n# {title}\n\n")
}

/// Running text: what Markdown or HTML would read as markup is taken literally.
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut in_code = false;
    for c in text.chars() {
        in_code ^= c == '`';
        match c {
            '\n' => out.push(' '),
            '|' => out += "\\|",
            '<' | '>' | '*' | '[' | ']' | '_' if !in_code => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

/// A text in code font; empty stays empty.
pub fn code(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let fence = if text.contains('`') { "``" } else { "`" };
    format!("{fence}{}{fence}", text.replace('|', "\\|").replace('\n', " "))
}

/// A row of a table.
pub fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The head of a table.
pub fn columns(names: &[&str]) -> String {
    format!("| {} |\n|{}\n", names.join(" | "), "---|".repeat(names.len()))
}
