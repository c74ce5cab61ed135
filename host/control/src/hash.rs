//! The one hash of this crate.

use sha2::{Digest as _, Sha256};

/// Lower-case hex SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    senren_api::state::hex(&Sha256::digest(bytes))
}
