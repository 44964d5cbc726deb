//! $default: the commands of the client protocol.

fn main() {}
