//! One shard's whole meaning: its sessions and its router, joined. Bytes, parcels, verdicts and the time come
//! in; bytes, parcels and login requests go out. No I/O: the daemon and the simulation drive the same code.
