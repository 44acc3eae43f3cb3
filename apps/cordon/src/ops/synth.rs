//! Synthetic patients into files: one folder per site, one file per resource type.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use cordon_clinical::synth::{Generator, ResourceKind, Truth};
use indicatif::ProgressBar;

use crate::files;

/// Writes `<out>/<site>/<Resource>.ndjson` and `<out>/truth.json`, what there is to find.
///
/// # Errors
/// If `out` holds files already, or cannot be written.
pub fn write(generator: &Generator, out: &Path, progress: &ProgressBar) -> Result<Truth> {
    let used = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if used {
        bail!("`{}` is not empty: expected a new folder", out.display());
    }
    let mut files = open_files(generator, out)?;
    let written = generator.write(|site, kind, line| {
        if kind == ResourceKind::Patient {
            progress.inc(1);
        }
        match files.get_mut(&(site.to_owned(), kind)) {
            Some(file) => file.write_all(line),
            None => Err(std::io::Error::other("a resource of an unknown site")),
        }
    });
    let truth = written.with_context(|| format!("cannot write into `{}`", out.display()))?;
    for file in files.into_values() {
        let file = file.into_inner().context("cannot write the last bytes of a file")?;
        file.sync_all().context("cannot flush a file")?;
    }
    files::write_json(&out.join("truth.json"), &truth)?;
    Ok(truth)
}

type Files = BTreeMap<(String, ResourceKind), BufWriter<File>>;

fn open_files(generator: &Generator, out: &Path) -> Result<Files> {
    let mut files = BTreeMap::new();
    for site in generator.sites() {
        let folder = out.join(site);
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make `{}`", folder.display()))?;
        for kind in ResourceKind::ALL {
            let path = folder.join(format!("{}.ndjson", kind.name()));
            let file = File::create_new(&path)
                .with_context(|| format!("cannot make `{}`", path.display()))?;
            files.insert((site.clone(), kind), BufWriter::with_capacity(1 << 20, file));
        }
    }
    Ok(files)
}
