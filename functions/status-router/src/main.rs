//! StatusChanged from the bus: merged into the problem's state and published.

fn main() {}
