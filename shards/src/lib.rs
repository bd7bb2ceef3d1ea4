//! The machine under Nexus: thread-per-core shards.
