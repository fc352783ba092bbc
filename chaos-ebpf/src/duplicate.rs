//! A second copy of a packet, which goes on behind the rule that made it and draws for itself.

use crate::{
    delay::MARK,
    skb::{INGRESS, Skb},
};
use chaos_abi::Slot;

/// Sends a copy that resumes the walk at `next`; false if the kernel could not.
///
/// At egress the copy re-enters the program on this CPU before this call returns, and finds the guard. At ingress it waits
/// in this CPU's backlog and carries a mark instead.
#[inline(always)]
pub(crate) fn duplicate(skb: Skb, slot: *mut Slot, point: u32, ingress: bool, next: u32, depth: u32) -> bool {
    if ingress {
        skb.set_tc_index(MARK | next);
        let sent = skb.clone_to(skb.ifindex(), INGRESS);
        skb.set_tc_index(0);
        return sent == 0;
    }
    // SAFETY: this CPU's map value.
    unsafe {
        (*slot).guard = point + 1;
        (*slot).resume = next;
        (*slot).depth = depth + 1;
    }
    let sent = skb.clone_to(skb.ifindex(), 0);
    // SAFETY: as above. Cleared also where the copy never came back to us.
    unsafe {
        (*slot).guard = 0;
        (*slot).depth = depth;
    }
    sent == 0
}
