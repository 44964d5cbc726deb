//! $disconnect: removes a connection and its subscriptions.
