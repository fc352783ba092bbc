//! How many hits a given probability gives, to a stated confidence.

use std::ops::RangeInclusive;

/// The confidence of all tests: of a thousand runs of a right product one fails.
pub const CONFIDENCE: f64 = 0.999;

/// The hits that `trials` independent trials of a probability give with `CONFIDENCE`: exact quantiles of the binomial
/// distribution, half of the rest left out at either end.
pub fn interval(trials: u64, probability: f64) -> RangeInclusive<u64> {
    assert!((0.0..=1.0).contains(&probability), "a probability");
    if probability == 0.0 || probability == 1.0 {
        let only = if probability == 0.0 { 0 } else { trials };
        return only..=only;
    }
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let odds = probability.ln() - (-probability).ln_1p();
    // ln of the chance of k hits, from k = 0 on; logarithms because the first terms vanish.
    let mut log_chance = trials as f64 * (-probability).ln_1p();
    let (mut below, mut low) = (0.0, None);
    for hits in 0..=trials {
        below += log_chance.exp();
        if low.is_none() && below > tail {
            low = Some(hits);
        }
        if below >= 1.0 - tail {
            return low.unwrap_or(0)..=hits;
        }
        log_chance += ((trials - hits) as f64 / (hits + 1) as f64).ln() + odds;
    }
    low.unwrap_or(0)..=trials
}

/// The same for trials that depend on their predecessor: with the correlation `r` of neighbours (a two-state chain) the
/// variance of the sum is (1 + r) / (1 - r) times that of independent trials.
pub fn interval_correlated(trials: u64, probability: f64, correlation: f64) -> RangeInclusive<u64> {
    let variance = trials as f64 * probability * (1.0 - probability) * (1.0 + correlation) / (1.0 - correlation);
    let half = Z * variance.sqrt() + 0.5;
    let mean = trials as f64 * probability;
    (mean - half).max(0.0).floor() as u64..=((mean + half).ceil() as u64).min(trials)
}

/// The two-sided quantile of the normal distribution that belongs to `CONFIDENCE`.
pub const Z: f64 = 3.290_527;

/// Panics with the numbers when hits are outside the interval of a probability in percent.
#[track_caller]
pub fn assert_percent(what: &str, hits: u64, trials: u64, percent: f64) {
    let interval = interval(trials, percent / 100.0);
    assert!(interval.contains(&hits), "{what}: {hits} of {trials}, but {percent} % gives {interval:?} (99.9 %)");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_agrees_with_tables() {
        // Of 10 fair coins, 0 or 10 heads have a chance of 1/1024 each: more than the tail of 0.05 %.
        assert_eq!(interval(10, 0.5), 0..=10);
        // Poisson-like: 10,000 trials of 2 %; mean 200, standard deviation 14.
        let interval = interval(10_000, 0.02);
        assert!((154..=160).contains(interval.start()) && (246..=252).contains(interval.end()), "{interval:?}");
        assert_eq!(super::interval(500, 0.0), 0..=0);
        assert_eq!(super::interval(500, 1.0), 500..=500);
    }

    #[test]
    fn large_numbers_do_not_underflow() {
        let interval = interval(1_000_000, 0.5);
        assert!(498_300 < *interval.start() && *interval.end() < 501_700, "{interval:?}");
    }

    #[test]
    fn without_correlation_both_intervals_agree() {
        let (exact, normal) = (interval(20_000, 0.1), interval_correlated(20_000, 0.1, 0.0));
        assert!(exact.start().abs_diff(*normal.start()) <= 4 && exact.end().abs_diff(*normal.end()) <= 4);
        let wide = interval_correlated(20_000, 0.1, 0.5);
        assert!(wide.start() < normal.start() && wide.end() > normal.end());
    }
}
