use super::*;
use chaos_abi::STOP_FINISH;
use chaos_sys::{stops::Stops, testing::root_or_return};

const ID: u64 = 400;
const MINUTE: Duration = Duration::from_secs(60);

/// Maps of our own, with an experiment that runs in slot 1, and what another process has of them. No thread renews beside us.
fn running() -> (Leases, Stops) {
    let datapath = Datapath::load(chaos_objects::NET).unwrap();
    let stops = Stops::open(datapath.ids()).unwrap();
    let hz = datapath.hz().unwrap();
    let renewed = Arc::new(AtomicU64::new(0));
    let keeper = Keeper { datapath, hz, slots: HashMap::new(), renewed };
    let (stop, _) = mpsc::channel();
    let leases = Leases { keeper: Arc::new(Mutex::new(keeper)), stop, thread: None };
    leases.start(1, ID, MINUTE, 0).unwrap();
    (leases, stops)
}

/// What the programs ask: the lease, and the word beside it.
fn acts(leases: &Leases) -> bool {
    let datapath = &leases.keeper.lock().unwrap().datapath;
    let (lease, word) = (datapath.leases.get(&1, 0).unwrap(), datapath.stops.get(&1, 0).unwrap());
    lease.state == LEASE_RUNNING && lease.until != 0 && stop_of(lease.id, word) == 0
}

fn renew(leases: &Leases, between: impl FnMut()) {
    leases.keeper.lock().unwrap().renew_with(between);
}

#[test]
fn a_stop_between_the_reading_and_the_writing_of_a_renewal_is_not_lost() {
    root_or_return!();
    let (leases, mut stops) = running();
    for round in 1..=1000 {
        let (id, how) = (ID * (round + 1), if round % 2 == 0 { STOP_ABORT } else { STOP_FINISH });
        leases.start(1, id, MINUTE, 0).unwrap();
        assert!(acts(&leases), "round {round}: the stop of an earlier one says nothing");
        assert!(!stops.is_off(1, id).unwrap());
        let mut held = 0;
        renew(&leases, || {
            held += 1;
            stops.ask(1, id, how).unwrap();
        });
        assert_eq!(held, 1);
        assert!(!acts(&leases) && stops.is_off(1, id).unwrap(), "round {round}: it was renewed over the stop");
        renew(&leases, || {});
        assert!(!acts(&leases), "round {round}");
        assert_eq!(leases.fate(1).unwrap(), Fate::Ended(how), "round {round}");
    }
}

#[test]
fn neither_pause_nor_a_shorter_duration_nor_a_start_takes_a_stop_back() {
    root_or_return!();
    let (leases, mut stops) = running();
    stops.ask(1, ID, STOP_ABORT).unwrap();
    leases.pause(1, true).unwrap();
    leases.pause(1, false).unwrap();
    leases.shorten(1, Duration::from_secs(30)).unwrap();
    assert!(!acts(&leases) && leases.fate(1).unwrap() == Fate::Ended(STOP_ABORT));
    // Asked for while it was prepared.
    stops.ask(1, 2 * ID, STOP_ABORT).unwrap();
    assert!(stops.is_off(1, 2 * ID).unwrap());
    leases.start(1, 2 * ID, MINUTE, 0).unwrap();
    assert!(!acts(&leases) && leases.fate(1).unwrap() == Fate::Ended(STOP_ABORT));
}

#[test]
fn a_pause_and_an_end_outlast_renewals_and_are_not_called_off() {
    root_or_return!();
    let (leases, mut stops) = running();
    leases.pause(1, true).unwrap();
    leases.shorten(1, Duration::from_secs(30)).unwrap();
    renew(&leases, || {});
    assert!(!acts(&leases), "it rests");
    assert!(leases.remaining(1).unwrap() <= Duration::from_secs(30));
    assert!(!stops.is_off(1, ID).unwrap(), "what may act again is not off");
    leases.pause(1, false).unwrap();
    assert!(acts(&leases));
    assert!(leases.remaining(1).unwrap() <= Duration::from_secs(30));
    // While it rests, too.
    leases.pause(1, true).unwrap();
    renew(&leases, || stops.ask(1, ID, STOP_FINISH).unwrap());
    assert_eq!(leases.fate(1).unwrap(), Fate::Ended(STOP_FINISH));
}

