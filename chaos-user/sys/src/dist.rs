//! Distribution tables in netem's form: the quantile function at 4,096 equal steps, one standard deviation = 8,192
//! (net/sched/sch_netem.c, `tabledist`; tc-netem(8)).

use chaos_abi::{DIST_SCALE, DIST_SIZE};

/// A table.
pub type Table = [i16; DIST_SIZE];

/// Normal, Pareto, Paretonormal: as `DIST_NORMAL` and so on minus 1.
#[must_use]
pub fn tables() -> [Table; 3] {
    let mut tables = [[0; DIST_SIZE]; 3];
    for (index, _) in [(); DIST_SIZE].iter().enumerate() {
        let quantile = (index as f64 + 0.5) / DIST_SIZE as f64;
        let (normal, pareto) = (normal(quantile), pareto(quantile));
        for (table, value) in tables.iter_mut().zip([normal, pareto, 0.25 * normal + 0.75 * pareto]) {
            // Clipped at 4 standard deviations: the values are 16 bits wide.
            table[index] = (value * DIST_SCALE as f64).round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
        }
    }
    tables
}

/// Pareto with shape 3 (mean 1.5, variance 0.75), shifted to mean 0 and divided by its variance, as tc's own table is
/// (iproute2, netem/pareto.c): users compare with netem.
fn pareto(quantile: f64) -> f64 {
    ((1.0 - quantile).powf(-1.0 / 3.0) - 1.5) / 0.75
}

/// Inverse of the normal distribution, P. J. Acklam's rational approximation (relative error below 1.2e-9).
fn normal(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 5] =
        [-5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 4] = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416];
    const TAIL: f64 = 0.02425;
    let poly = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, k| sum * x + k);
    if p < TAIL {
        let q = (-2.0 * p.ln()).sqrt();
        poly(&C, q) / (poly(&D, q) * q + 1.0)
    } else if p > 1.0 - TAIL {
        -normal(1.0 - p)
    } else {
        let q = p - 0.5;
        let r = q * q;
        poly(&A, r) * q / (poly(&B, r) * r + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(table: &Table) -> (f64, f64) {
        let n = table.len() as f64;
        let mean = table.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = table.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        (mean / DIST_SCALE as f64, variance.sqrt() / DIST_SCALE as f64)
    }

    #[test]
    fn normal_has_mean_0_and_deviation_1() {
        let (mean, deviation) = moments(&tables()[0]);
        assert!(mean.abs() < 0.001 && (deviation - 1.0).abs() < 0.005, "{mean} {deviation}");
    }

    /// Kolmogorov and Smirnov's distance between a table and the distribution that it stands for, whose tails are cut off.
    fn distance(table: &Table, cumulative: impl Fn(f64) -> f64) -> f64 {
        let n = table.len() as f64;
        let inside = |value: &&i16| **value > i16::MIN && **value < i16::MAX;
        let gaps = table.iter().filter(inside).enumerate().map(|(index, value)| {
            let below = table.iter().filter(|v| **v == i16::MIN).count() + index;
            (cumulative(f64::from(*value) / DIST_SCALE as f64) - (below as f64 + 0.5) / n).abs()
        });
        gaps.fold(0.0, f64::max)
    }

    /// By Simpson's rule over the density, which shares nothing with the inverse above.
    fn normal_cumulative(x: f64) -> f64 {
        let density = |t: f64| (-t * t / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let (steps, from) = (400, -8.0);
        let width = (x - from) / f64::from(steps);
        let inner = |k: i32| if k % 2 == 1 { 4.0 } else { 2.0 } * density(from + f64::from(k) * width);
        (density(from) + (1..steps).map(inner).sum::<f64>() + density(x)) * width / 3.0
    }

    #[test]
    fn tables_are_near_their_distributions() {
        let [normal, pareto, mixed] = tables();
        let shifted_pareto = |x: f64| 1.0 - (1.5 + 0.75 * x).powi(-3);
        assert!(distance(&normal, normal_cumulative) < 0.001, "{}", distance(&normal, normal_cumulative));
        assert!(distance(&pareto, shifted_pareto) < 0.001, "{}", distance(&pareto, shifted_pareto));
        // The test can tell them apart.
        assert!(distance(&mixed, normal_cumulative) > 0.05 && distance(&mixed, shifted_pareto) > 0.01);
    }

    #[test]
    fn tables_rise_and_pareto_has_a_long_right_tail() {
        for table in &tables() {
            assert!(table.windows(2).all(|w| w[0] <= w[1]));
        }
        let pareto = &tables()[1];
        assert_eq!(pareto[DIST_SIZE - 1], i16::MAX);
        assert!(pareto[0] > -6000, "{}", pareto[0]);
    }
}
