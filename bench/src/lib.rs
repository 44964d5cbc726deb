//! Each figure of docs/PERFORMANCE.md has its command here.
