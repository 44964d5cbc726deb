//! Who speaks: clients' tokens, webhook signatures, a connector's token.

mod bearer;
mod claims;
mod jwks;
mod key;
mod signature;
mod token;

pub use bearer::{BearerError, BearerToken};
pub use signature::{SIGNATURE_HEADER, SignatureError, TIMESTAMP_HEADER, WebhookSecret};
pub use token::{ConnectionToken, SubscriptionToken, TokenConfigError, TokenError, TokenSubscription, TokenVerifier};
