//! Wire types of the Centrifuge client protocol v2 (JSON).
