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
    fill: impl FnOnce(&mut dyn Write) -> anyhow::Result<u64>,
) -> anyhow::Result<u64> {
    let doing = || format!("cannot write {}", path.display());
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(doing)?;
    let mut file = tempfile::Builder::new()
        .prefix(".grove-")
        .suffix(".part")
        .tempfile_in(folder)
        .with_context(doing)?;
    let bytes = fill(file.as_file_mut()).with_context(doing)?;
    file.as_file().sync_all().with_context(doing)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))
            .with_context(doing)?;
    }
    file.persist(path)
        .map_err(|error| error.error)
        .with_context(doing)?;
    Ok(bytes)
}
