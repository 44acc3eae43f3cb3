//! Views over synthetic records find the truths that were planted.

mod pack;
