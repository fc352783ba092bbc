//! DropSyn, seen from outside.

use chaos_tests::lab::Lab;
use chaos_tests::scene::Direction;

#[test]
fn every_packet_is_hit_and_passes() {
    let Some(lab) = Lab::open() else { return };
    for direction in Direction::BOTH {
        let play = direction.play(&lab, "dropSyn: { percent: 100 }", |flow| flow.count(500));
        for outcome in &play.outcomes {
            assert_eq!((outcome.received(), outcome.damaged, outcome.duplicates), (500, 0, 0), "{direction}");
        }
        play.assert_counts(1_000);
    }
}
