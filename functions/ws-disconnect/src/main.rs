//! $disconnect: removes a connection and its subscriptions.

fn main() {}
