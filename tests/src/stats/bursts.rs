//! Runs of consecutive losses: what tells correlated loss from independent loss.

/// The losses of a flow as runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bursts {
    /// The lengths of the runs in order.
    pub lengths: Vec<u64>,
    trials: u64,
}

impl Bursts {
    /// Takes the fates of packets in the order of sending: did each arrive?
    pub fn of(arrived: &[bool]) -> Self {
        let runs = arrived.chunk_by(|one, next| one == next).filter(|run| !run[0]);
        Self { lengths: runs.map(|run| run.len() as u64).collect(), trials: arrived.len() as u64 }
    }

    /// How many losses.
    pub fn losses(&self) -> u64 {
        self.lengths.iter().sum()
    }

    /// The mean length of a run.
    pub fn mean_length(&self) -> f64 {
        self.losses() as f64 / self.lengths.len().max(1) as f64
    }

    /// The share of losses that are followed by a loss; for independent losses it is the loss rate.
    pub fn repeat_share(&self) -> f64 {
        1.0 - self.lengths.len() as f64 / self.losses().max(1) as f64
    }

    /// The correlation of a packet's fate with the next one's, as in a chain of two states.
    pub fn correlation(&self) -> f64 {
        let rate = self.losses() as f64 / self.trials.max(1) as f64;
        (self.repeat_share() - rate) / (1.0 - rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_counted() {
        let bursts = Bursts::of(&[true, false, false, true, false, true, true, true]);
        assert_eq!(bursts.lengths, [2, 1]);
        assert_eq!((bursts.losses(), bursts.mean_length()), (3, 1.5));
        assert!((bursts.repeat_share() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(Bursts::of(&[true, true]).losses(), 0);
    }
}
