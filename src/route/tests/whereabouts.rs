//! Where blocks are, for whoever asks from outside of the shards.

use crate::route::testing::*;

/// Addresses that all shards together find for an account, under a resource or under any.
fn live(net: &mut Net, account: &str, resource: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    for shard in 0..net.shards() {
        net.on(shard, |router, _, _| {
            router.seek_blocks(account, resource, &mut found);
        });
    }
    let mut live: Vec<String> = found
        .into_iter()
        .filter_map(|session| {
            net.on(session.shard, |router, _, _| {
                router.live_address(session.key).map(str::to_owned)
            })
        })
        .collect();
    live.sort();
    live
}

#[test]
fn blocks_are_found_by_account_and_resource_wherever_they_are() {
    on_any_shards(|mut net| {
        let owner = account("etest", 1, "owner");
        let blocks = ["w1", "w2"].map(|resource| {
            let block = net.block(&owner, resource);
            net.listen_direct(block);
            block
        });
        let other = net.block(&account("other", 1, "owner"), "w1");
        net.listen_direct(other);
        net.block(&owner, "deaf");
        let at = |resource: &str| format!("{owner}/{resource}");
        assert_eq!(live(&mut net, &owner, Some("w1")), [at("w1")]);
        assert_eq!(live(&mut net, &owner, Some("w3")), Vec::<String>::new());
        assert_eq!(
            live(&mut net, &account("etest", 1, "user"), Some("w1")),
            Vec::<String>::new()
        );
        // Those of the user's other apps are found with them: who asks tells them apart.
        let all = [at("w1"), at("w2"), format!("{}/w1", account("other", 1, "owner"))];
        assert_eq!(live(&mut net, &owner, None), all);
        assert_eq!(live(&mut net, "no account", None), Vec::<String>::new());
        net.leave(blocks[0]);
        assert_eq!(live(&mut net, &owner, Some("w1")), Vec::<String>::new());
        for shard in 0..net.shards() {
            net.on(shard, |router, now, port| router.drain(now, port));
        }
        assert_eq!(live(&mut net, &owner, Some("w2")), Vec::<String>::new());
    });
}
