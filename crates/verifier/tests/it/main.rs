//! Genuine evidence, read from the packages that ship it, at its own date; and evidence of
//! look-alike vendors, with one thing wrong.

mod amd;
mod eventlog;
mod nitro;
mod snp;
mod tpm;
