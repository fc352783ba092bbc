//! Loss: independent, correlated, or by a Gilbert-Elliott chain (tc-netem(8), `loss random` and `loss gemodel`).

use super::{Compiled, scaled};
use crate::Loss;
use chaos_abi::{ACTION_LOSS, ALWAYS, ARGS, Chain, Dice};

/// netem's defaults: r = 1 - p, h = 0, k = 100 %.
#[must_use]
pub fn compile(loss: &Loss) -> Compiled {
    let args: [u64; ARGS] = match &loss.gilbert_elliott {
        Some(chain) => Chain {
            enabled: 1,
            p: chain.p.scaled(),
            r: chain.r.map_or(ALWAYS - chain.p.scaled(), |r| r.scaled()),
            h: scaled(chain.h),
            k: chain.k.map_or(ALWAYS, |k| k.scaled()),
        }
        .encode(),
        None => Dice { percent: scaled(loss.percent), correlation: scaled(loss.correlation) }.encode(),
    };
    Compiled { name: "loss", action: ACTION_LOSS, args, queue: None }
}
