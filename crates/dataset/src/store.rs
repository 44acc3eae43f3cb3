use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

/// Where sealed files are written to.
pub trait FileSink {
    /// Starts the file of this path (relative, `/` between its parts).
    ///
    /// `flush` is called once, after the last byte: whoever wants the file to be durable syncs
    /// it there.
    ///
    /// # Errors
    /// If there is such a file already, or it cannot be made.
    fn create(&mut self, path: &str) -> io::Result<Box<dyn Write + Send>>;
}

/// Where sealed files are read from.
pub trait FileSource {
    /// The paths of all files below the tables' folders, in any order. Files that no manifest
    /// names are to be listed too, so that they can be refused.
    ///
    /// # Errors
    /// If they cannot be listed.
    fn paths(&self) -> io::Result<Vec<String>>;

    /// Opens the file of this path; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be opened.
    fn open(&self, path: &str) -> io::Result<Option<Arc<dyn SealedFile>>>;
}

/// One sealed file, read from any place.
pub trait SealedFile: Send + Sync {
    /// Its size in bytes.
    ///
    /// # Errors
    /// If it cannot be told.
    fn size_bytes(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// If there are fewer bytes, or reading fails.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

impl SealedFile for Bytes {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A folder in memory, for tests and small data.
#[derive(Clone, Default)]
pub struct MemoryFolder {
    files: BTreeMap<String, Arc<Mutex<Vec<u8>>>>,
}

impl MemoryFolder {
    /// The file of this path.
    pub fn file(&self, path: &str) -> Option<Arc<dyn SealedFile>> {
        Some(Arc::new(Bytes::from(self.bytes(path)?)))
    }

    /// A copy of the bytes of a file.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let file = self.files.get(path)?;
        Some(file.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Puts a file, in place of another if there is one.
    pub fn put(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.insert(path.to_owned(), Arc::new(Mutex::new(bytes)));
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: &str) {
        self.files.remove(path);
    }
}

impl FileSink for MemoryFolder {
    fn create(&mut self, path: &str) -> io::Result<Box<dyn Write + Send>> {
        if self.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.put(path, Vec::new());
        let file = self.files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryWriter(file)))
    }
}

impl FileSource for MemoryFolder {
    fn paths(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn open(&self, path: &str) -> io::Result<Option<Arc<dyn SealedFile>>> {
        Ok(self.file(path))
    }
}

struct MemoryWriter(Arc<Mutex<Vec<u8>>>);

impl Write for MemoryWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sealed file as the Parquet reader wants it. Reads go into owned buffers: the bytes cannot
/// change between check and use, as those of a mapping could.
pub(crate) struct Chunks {
    file: Arc<dyn SealedFile>,
    size_bytes: u64,
}

impl Chunks {
    pub(crate) fn new(file: Arc<dyn SealedFile>) -> io::Result<Self> {
        let size_bytes = file.size_bytes()?;
        Ok(Self { file, size_bytes })
    }

    /// The first and the last four bytes, where the magic stands.
    pub(crate) fn magics(&self) -> io::Result<([u8; 4], [u8; 4])> {
        let (mut head, mut tail) = ([0; 4], [0; 4]);
        let last = self.size_bytes.checked_sub(4).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file.read_at(0, &mut head)?;
        self.file.read_at(last, &mut tail)?;
        Ok((head, tail))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.size_bytes
    }
}

impl ChunkReader for Chunks {
    type T = ChunkStream;

    fn get_read(&self, start: u64) -> ParquetResult<ChunkStream> {
        Ok(ChunkStream { file: Arc::clone(&self.file), next: start, end: self.size_bytes })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // INVARIANT: nothing is allocated for a range that is not in the file.
        match start.checked_add(length as u64) {
            Some(end) if end <= self.size_bytes => {}
            _ => return Err(ParquetError::EOF("range beyond the end".to_owned())),
        }
        let mut bytes = vec![0; length];
        self.file.read_at(start, &mut bytes)?;
        Ok(bytes.into())
    }
}

/// Reads a sealed file on from one place.
pub(crate) struct ChunkStream {
    file: Arc<dyn SealedFile>,
    next: u64,
    end: u64,
}

impl Read for ChunkStream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_sub(self.next);
        let count = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(out) = out.get_mut(..count) else { return Ok(0) };
        if count > 0 {
            self.file.read_at(self.next, out)?;
            self.next += count as u64;
        }
        Ok(count)
    }
}
