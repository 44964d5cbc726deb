//! Who speaks: viewer tokens and webhook signatures.

mod jwks;
mod signature;
mod token;

pub use signature::{SIGNATURE_HEADER, SignatureError, TIMESTAMP_HEADER, WebhookSecret};
pub use token::{ConnectionToken, TokenError, TokenVerifier};
