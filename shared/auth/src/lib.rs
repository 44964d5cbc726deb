//! Who speaks: viewer tokens and webhook signatures.

mod signature;

pub use signature::{SIGNATURE_HEADER, SignatureError, TIMESTAMP_HEADER, WebhookSecret};
