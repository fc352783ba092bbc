//! The order of rules at an attach point: groups of `except` entries with their rule, by phase; pure.

/// A rule behind its `except` entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Place in the fixed order of a pass.
    pub phase: u32,
    /// Rule ids, the rule itself last.
    pub ids: Vec<u32>,
}

/// Cuts a list of ids into groups. `phase` is None for an `except` entry.
pub fn groups(ids: &[u32], phase: impl Fn(u32) -> Option<u32>) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut open = Vec::new();
    for id in ids {
        open.push(*id);
        if let Some(phase) = phase(*id) {
            groups.push(Group { phase, ids: std::mem::take(&mut open) });
        }
    }
    groups
}

/// Adds groups; those that were there come first within a phase.
pub fn add(mut groups: Vec<Group>, new: impl IntoIterator<Item = Group>) -> Vec<Group> {
    groups.extend(new);
    groups.sort_by_key(|group| group.phase);
    groups
}

/// Takes out the groups of some rules.
pub fn remove(groups: Vec<Group>, gone: &[u32]) -> Vec<Group> {
    groups.into_iter().filter(|group| !group.ids.iter().any(|id| gone.contains(id))).collect()
}

/// Back to a list.
#[must_use]
pub fn ids(groups: &[Group]) -> Vec<u32> {
    groups.iter().flat_map(|group| group.ids.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_excepts_with_their_rule_and_phases_in_order() {
        // 1 and 2 are excepts of 3 (phase 5); 4 has phase 0.
        let phase = |id| match id {
            3 => Some(5),
            4 => Some(0),
            6 => Some(5),
            _ => None,
        };
        let old = groups(&[1, 2, 3], phase);
        let all = add(old, [Group { phase: 0, ids: vec![4] }, Group { phase: 5, ids: vec![5, 6] }]);
        assert_eq!(ids(&all), [4, 1, 2, 3, 5, 6]);
        assert_eq!(ids(&remove(groups(&ids(&all), phase), &[3])), [4, 5, 6]);
        // Placed once more: each stands there once.
        let again = add(remove(groups(&ids(&all), phase), &[1, 2, 3]), [Group { phase: 5, ids: vec![1, 2, 3] }]);
        assert_eq!(ids(&again), [4, 5, 6, 1, 2, 3]);
    }
}
