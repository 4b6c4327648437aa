//! Whether the web server gives out exactly the file that is being published, to whoever asks.
//!
//! A host that inserts ads or tags of its own sends other bytes to other programs or at other times; every viewer would then see wrong hashes.
//! So the file is fetched twice, under different names, and compared byte by byte while it streams.
//!
//! Not for: Range requests (the engine's origin has its own tests for those).

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use gate::{Gate, header};
use tokio::io::AsyncReadExt as _;
use url::Url;

/// The names under which the origin is asked: our own, and that of a common podcast player.
const USER_AGENTS: [&str; 2] = [
    concat!("Grove/", env!("CARGO_PKG_VERSION")),
    "AppleCoreMedia/1.0.0.21A329 (iPhone; U; CPU OS 17_0 like Mac OS X; en_us)",
];

/// How the comparison went, when it did not find a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// Both fetches gave the file's bytes.
    Same,
    /// The file is not there (yet), or the server cannot be asked: says why.
    Absent(String),
}

/// Fetches `url` under each name and compares with the file. An error names the first byte that differs.
pub(crate) async fn compare(gate: &Gate, url: &Url, path: &Path) -> anyhow::Result<Compared> {
    for agent in USER_AGENTS {
        if let Some(reason) = compare_once(gate, url, path, agent).await? {
            return Ok(Compared::Absent(reason));
        }
    }
    Ok(Compared::Same)
}

async fn compare_once(gate: &Gate, url: &Url, path: &Path, agent: &str) -> anyhow::Result<Option<String>> {
    let reading = || format!("cannot read {}", path.display());
    let request = gate
        .get(url.clone())
        .user_agent(agent)
        .header_text(header::ACCEPT_ENCODING, "identity")
        .timeout(Duration::from_secs(3600));
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_transient() => return Ok(Some(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let status = response.status();
    if status.as_u16() != 200 {
        return Ok(Some(format!("the server answered {status}")));
    }
    if let Some(encoding) = response.encoding() {
        anyhow::bail!(
            "{url} is sent in {encoding} (Content-Encoding) to `{agent}`: it must be sent as it is, not compressed"
        );
    }
    let mut file = tokio::fs::File::open(path).await.with_context(reading)?;
    let length = file.metadata().await.with_context(reading)?.len();
    let mut here = Vec::new();
    let mut offset: u64 = 0;
    while let Some(chunk) = response.chunk().await? {
        here.clear();
        (&mut file)
            .take(chunk.len() as u64)
            .read_to_end(&mut here)
            .await
            .with_context(reading)?;
        if let Some(at) = first_difference(&here, &chunk) {
            let at = offset + at as u64;
            anyhow::ensure!(
                at < length,
                "{url} gives more bytes than {} has ({length}) to `{agent}`",
                path.display()
            );
            anyhow::bail!(
                "{url} gives other bytes than {} to `{agent}`: the first difference is at byte {at}",
                path.display()
            );
        }
        offset += chunk.len() as u64;
    }
    anyhow::ensure!(
        offset == length,
        "{url} gives fewer bytes than {} has to `{agent}`: {offset} instead of {length}",
        path.display()
    );
    Ok(None)
}

/// Whether the server gives a part when it is asked for one; not knowing counts as yes.
pub(crate) async fn gives_ranges(gate: &Gate, url: &Url) -> bool {
    let request = gate
        .get(url.clone())
        .header_text(header::RANGE, "bytes=0-0")
        .header_text(header::ACCEPT_ENCODING, "identity")
        .timeout(Duration::from_secs(30));
    request
        .send()
        .await
        .map_or(true, |response| response.status().as_u16() != 200)
}

/// Where two runs of bytes begin to differ; a run that is shorter differs where it ends.
fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    let differs = a.iter().zip(b).position(|(a, b)| a != b);
    differs.or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(first_difference(b"abc", b"abc"), None);
        assert_eq!(first_difference(b"abc", b"abd"), Some(2));
        assert_eq!(first_difference(b"ab", b"abc"), Some(2));
        assert_eq!(first_difference(b"", b""), None);
    }
}
