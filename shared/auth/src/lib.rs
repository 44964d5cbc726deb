//! Who speaks: viewer tokens and webhook signatures.
