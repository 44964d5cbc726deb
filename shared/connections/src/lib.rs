//! The DynamoDB tables: connections, subscriptions, channels, and the state of every problem.
