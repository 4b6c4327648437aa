//! Says before content is spliced what nobody expects of it: how much of video is coded again, where its key frames are far apart, and what Vorbis
//! becomes, that a part of it is left out, and how loud ads are amid what is very loud or quiet. Common to `publish` and `splice`.

use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::cues::CuePoint;
use ad_splicer::loudness;
use ad_splicer::splice::{Codec, Options, StreamFormat, notes};
use anyhow::Context as _;

use crate::breaks::place;
use crate::units::human_time;

/// Says that ads at this time of content of so many LUFS are not as loud as that.
pub(crate) fn tell_loudness(at: Duration, content: f64) {
    if let Some(reference) = loudness::held(content) {
        eprintln!(
            "note: the content around {} has {content:.1} LUFS: ads there are made as loud as if it had {reference:.0}, unless loudness= says otherwise",
            human_time(at)
        );
    }
}

/// Notes it of content with ads at these cue points.
pub(crate) async fn tell(
    content: &Arc<dyn Content>,
    format: &StreamFormat,
    cues: &[CuePoint],
) -> anyhow::Result<()> {
    if format.left_over > 0 {
        eprintln!(
            "note: the content ends within a frame: its last {} bytes are left out",
            format.left_over
        );
    }
    if format.codec == Codec::OggVorbis {
        eprintln!(
            "note: Vorbis with ads is a chain of streams: players that do not know chained Ogg, ffmpeg and browsers among them, misread its \
             length or end at the first ad"
        );
    }
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
