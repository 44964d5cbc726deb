//! Append, ordered delivery and the posts to connections.
