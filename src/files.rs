//! Files that are written whole or not at all: beside their place, synced, then renamed.
//!
//! Not for: state that is changed often; that is in databases.

use std::io::Write;
use std::path::Path;

use anyhow::Context as _;

/// Writes these bytes.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_file(path, |out| {
        out.write_all(bytes)?;
        Ok(bytes.len() as u64)
    })
    .map(drop)
}

/// Writes what `fill` gives; the folder is made if it is not there. Gives what `fill` gave: the number of bytes.
pub(crate) fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut std::fs::File) -> anyhow::Result<u64>,
) -> anyhow::Result<u64> {
    let doing = || format!("cannot write {}", path.display());
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(doing)?;
    let mut file = beside(folder).with_context(doing)?;
    let bytes = fill(file.as_file_mut()).with_context(doing)?;
    persist(file, path).with_context(doing)?;
    Ok(bytes)
}

/// Copies a file in place of whatever stands at `to`. Where the file system can, both share their blocks.
pub(crate) fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let doing = || format!("cannot copy {} to {}", from.display(), to.display());
    let mut source = std::fs::File::open(from).with_context(doing)?;
    let folder = to
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(doing)?;
    let mut file = beside(folder).with_context(doing)?;
    // Between files the standard library has the kernel copy, which reflinks where it can.
    std::io::copy(&mut source, file.as_file_mut()).with_context(doing)?;
    persist(file, to).with_context(doing)
}

fn beside(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".grove-")
        .suffix(".part")
        .tempfile_in(folder)
}

fn persist(file: tempfile::NamedTempFile, path: &Path) -> std::io::Result<()> {
    file.as_file().sync_all()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path).map(drop).map_err(|error| error.error)
}
