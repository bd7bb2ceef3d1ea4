//! What is kept: accounts, secrets, services. Decides; does no I/O itself (the control thread does).

pub mod login;
