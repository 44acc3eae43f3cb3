//! The program of a worker: bytes in memory that nobody can change any more.

use crate::spec::SandboxError;
use crate::sys;
use std::ffi::CString;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

/// An engine that can run, again and again, without being copied: a dynamically or statically
/// linked ELF program in a sealed memory file.
#[derive(Debug)]
pub struct SealedEngine(File);

impl SealedEngine {
    /// Seals a copy of these bytes.
    ///
    /// # Errors
    /// They are no program, or too many, or there is no memory.
    pub fn of(engine: &[u8]) -> Result<Self, SandboxError> {
        let mut writer = EngineWriter::new()?;
        writer.write(engine)?;
        writer.seal()
    }

    /// For a launcher to execute.
    pub(crate) fn to_owned_fd(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

/// An engine that comes in parts. Nobody else can write it, so that who hashes what is written
/// here has hashed what will run.
#[derive(Debug)]
pub struct EngineWriter {
    file: File,
    size: usize,
    magic: [u8; ELF.len()],
}

impl EngineWriter {
    /// Starts with nothing.
    ///
    /// # Errors
    /// The kernel gives no memory file.
    pub fn new() -> Result<Self, SandboxError> {
        let file =
            sys::memory_file(&CString::from(c"cordon-engine")).map_err(SandboxError::Seal)?;
        Ok(Self { file: file.into(), size: 0, magic: [0; ELF.len()] })
    }

    /// Appends a part.
    ///
    /// # Errors
    /// The engine grows beyond [`MAX_ENGINE_BYTES`], or memory ends.
    pub fn write(&mut self, part: &[u8]) -> Result<(), SandboxError> {
        let size = self.size.saturating_add(part.len());
        if size > MAX_ENGINE_BYTES {
            return Err(SandboxError::Engine { found_bytes: size });
        }
        self.file.write_all(part).map_err(SandboxError::Seal)?;
        for (place, byte) in self.magic.iter_mut().skip(self.size).zip(part) {
            *place = *byte;
        }
        self.size = size;
        Ok(())
    }

    /// Makes the file unchangeable, and unreadable: who may not read its program is not dumped or
    /// traced by the kernel's own rule (`would_dump`, fs/exec.c).
    ///
    /// # Errors
    /// It is no program.
    pub fn seal(self) -> Result<SealedEngine, SandboxError> {
        if self.magic != ELF {
            return Err(SandboxError::Engine { found_bytes: self.size });
        }
        let sealed = || {
            self.file.set_permissions(Permissions::from_mode(0o111))?;
            sys::seal(self.file.as_fd())
        };
        sealed().map_err(SandboxError::Seal)?;
        Ok(SealedEngine(self.file))
    }
}

/// The largest engine: four times a DataFusion engine with its symbols.
pub const MAX_ENGINE_BYTES: usize = 1 << 30;

const ELF: [u8; 4] = *b"\x7fELF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_engine_cannot_be_changed_or_unsealed() {
        let SealedEngine(file) = SealedEngine::of(b"\x7fELF and so on").expect("sealed");
        let seals =
            libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
        assert_eq!(sys::seals(file.as_fd()).expect("seals") & seals, seals);
        assert!((&file).write_all(b"more").is_err());
        assert!(file.set_len(0).is_err());
    }

    #[test]
    fn only_an_elf_file_is_an_engine_however_it_comes() {
        assert!(SealedEngine::of(b"\x7fELF....").is_ok());
        for other in [&b""[..], b"#!/bin/sh\n", b"\x7fEL"] {
            let refused = SealedEngine::of(other).map(drop);
            assert!(matches!(refused, Err(SandboxError::Engine { .. })), "{other:?}");
        }
        let mut writer = EngineWriter::new().expect("a file");
        for part in [&b"\x7f"[..], b"", b"EL", b"F..", b"."] {
            writer.write(part).expect("room");
        }
        assert!(writer.seal().is_ok());
    }

    #[test]
    fn an_engine_does_not_grow_beyond_the_limit() {
        let mut writer = EngineWriter { size: MAX_ENGINE_BYTES, ..EngineWriter::new().unwrap() };
        writer.write(b"").expect("as large as allowed");
        assert!(matches!(writer.write(b"x"), Err(SandboxError::Engine { .. })));
    }
}
