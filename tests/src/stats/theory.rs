//! The distributions that a latency can be asked to have, as cumulative distribution functions.

/// Even between `centre - width` and `centre + width`.
pub fn uniform(centre: f64, width: f64) -> impl Fn(f64) -> f64 {
    move |value| ((value - (centre - width)) / (2.0 * width)).clamp(0.0, 1.0)
}

/// The bell curve.
pub fn normal(mean: f64, deviation: f64) -> impl Fn(f64) -> f64 {
    move |value| 0.5 * (1.0 + erf((value - mean) / (deviation * std::f64::consts::SQRT_2)))
}

/// The error function (Abramowitz and Stegun 7.1.26, off by less than 2e-7).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let series = [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    (1.0 - sum * (-x * x).exp()).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points() {
        assert_eq!(uniform(50.0, 10.0)(45.0), 0.25);
        assert_eq!(uniform(50.0, 10.0)(70.0), 1.0);
        let normal = normal(100.0, 10.0);
        for (value, expected) in [(100.0, 0.5), (110.0, 0.841_345), (80.0, 0.022_750)] {
            assert!((normal(value) - expected).abs() < 1e-5, "{value}: {}", normal(value));
        }
    }
}
