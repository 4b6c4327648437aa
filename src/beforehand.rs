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
    let ids = cues.iter().map(|cue| cue.id.as_str());
    for note in recoded(ids.zip(found)) {
        eprintln!("note: {note}");
    }
    Ok(())
}

/// What is said of cue points without a key frame near, and how long the video is that is coded again around each: once of all of which it is the same.
fn recoded<'a>(found: impl Iterator<Item = (&'a str, Option<Duration>)>) -> Vec<String> {
    let mut alike: Vec<(u64, Vec<&str>)> = Vec::new();
    for (id, lasts) in found {
        let Some(seconds) = lasts.map(|lasts| lasts.as_secs()) else {
            continue;
        };
        match alike.iter_mut().find(|(other, _)| *other == seconds) {
            Some((_, ids)) => ids.push(id),
            None => alike.push((seconds, vec![id])),
        }
    }
    let note = |(seconds, ids): (u64, Vec<&str>)| {
        let (points, around) = match &ids[..] {
            [_] => ("point", "it"),
            _ => ("points", "each"),
        };
        format!(
            "there is no key frame (IDR) near the cue {points} {}: {} of video around {around} are coded again, which takes its time",
            ids.join(", "),
            human_time(Duration::from_secs(seconds))
        )
    };
    alike.into_iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_of_several_cue_points_is_said_once() {
        let lasts = |millis| Some(Duration::from_millis(millis));
        let found = [
            ("cue-1", lasts(30_000)),
            ("cue-2", None),
            ("cue-3", lasts(12_500)),
            ("cue-4", lasts(30_040)),
        ];
        assert_eq!(
            recoded(found.into_iter()),
            [
                "there is no key frame (IDR) near the cue points cue-1, cue-4: 0:30.000 of video around each are coded again, which takes its time",
                "there is no key frame (IDR) near the cue point cue-3: 0:12.000 of video around it are coded again, which takes its time",
            ]
        );
    }
}