/// While a machine is suspended jiffies and CLOCK_MONOTONIC stand still; the duration does not.
#[test]
fn an_end_comes_also_in_suspended_time() {
    const HZ: u64 = 250;
    const SECOND: u64 = 1_000_000_000;
    let began = Clock { jiffies: 10_000, ns: 5 * SECOND, boot: 9 * SECOND };
    let deadline = began.boot + 60 * SECOND;
    let lease = Lease {
        until: began.jiffies + 2 * HZ,
        end: end(&began, HZ, deadline),
        deadline,
        start: began.boot,
        state: LEASE_RUNNING,
        ..Lease::zeroed()
    };
    assert_eq!(lease.end, 10_000 + 60 * HZ);
    // Half a second later, of which the machine was suspended for so long besides.
    let after = |suspended: u64| Clock {
        jiffies: began.jiffies + HZ / 2,
        ns: began.ns + SECOND / 2,
        boot: began.boot + SECOND / 2 + suspended,
    };
    for (suspended, left) in [(0, 59 * HZ + HZ / 2), (30 * SECOND, 29 * HZ + HZ / 2)] {
        let now = after(suspended);
        let (renewed, is_lost) = renewed(lease, &now, HZ);
        let renewed = renewed.unwrap();
        assert!(!is_lost, "its owner slept with it");
        assert_eq!((renewed.end - now.jiffies, renewed.until - now.jiffies), (left, 2 * HZ));
    }
    let night = after(8 * 3600 * SECOND);
    let (over, is_lost) = renewed(lease, &night, HZ);
    assert!(!is_lost && night.jiffies >= over.unwrap().end, "what packets are tested for");
    assert!(renewed(over.unwrap(), &night, HZ).0.is_none(), "and it stays so");
    // Who sleeps alone has lost it.
    let late = Clock { jiffies: began.jiffies + 3 * HZ, ns: began.ns + 3 * SECOND, boot: began.boot + 3 * SECOND };
    let (lost, is_lost) = renewed(lease, &late, HZ);
    assert!(is_lost && lost.unwrap().until == 0);
}

#[test]
fn off_is_what_the_maps_say() {
    root_or_return!();
    let (leases, mut stops) = running();
    assert!(!stops.is_off(1, ID).unwrap(), "it runs");
    assert!(stops.is_off(1, 2 * ID).unwrap(), "another one has the slot");
    assert!(!stops.is_off(2, ID).unwrap(), "one that is prepared may start");
    // A late stop of an earlier experiment is written over that of this one.
    stops.ask(1, ID, STOP_ABORT).unwrap();
    stops.ask(1, ID - 4, STOP_ABORT).unwrap();
    assert!(!stops.is_off(1, ID).unwrap() && acts(&leases), "seen, and asked again");
    let keeper = &mut *leases.keeper.lock().unwrap();
    let control = keeper.datapath.control.get(&0, 0).unwrap();
    let raised = chaos_abi::Control { generation: control.generation + 1, ..control };
    keeper.datapath.control.set(0, raised, 0).unwrap();
    assert!(stops.is_off(1, ID).unwrap(), "the kill switch");
}

/// The phase of a fault and what shortens an experiment count from its first start, whoever goes on with it.
#[test]
fn an_experiment_that_goes_on_began_when_it_first_started() {
    root_or_return!();
    let (leases, _) = running();
    let first = leases.began(1).unwrap();
    let left = Duration::from_secs(30);
    leases.start(1, 2 * ID, left, first).unwrap();
    assert_eq!(leases.began(1).unwrap(), first);
    assert!(leases.remaining(1).unwrap() > Duration::from_secs(29), "its end is that of what is left");
    leases.shorten(1, Duration::from_secs(10)).unwrap();
    assert_eq!(leases.deadline(1).unwrap(), first + 10_000_000_000);
    leases.start(1, 3 * ID, left, u64::MAX).unwrap();
    assert!(leases.began(1).unwrap() < u64::MAX, "a time that has not come is none");
}
