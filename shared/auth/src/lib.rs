//! Who speaks: clients' tokens and webhook signatures.

mod claims;
mod jwks;
mod key;
mod signature;
mod token;

pub use signature::{SIGNATURE_HEADER, SignatureError, TIMESTAMP_HEADER, WebhookSecret};
pub use token::{ConnectionToken, SubscriptionToken, TokenConfigError, TokenError, TokenSubscription, TokenVerifier};
