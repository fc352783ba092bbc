//! Drawing pods by a seed.

use chaos_abi::mix;

/// A number from 0 to 100 that is the same for the same seed and pod, whoever draws: the controller and each agent.
#[must_use]
pub fn drawn(seed: u64, uid: &str) -> f64 {
    let draw = mix(seed ^ mix(chaos_abi::name_hash(uid.as_bytes())));
    (draw >> 11) as f64 / (1u64 << 53) as f64 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_below_a_hundred_whatever_the_name() {
        for name in [String::new(), "a.b".to_owned(), "a".repeat(1000)] {
            assert!((0.0..100.0).contains(&drawn(7, &name)), "{name}");
        }
    }
}
