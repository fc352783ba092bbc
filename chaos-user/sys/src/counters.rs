//! Sums of counters.

use chaos_abi::Counters;

/// Adds `other` to `sum`, field by field.
pub fn add(sum: &mut Counters, other: &Counters) {
    macro_rules! fields {
        ($($field:ident),*) => { $( sum.$field += other.$field; )* };
    }
    fields!(
        seen,
        matched,
        injected,
        skipped,
        would_inject,
        skbs,
        bytes,
        delayed,
        lost,
        duplicated,
        corrupted,
        detected_by_drop,
        reordered,
        reset,
        errors,
        overflow,
        skipped_by_lease,
        delays,
        samples
    );
    for (to, from) in sum.rejected.iter_mut().zip(other.rejected) {
        *to += from;
    }
}
