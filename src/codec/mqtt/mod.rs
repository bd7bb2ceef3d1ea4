//! MQTT 3.1.1 and 5.0, complete, borrowed from the bytes they were read from.

pub mod packet;
pub mod property;
