//! Channel names, namespaces and who may do what.
