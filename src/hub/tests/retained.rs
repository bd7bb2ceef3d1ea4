//! Retained messages between router and session.

use super::*;

#[test]
fn mqtt5_3_8_4_what_is_retained_follows_the_acknowledgement() {
    let mut world = World::new();
    world.log_in(1, ALICE, "a");
    world.log_in(2, BOB, "b");
    world.send(1, "keep plant/7 21\nkeep plant/8 22\n");
    world.send(2, "hear plant/+\nhear plant/7\nsub plant/8\n");
    let (seven, eight) = (
        format!("plant/7: 21 from {ALICE}/a\n"),
        format!("plant/8: 22 from {ALICE}/a\n"),
    );
    let granted = "Registered([Ok(AtMostOnce)])\n";
    assert_eq!(
        world.heard(2),
        format!("{granted}{seven}{eight}{granted}{seven}{granted}")
    );
}

#[test]
fn what_one_turn_does_not_deliver_follows_at_the_next_ticks() {
    let mut world = World::new();
    world.log_in(1, ALICE, "a");
    let count = 2 * limits::RETAINED_STEPS_PER_TURN;
    for n in 0..count {
        world.send(1, &format!("keep a/{n} x\n"));
    }
    world.log_in(2, BOB, "b");
    world.send(2, "hear a/#\n");
    let mut heard = world.heard(2).lines().count() - 1;
    assert!(heard > 0 && heard < count, "{heard}");
    for _ in 0..2 {
        world.hub.tick(&mut world.machine, world.now);
        heard += world.heard(2).lines().count();
    }
    assert_eq!(heard, count);
}
