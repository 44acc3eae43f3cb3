//! Facts about names of files, about stored logs, and about audits.

mod auditing;
mod naming;
mod storing;

use crate::tile::TilePath;

fn path(text: &str) -> TilePath {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Around every boundary of one and two levels of tiles.
const SIZES: [u64; 12] = [0, 1, 2, 255, 256, 257, 511, 512, 700, 65_535, 65_536, 65_800];
