//! The worker's root: the files of the C library, read-only, and nothing else.

use crate::sys;
use std::ffi::CStr;
use std::io;
use std::os::unix::fs::chroot;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What a dynamically linked engine needs, where this machine has it. A statically linked one
/// needs none of it.
pub(crate) fn libraries() -> Vec<PathBuf> {
    let found = |name: &&str| {
        let places = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
        places.into_iter().find(|path| path.is_file())
    };
    let loader = Path::new(LOADER);
    let loader = loader.is_file().then(|| loader.to_owned());
    loader.into_iter().chain(LIBRARIES.iter().filter_map(found)).collect()
}

/// Whether a program may be started from this library file: only the loader, which the kernel
/// itself opens to start a dynamically linked program.
pub(crate) fn is_loader(library: &Path) -> bool {
    library == Path::new(LOADER)
}

/// Moves this process, which is in a new mount namespace, into a root that holds the libraries
/// at their usual paths.
pub(crate) fn enter(libraries: &[PathBuf]) -> io::Result<()> {
    let nothing = Path::new("none");
    // What happens below must not be seen by the old namespace.
    sys::mount(nothing, Path::new("/"), c"", libc::MS_REC | libc::MS_PRIVATE, c"")?;
    let base = BASES.iter().map(Path::new).find(|base| base.is_dir());
    let base = base.ok_or(io::ErrorKind::NotFound)?;
    sys::mount(nothing, base, c"tmpfs", TIGHT, TMPFS_OPTIONS)?;
    for library in libraries {
        let target = base.join(library.strip_prefix("/").unwrap_or(library));
        if let Some(directory) = target.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::File::create(&target)?;
        sys::mount(library, &target, c"", libc::MS_BIND, c"")?;
        sys::freeze_mount(&target)?;
    }
    let read_only = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY | TIGHT;
    sys::mount(nothing, base, c"", read_only, c"")?;
    env::set_current_dir(base)?;
    switch_root()?;
    env::set_current_dir("/")
}

/// Makes the working directory, a mount, the root.
fn switch_root() -> io::Result<()> {
    match sys::pivot_root_here() {
        // The old root now lies on top of the new one, "." still being the old one.
        Ok(()) => sys::detach_here(),
        // The first root of a machine that runs from its initramfs cannot be pivoted
        // (pivot_root(2)). Covering it does as well: what could uncover it, unmounting or
        // another chroot, takes the capabilities that the worker is about to lose.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            sys::mount(Path::new("."), Path::new("/"), c"", libc::MS_MOVE, c"")?;
            chroot(".")
        }
        Err(error) => Err(error),
    }
}

/// Where the new root is put together; invisible afterwards. Must hold no library.
const BASES: [&str; 5] = ["/tmp", "/run", "/mnt", "/var", "/dev"];

const TIGHT: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

/// Room for directories and mount points only.
const TMPFS_OPTIONS: &CStr = c"size=64k,nr_inodes=64,mode=0755";

#[cfg(target_arch = "x86_64")]
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
#[cfg(target_arch = "aarch64")]
const LOADER: &str = "/lib/ld-linux-aarch64.so.1";

/// Where the loader looks without a cache: Debian's directories first, then everybody's.
const DIRECTORIES: [&str; 6] = [
    #[cfg(target_arch = "x86_64")]
    "/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "x86_64")]
    "/usr/lib/x86_64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/lib/aarch64-linux-gnu",
    #[cfg(target_arch = "aarch64")]
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// What Rust programs link: the C library, in its pieces of before and after glibc 2.34, and
/// the unwinder.
const LIBRARIES: [&str; 6] =
    ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_this_very_program_are_found() {
        let libraries = libraries();
        assert!(libraries.iter().any(|path| is_loader(path)));
        for name in ["libc.so.6", "libgcc_s.so.1"] {
            assert!(libraries.iter().any(|path| path.ends_with(name)), "{name}");
        }
    }

    #[test]
    fn no_library_lies_below_a_base() {
        for library in libraries() {
            assert!(BASES.iter().all(|base| !library.starts_with(base)));
        }
    }
}
