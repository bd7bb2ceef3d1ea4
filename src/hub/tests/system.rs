//! `$SYS`: values reach those who were granted it, after the grant.

use super::*;

#[test]
fn the_values_of_sys_come_after_the_grant_and_then_to_all() {
    const OPERATOR: &str = "nexus-0123456789abcdef01234567-owner";
    let values = [Value {
        topic: "$SYS/broker/uptime".to_owned(),
        text: "7 seconds".to_owned(),
    }];
    let line = "$SYS/broker/uptime: 7 seconds from nexus-000000000000000000000000-owner/sys\n";
    let mut world = World::new();
    world.log_in(1, OPERATOR, "c");
    world.log_in(2, ALICE, "w1");
    world.send(1, "sys $SYS/#\n");
    assert_eq!(world.heard(1), "Registered([Err(NotAuthorized)])\n", "not served");
    world.hub.serve_system(true);
    world.send(2, "sys $SYS/#\n");
    assert_eq!(world.heard(2), "Registered([Err(NotAuthorized)])\n");
    assert!(!world.hub.has_system_newcomers() && !world.hub.has_system_subscribers());
    world.send(1, "sys $SYS/#\n");
    assert_eq!(world.heard(1), "Registered([Ok(AtMostOnce)])\n");
    assert!(world.hub.has_system_newcomers() && world.hub.has_system_subscribers());
    for to in [Audience::Newcomers, Audience::All] {
        world
            .hub
            .publish_system(&mut world.machine, world.now, to, &values);
        assert_eq!(world.heard(1), line);
        assert_eq!(world.heard(2), "");
        assert!(!world.hub.has_system_newcomers());
    }
    world.closed(1);
    assert!(!world.hub.has_system_subscribers());
    assert_eq!(world.hub.metrics.subscriptions_refused.get(), 2);
    // Two log-ins, three subscriptions.
    assert_eq!(world.hub.metrics.frames_in.get(), 5);
}
