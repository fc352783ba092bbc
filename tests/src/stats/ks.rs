//! The Kolmogorov-Smirnov test: do measurements have the distribution that was asked for?

/// The result of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ks {
    /// The largest distance between the two cumulative distributions.
    pub distance: f64,
    /// The chance that samples of the right distribution are at least that far off.
    pub p_value: f64,
}

/// One sample against a theory, given as its cumulative distribution function.
pub fn one_sample(samples: &[f64], cdf: impl Fn(f64) -> f64) -> Ks {
    let sorted = sorted(samples);
    let count = sorted.len() as f64;
    let distance = sorted.iter().enumerate().fold(0.0f64, |distance, (index, value)| {
        let expected = cdf(*value);
        distance.max((expected - index as f64 / count).abs()).max(((index + 1) as f64 / count - expected).abs())
    });
    Ks { distance, p_value: p_value(distance, count) }
}

/// Two samples against each other.
pub fn two_sample(one: &[f64], other: &[f64]) -> Ks {
    let (one, other) = (sorted(one), sorted(other));
    let (m, n) = (one.len() as f64, other.len() as f64);
    let (mut i, mut j, mut distance) = (0, 0, 0.0f64);
    while i < one.len() && j < other.len() {
        let value = one[i].min(other[j]);
        // Equal values on either side move together, else ties would look like distance.
        i += one[i..].iter().take_while(|at| **at <= value).count();
        j += other[j..].iter().take_while(|at| **at <= value).count();
        distance = distance.max((i as f64 / m - j as f64 / n).abs());
    }
    Ks { distance, p_value: p_value(distance, m * n / (m + n)) }
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    assert!(!samples.is_empty(), "a sample");
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Kolmogorov's asymptotic distribution with Stephens' correction for small samples.
fn p_value(distance: f64, count: f64) -> f64 {
    let root = count.sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * distance;
    if lambda < 0.2 {
        return 1.0;
    }
    let terms = (1..=100).map(|k| {
        let k = f64::from(k);
        let sign = if k % 2.0 == 1.0 { 1.0 } else { -1.0 };
        sign * (-2.0 * k * k * lambda * lambda).exp()
    });
    (2.0 * terms.sum::<f64>()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn even(count: usize) -> Vec<f64> {
        (0..count).map(|index| (index as f64 + 0.5) / count as f64).collect()
    }

    #[test]
    fn an_even_spread_is_uniform_and_a_square_of_it_is_not() {
        let uniform = |value: f64| value.clamp(0.0, 1.0);
        let samples = even(1_000);
        assert!((one_sample(&samples, uniform).distance - 0.0005).abs() < 1e-9);
        assert!(one_sample(&samples, uniform).p_value > 0.99);
        let squares: Vec<f64> = samples.iter().map(|value| value * value).collect();
        let ks = one_sample(&squares, uniform);
        assert!((ks.distance - 0.25).abs() < 0.01 && ks.p_value < 1e-6, "{ks:?}");
    }

    #[test]
    fn the_critical_value_is_that_of_the_tables() {
        // For large samples the 5 % point is 1.358 / sqrt(n).
        let p = p_value(1.358 / 10_000f64.sqrt(), 10_000.0);
        assert!((p - 0.05).abs() < 0.001, "{p}");
    }

    #[test]
    fn two_equal_samples_have_no_distance() {
        let ks = two_sample(&even(500), &even(500));
        assert_eq!((ks.distance, ks.p_value), (0.0, 1.0));
        let shifted: Vec<f64> = even(500).iter().map(|value| value + 0.3).collect();
        assert!((two_sample(&even(500), &shifted).distance - 0.3).abs() < 0.01);
    }
}
