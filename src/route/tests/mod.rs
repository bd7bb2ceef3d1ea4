//! What PROTOCOL section 2 says, sentence by sentence, with one, two and eight shards.

mod addresses;
mod api;
mod api_races;
mod builtin;
mod channels;
mod direct;
mod lasting;
mod mesh;
mod retained;
mod rights;
mod rooms;
mod shared;
mod system;
mod whereabouts;
