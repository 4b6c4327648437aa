//! Content that cannot be cut is coded again as a whole, after that was said. For `grove splice`: what listeners get from each other stays what was published.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ad_splicer::again::{self, Again};
use ad_splicer::conditioning::Conditioner;
use ad_splicer::content::Content;
use ad_splicer::splice::{At, SpliceError, notes};
use anyhow::Context as _;

use crate::rendition::PATIENT;
use crate::splice::failed_in;

/// The content with ads at these places, or what it became: what was coded is in files without names, which are gone when nobody reads them any more.
pub(crate) async fn ready(
    content: Arc<dyn Content>,
    path: &Path,
    conditioner: &Conditioner,
    cues: Vec<At>,
) -> anyhow::Result<Arc<dyn Content>> {
    let looked_at = content.clone();
    let found = tokio::task::spawn_blocking(move || notes::again(looked_at.as_ref(), &PATIENT));
    let content = match found.await.context("looking at the content")? {
        Some(found) => coded(found, content, path, conditioner).await?,
        None => content,
    };
    // Where pictures can be cut shows only when the sound can be.
    let looked_at = content.clone();
    let found = tokio::task::spawn_blocking(move || {
        notes::pictures_again(looked_at.as_ref(), &cues, notes::MOST_RECODED, &PATIENT)
    });
    match found.await.context("looking for key frames")? {
        Some(found) => coded(found, content, path, conditioner).await,
        None => Ok(content),
    }
}

/// What it becomes.
async fn coded(
    found: Again,
    content: Arc<dyn Content>,
    path: &Path,
    conditioner: &Conditioner,
) -> anyhow::Result<Arc<dyn Content>> {
    eprintln!("note: {found}: {}", found.what());
    let target = found.target(content.as_ref())?;
    let name = path.display().to_string();
    let folder = std::env::temp_dir();
    let no_good = |error| failed_in(&folder, &format!("{name} cannot be coded again"), error);
    let part = tempfile::tempfile().map_err(|error| no_good(error.into()))?;
    let of = content.clone();
    let apart = tokio::task::spawn_blocking(move || {
        Ok::<_, SpliceError>((again::part(found, of.as_ref(), &part)?, part))
    });
    let input = match apart.await.context("taking out what is encoded")? {
        Ok((true, part)) => part,
        Ok((false, _)) => File::open(path).with_context(|| format!("cannot read {name}"))?,
        Err(error) => return Err(no_good(error.into())),
    };
    let coded = tempfile::tempfile().map_err(|error| no_good(error.into()))?;
    conditioner
        .code_again(&input, &name, target, &coded)
        .await
        .map_err(|error| no_good(error.into()))?;
    let finished = tokio::task::spawn_blocking(move || again::finish(coded, found, target, content));
    finished
        .await
        .context("finishing it")?
        .map_err(|error| no_good(error.into()))
}
