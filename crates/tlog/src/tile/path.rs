use std::fmt;
use std::str::FromStr;

use crate::text::parse_decimal;
use crate::tile::{FULL_WIDTH, LEVELS, complete_at};

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileKind {
    /// Entries, `tile/entries/…`.
    Entries,
    /// Hashes of subtrees of `256^level` leaves, `tile/<level>/…`.
    Hashes {
        /// 0 for leaf hashes, at most 63.
        level: u8,
    },
}

/// The name of one file of a log, relative to its prefix: `tile/<L>/<N>[.p/<W>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TilePath {
    kind: TileKind,
    index: u64,
    // INVARIANT: 1..=256; 256 is a full tile and not written.
    width: u16,
}

/// The text is not the path of a tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TilePathError {
    /// Longer than any path.
    #[error("expected a tile path of at most {MAX_PATH_BYTES} characters, found {found}")]
    TooLong {
        /// Characters found.
        found: usize,
    },
    /// Not `tile/<level or entries>/…`.
    #[error("expected `tile/`, then a level from 0 to 63 or `entries`, then an index")]
    Kind,
    /// The index is not written in groups of three digits.
    #[error("expected an index in groups of 3 digits, all but the last after an `x`")]
    Index,
    /// The width of a partial tile is not 1 to 255.
    #[error("expected a partial width from 1 to 255")]
    Width,
}

impl TilePath {
    /// Names a tile; `None` unless `level` is at most 63 and `width` from 1 to 256.
    pub const fn new(kind: TileKind, index: u64, width: u16) -> Option<Self> {
        let level_fits = match kind {
            TileKind::Entries => true,
            TileKind::Hashes { level } => level <= MAX_LEVEL,
        };
        if level_fits && 1 <= width && width <= FULL_WIDTH {
            Some(Self { kind, index, width })
        } else {
            None
        }
    }

    /// What the tile holds.
    pub const fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its place within its kind, from 0.
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Hashes or entries in it, 1 to 256.
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it is full, and so never changes.
    pub const fn is_full(&self) -> bool {
        self.width == FULL_WIDTH
    }

    /// The full tile at the same place, which may have replaced a partial one.
    pub const fn to_full(self) -> Self {
        Self { width: FULL_WIDTH, ..self }
    }

    /// The tile at this place of a log of `size` entries; `None` if there is none.
    pub fn in_log(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let level = match kind {
            TileKind::Entries => 0,
            TileKind::Hashes { level } => level,
        };
        let start = index.checked_mul(u64::from(FULL_WIDTH))?;
        let left = complete_at(level, size).checked_sub(start)?;
        let width = left.min(u64::from(FULL_WIDTH));
        Self::new(kind, index, u16::try_from(width).ok()?)
    }
}

/// The files that a log of `new_size` entries has and a log of `old_size` entries has not.
///
/// Bundles come first, then tiles from level 0 upwards: in this order of writing, what is on disk
/// never points at something that is not. With `old_size` 0 these are all files of the log.
pub fn changed_tiles(old_size: u64, new_size: u64) -> impl Iterator<Item = TilePath> {
    let width = u64::from(FULL_WIDTH);
    std::iter::once(TileKind::Entries)
        .chain((0..LEVELS).map(|level| TileKind::Hashes { level }))
        .flat_map(move |kind| {
            let level = match kind {
                TileKind::Entries => 0,
                TileKind::Hashes { level } => level,
            };
            let (old, new) = (complete_at(level, old_size), complete_at(level, new_size));
            let end = if old < new { new.div_ceil(width) } else { 0 };
            (old / width..end).filter_map(move |index| TilePath::in_log(kind, index, new_size))
        })
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries")?,
            TileKind::Hashes { level } => write!(f, "tile/{level}")?,
        }
        let mut group = 1;
        while self.index / group >= GROUP {
            group *= GROUP;
        }
        while group > 1 {
            write!(f, "/x{:03}", self.index / group % GROUP)?;
            group /= GROUP;
        }
        write!(f, "/{:03}", self.index % GROUP)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;

    /// Reads the one canonical spelling of a path.
    fn from_str(text: &str) -> Result<Self, TilePathError> {
        if text.len() > MAX_PATH_BYTES {
            return Err(TilePathError::TooLong { found: text.len() });
        }
        let (kind, rest) = text
            .strip_prefix("tile/")
            .and_then(|rest| rest.split_once('/'))
            .ok_or(TilePathError::Kind)?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes {
                level: parse_decimal(level)
                    .and_then(|level| u8::try_from(level).ok())
                    .filter(|level| *level <= MAX_LEVEL)
                    .ok_or(TilePathError::Kind)?,
            },
        };
        let (index, width) = match rest.split_once(".p/") {
            None => (rest, FULL_WIDTH),
            Some((index, width)) => {
                let width = parse_decimal(width)
                    .and_then(|width| u16::try_from(width).ok())
                    .filter(|width| (1..FULL_WIDTH).contains(width));
                (index, width.ok_or(TilePathError::Width)?)
            }
        };
        Ok(Self { kind, index: parse_index(index).ok_or(TilePathError::Index)?, width })
    }
}

fn parse_index(text: &str) -> Option<u64> {
    let (leading, last) = match text.rsplit_once('/') {
        Some((leading, last)) => (Some(leading), last),
        None => (None, text),
    };
    let mut index = 0_u64;
    for group in leading.iter().flat_map(|leading| leading.split('/')) {
        let value = parse_group(group.strip_prefix('x')?)?;
        // A leading group of zeros would be a second spelling.
        if index == 0 && value == 0 {
            return None;
        }
        index = index.checked_mul(GROUP)?.checked_add(value)?;
    }
    index.checked_mul(GROUP)?.checked_add(parse_group(last)?)
}

fn parse_group(text: &str) -> Option<u64> {
    let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// One path element holds three decimal digits.
const GROUP: u64 = 1000;

/// Highest level that tlog-tiles allows in a path.
const MAX_LEVEL: u8 = 63;

/// `tile/entries/`, seven groups of five characters, and `.p/255`, rounded up.
const MAX_PATH_BYTES: usize = 64;
