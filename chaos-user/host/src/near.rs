//! What somebody may have meant.

/// How many are named.
const SHOWN: usize = 3;
/// A shorter word is contained in too many others.
const CONTAINED: usize = 3;

/// `; did you mean "web" or "web2"?`, or nothing: the candidates nearest to `wanted`, by containment or few typos.
/// Of paths, the last component is compared.
pub(super) fn did_you_mean<'a>(wanted: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let wanted = last(wanted);
    let allowed = (wanted.chars().count() / 5).max(1);
    let within = |outer: &str, inner: &str| inner.len() >= CONTAINED && outer.contains(inner);
    let mut near: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|shown| {
            let candidate = last(shown);
            let typos = distance(wanted, candidate);
            let contained = within(candidate, wanted) || within(wanted, candidate);
            (contained || typos <= allowed).then_some((typos, shown))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    let names: Vec<String> = near.iter().take(SHOWN).map(|(_, name)| format!("{name:?}")).collect();
    if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(" or ")) }
}

fn last(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swap = if swapped { table[i - 2][j - 2] + 1 } else { usize::MAX };
                replaced.min(swap).min(table[i - 1][j] + 1).min(table[i][j - 1] + 1)
            };
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(["web", "wbe", "we", "", "xyz"].map(|word| distance("web", word)), [0, 1, 1, 3, 3]);
    }

    #[test]
    fn names_the_nearest_first_and_only_near_ones() {
        let all = ["web", "web2", "db", "frontend-web", "/a/wob"];
        assert_eq!(did_you_mean("webb", all), "; did you mean \"web\" or \"web2\"?");
        assert_eq!(did_you_mean("/b/wob", all), "; did you mean \"/a/wob\" or \"web\"?");
        assert_eq!(did_you_mean("cache", all), "");
        assert_eq!(did_you_mean("", all), "");
    }
}
