//! Views over synthetic records find the truths that were planted, and bytes from outside make no
//! parser panic.

mod hostile;
mod pack;
