//! Any bytes as messages of PLAIN and SCRAM: no panic, and what is read is in the message as it was read.

use nexus::codec::sasl::{PROOF_BYTES_MAX, ScramFinal, ScramFirst, plain};

/// # Panics
/// If `message` shows a fault.
pub(crate) fn run(message: &[u8]) {
    if let Ok(read) = plain(message) {
        let again = [read.authzid.as_bytes(), read.authcid.as_bytes(), read.password].join(&0);
        assert_eq!(again, message);
    }
    let Ok(text) = std::str::from_utf8(message) else {
        return;
    };
    if let Ok(read) = ScramFirst::parse(text) {
        assert_eq!([read.gs2_header, read.bare].concat(), text);
        assert!(read.bare.contains(read.nonce) && !read.nonce.contains(','));
        let escaped = read.user.replace('=', "=3D").replace(',', "=2C");
        assert!(read.bare.starts_with(&format!("n={escaped},r={}", read.nonce)));
    }
    if let Ok(read) = ScramFinal::parse(text) {
        assert!(text.starts_with(&format!("{},p=", read.without_proof)));
        assert!((1..=PROOF_BYTES_MAX).contains(&read.proof.len()));
    }
}
