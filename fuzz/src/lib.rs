//! What the fuzz targets share: seeds that are made by code, so that nothing binary is committed.

use std::path::Path;

/// Writes the seeds into the corpus that this run begins with: the first argument that is no option.
///
/// Called before libFuzzer reads the corpus. A run on a single file (a finding) gets none.
pub fn seed(seeds: impl IntoIterator<Item = Vec<u8>>) {
    let corpus = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let Some(folder) = corpus.filter(|folder| Path::new(folder).is_dir()) else {
        return;
    };
    for (number, seed) in seeds.into_iter().enumerate() {
        let path = Path::new(&folder).join(format!("seed-{number}"));
        std::fs::write(path, seed).expect("the corpus can be written");
    }
}
