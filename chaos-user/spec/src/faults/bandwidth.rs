//! Bandwidth: a token clock (tc-tbf(8)): `rate`, `burst` of depth, at most `limit` packets of 1,514 bytes waiting.

use super::{Compiled, Queue};
use crate::Bandwidth;
use chaos_abi::{ACTION_BANDWIDTH, RATE_SHIFT};

/// A full Ethernet frame, bytes.
const FRAME: u64 = 1514;
/// What may leave at once where nothing is said: room for one skb of segmentation offload, as a real link's driver queue.
const BURST: u64 = 64 * 1024;

/// What the queue must hold at least: the clock bounds the wait by itself, and small packets are many.
const LEAST: u32 = 10_000;

/// Time for `bytes` at `rate` bytes per second, ns.
fn time(bytes: u64, rate: u64) -> u64 {
    let ns = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// The clock's terms.
#[must_use]
pub fn compile(bandwidth: &Bandwidth) -> Compiled {
    let rate = bandwidth.rate.bytes_per_second().max(1);
    let packets = bandwidth.limit.unwrap_or(Bandwidth::DEFAULT_LIMIT);
    let limit = time(u64::from(packets) * FRAME, rate);
    let args = chaos_abi::Bandwidth {
        ns_per_byte: ((1_000_000_000_u128 << RATE_SHIFT) / u128::from(rate)) as u64,
        burst: time(bandwidth.burst.map_or(BURST, |burst| burst.bytes()), rate),
        limit,
    }
    .encode();
    Compiled {
        name: "bandwidth",
        action: ACTION_BANDWIDTH,
        args,
        queue: Some(Queue { longest: limit, packets: packets.max(LEAST) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_takes_its_time() {
        assert_eq!(time(1514, 1_250_000), 1_211_200);
        assert_eq!(time(u64::MAX, 1), u64::MAX);
    }
}
