//! What is kept: accounts, secrets, services. Decides; does no I/O and reads no clock (the control thread
//! does both and brings rows, keys and the time in as arguments).
//!
//! Invariants: no secret is ever kept, only what verifies one; every comparison with something secret takes
//! the same time whatever its outcome; an unknown account costs what a wrong secret costs.

pub mod login;
pub mod recent;
pub mod scram;
pub mod secret;
pub mod throttle;
pub mod token;
pub mod verify;

pub use login::{Admitted, LoginProof, LoginRequest, LoginVerdict, Verified};
pub use secret::{Secret, SecretError, StoreKey, Subject, Verifier};
