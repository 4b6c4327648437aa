//! Content that cannot be cut is coded again as a whole, after that was said. For `grove splice`: what listeners get from each other stays what was published.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ad_splicer::again;
use ad_splicer::conditioning::Conditioner;
use ad_splicer::content::{Content, FileContent};
use ad_splicer::splice::notes;
use anyhow::Context as _;

use crate::rendition::PATIENT;

/// The content, or what it became: a file without a name, which is gone when nobody reads it any more.
pub(crate) async fn ready(
    content: Arc<dyn Content>,
    path: &Path,
    conditioner: &Conditioner,
) -> anyhow::Result<Arc<dyn Content>> {
    let looked_at = content.clone();
    let found = tokio::task::spawn_blocking(move || notes::again(looked_at.as_ref(), &PATIENT));
    let Some(found) = found.await.context("looking at the content")? else {
        return Ok(content);
    };
    eprintln!(
        "note: {found}: the whole content is encoded as {}",
        found.becomes()
    );
    let target = found.target(content.as_ref())?;
    let name = path.display().to_string();
    let input = File::open(path).with_context(|| format!("cannot read {name}"))?;
    let mut coded = tempfile::tempfile().context("cannot make a temporary file")?;
    conditioner
        .code_again(&input, &name, target, &coded)
        .await
        .with_context(|| format!("{name} cannot be coded again"))?;
    let finish = move || {
        again::finish(&mut coded, target, content.as_ref())?;
        anyhow::Ok(FileContent::new(coded)?)
    };
    let finished = tokio::task::spawn_blocking(finish)
        .await
        .context("finishing it")?;
    Ok(Arc::new(finished?))
}
