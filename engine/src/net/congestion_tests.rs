//! When a connection changes between the background and what others do, and how much of the latter an asker has.

use super::*;

const PACKET: u16 = 1_250;

/// A connection's controller, told only of time, as at the end of a batch of acknowledgements.
fn controller(mode: &Arc<Mode>, now: Instant) -> TwoModes {
    let built = Arc::new(Factory(mode.clone())).build(now, PACKET);
    *built.into_any().downcast::<TwoModes>().unwrap()
}

#[test]
fn a_connection_hurries_as_long_as_something_urgent_is_sent() {
    let now = Instant::now();
    let mode = Arc::new(Mode::new(true, Moved::default()));
    let mut modes = controller(&mode, now);
    assert!(modes.normal.is_none(), "it begins in the background");
    let (one, other) = (Hurry::new(&mode, 4).unwrap(), Hurry::new(&mode, 4).unwrap());
    modes.on_end_acks(now, 0, false, None);
    assert!(modes.normal.is_some());
    // It begins where the background was, and never with less than others begin with.
    assert!(modes.window() >= modes.background.window().max(modes.initial_window()));
    drop(one);
    modes.on_end_acks(now, 0, false, None);
    assert!(modes.normal.is_some(), "the other one still hurries");
    let window = modes.window();
    drop(other);
    modes.on_end_acks(now, 0, false, None);
    assert!(modes.normal.is_none());
    assert!(
        modes.window() <= window,
        "behind others it has no more than beside them"
    );
    // A loss is the occasion as well as an acknowledgement.
    let _again = Hurry::new(&mode, 4).unwrap();
    modes.on_congestion_event(now, now, false, u64::from(PACKET));
    assert!(modes.normal.is_some());
}

#[test]
fn with_a_stated_rate_it_is_never_in_the_background() {
    let now = Instant::now();
    let mode = Arc::new(Mode::new(false, Moved::default()));
    let mut modes = controller(&mode, now);
    assert!(modes.normal.is_some());
    drop(Hurry::new(&mode, 1));
    modes.on_end_acks(now, 0, false, None);
    assert!(modes.normal.is_some());
}

#[test]
fn an_asker_who_calls_everything_urgent_has_its_share_of_hurry_and_no_more() {
    let mode = Arc::new(Mode::new(true, Moved::default()));
    let began = Instant::now();
    let hurried = (0..20_000).filter(|_| Hurry::new(&mode, 4).is_some()).count() as u32 * 4;
    let regained = began.elapsed().as_nanos() / URGENT.1.as_nanos();
    assert!(hurried >= URGENT.0 - 3, "{hurried} blocks");
    assert!(
        u128::from(hurried) <= u128::from(URGENT.0) + regained + 1,
        "{hurried} blocks, {regained} regained"
    );
    // So many blocks in a second are what the richest video needs.
    let rate = f64::from(BLOCK_SIZE) / URGENT.1.as_secs_f64();
    assert!((3.9e6..4.3e6).contains(&rate), "{rate} bytes a second");
    assert_eq!(mode.urgent.load(Ordering::Relaxed), 0, "all are over");
}
