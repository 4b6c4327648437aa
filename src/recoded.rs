//! Says before it is done how much of video is coded again, where its key frames are far apart. Common to `publish` and `splice`.

use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::cues::CuePoint;
use ad_splicer::splice::{Options, notes};
use anyhow::Context as _;

use crate::breaks::place;
use crate::units::human_time;

/// Notes it for each cue point.
pub(crate) async fn tell(content: &Arc<dyn Content>, cues: &[CuePoint]) -> anyhow::Result<()> {
    let places: Vec<_> = cues.iter().map(|cue| place(cue.position)).collect();
    let content = content.clone();
    let found =
        tokio::task::spawn_blocking(move || notes::recoded(content.as_ref(), &places, &Options::default()));
    // What is wrong with content is said when it is spliced.
    let found = found.await.context("looking for key frames")?.unwrap_or_default();
    for (cue, lasts) in cues.iter().zip(found) {
        if let Some(lasts) = lasts {
            eprintln!(
                "note: there is no key frame (IDR) near the cue point {}: {} of video around it are coded again, which takes its time",
                cue.id,
                human_time(Duration::from_secs(lasts.as_secs()))
            );
        }
    }
    Ok(())
}
