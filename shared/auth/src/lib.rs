//! Who speaks: clients' tokens, webhook signatures, a connector's token, tickets for the reports.

mod bearer;
mod claims;
mod jwks;
mod key;
mod shared_key;
mod signature;
mod ticket;
mod token;

pub use bearer::{BearerError, BearerToken};
pub use shared_key::SharedKey;
pub use signature::{SIGNATURE_HEADER, SignatureError, TIMESTAMP_HEADER, WebhookSecret};
pub use ticket::TicketKey;
pub use token::{ConnectionToken, SubscriptionToken, TokenConfigError, TokenError, TokenSubscription, TokenVerifier};
