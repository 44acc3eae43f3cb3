/// A value that may be written to a log: an identifier, a count, a code, a duration.
///
/// Never a record, a name, free text, a key, or an error message of another library that has
/// seen plaintext. What services log is decided once per type by this mark, and listed once by the
/// tidy tests.
pub trait LogSafe: std::fmt::Display {}

impl LogSafe for u8 {}
impl LogSafe for u16 {}
impl LogSafe for u32 {}
impl LogSafe for u64 {}
impl LogSafe for usize {}
impl LogSafe for bool {}
