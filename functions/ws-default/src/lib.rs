//! $default: the commands of the client protocol.
