//! Video made from nothing, ads for it, and what has to hold of a splice of it whatever its container.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::FileContent;
use ad_splicer::picture::Picture;
use ad_splicer::splice::{self, Ad, Break, Options, Report, SpliceError, notes};

/// Made video: its folder, its file, and samples of sound a second.
pub(crate) struct Video {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) content: PathBuf,
    pub(crate) sound: usize,
    /// Units of time of the file's sound in a second.
    pub(crate) ticks: f64,
}

impl Video {
    pub(crate) fn content(&self) -> FileContent {
        FileContent::open(&self.content).unwrap()
    }

    /// An ad with sound of so many samples, and a card to be seen.
    pub(crate) fn ad(&self, samples: usize) -> Ad {
        let format = splice::probe(&self.content(), &Options::default()).unwrap();
        let picture = Picture::card(
            format.picture.unwrap(),
            "Acme",
            Duration::from_millis(samples as u64 * 1000 / self.sound as u64),
        );
        Ad {
            picture: Some(Arc::new(picture.unwrap())),
            ..super::ad(self.sound, 1, samples, 500.0)
        }
    }

    pub(crate) fn splice(&self, breaks: &[Break]) -> Result<(PathBuf, Report), SpliceError> {
        let path = self
            .dir
            .path()
            .join("result")
            .with_extension(self.content.extension().unwrap());
        let mut out = Vec::new();
        let report = splice::splice(&self.content(), breaks, &Options::default(), &mut out)?;
        std::fs::write(&path, out).unwrap();
        Ok((path, report))
    }
}

/// One packet by ffprobe: presented and decoded at these times, in seconds.
fn times(path: &Path, stream: &str) -> Vec<(f64, f64)> {
    let args = [
        "-v",
        "error",
        "-select_streams",
        stream,
        "-show_entries",
        "packet=pts_time,dts_time",
        "-of",
        "csv=p=0",
        path.to_str().unwrap(),
    ];
    let text = String::from_utf8(super::run("ffprobe", &args, None)).unwrap();
    text.lines()
        .map(|line| {
            let mut fields = line.split(',').map(|field| field.parse().unwrap());
            (fields.next().unwrap(), fields.next().unwrap())
        })
        .collect()
}

/// Where each of `wanted` stands in `found`, in order, with others between.
fn places(wanted: &[String], found: &[String]) -> Vec<usize> {
    let mut at = 0;
    wanted
        .iter()
        .map(|hash| {
            at += found[at..]
                .iter()
                .position(|other| other == hash)
                .expect("every packet of the content is there")
                + 1;
            at - 1
        })
        .collect()
}

/// Four seconds with a key frame every second, whose pictures change their size at the third of them: its time, and both sizes.
pub(crate) fn judge_changed_size(video: &Video, [at, first, second]: [&str; 3]) {
    let changes: f64 = at.parse().unwrap();
    let millis = |after: f64| ((changes + after) * 1000.0).round() as u64;
    for (cue, replaced) in [
        (millis(-1.48), Some(25)),
        (millis(0.0), Some(0)),
        (millis(0.48), None),
        (millis(1.0), Some(0)),
    ] {
        let breaks = [super::at(cue, vec![video.ad(video.sound)])];
        let places = [(breaks[0].at, Duration::ZERO)];
        let told = notes::uncut(&video.content(), &places, &Options::default()).unwrap();
        let Some(replaced) = replaced else {
            let due = format!(
                "its pictures are {second} there, from the key frame at {at} s on, and {first} at the beginning: where their size has changed, ads go in only at key frames"
            );
            assert_eq!(told, [Some(due.clone())]);
            // Only this break is left out.
            let (_, lost) =
                splice::prepare_what_fits(&video.content(), &breaks, &Options::default()).unwrap();
            assert_eq!(lost[0].0, 0);
            assert!(lost[0].1.to_string().ends_with(&due), "{lost:?}");
            continue;
        };
        assert_eq!(told, [None], "at {cue} ms");
        let (path, report) = video.splice(&breaks).unwrap();
        judge(video, &path, &report, replaced);
        // All are seen as they were, with the ad's between.
        let (before, after) = (seen(&video.content), seen(&path));
        let more = after.len() - before.len();
        let ad = (0..before.len())
            .take_while(|i| alike(&before[*i], &after[*i]))
            .count();
        assert!(
            (ad..before.len()).all(|i| alike(&before[i], &after[i + more])),
            "at {cue} ms"
        );
    }
}

/// Content packets of pictures are all there (but for `replaced`), decoding times grow, and pictures and sound move together at every break.
pub(crate) fn judge(video: &Video, path: &Path, report: &Report, replaced: usize) {
    let hashes = |path: &Path, stream: &str| -> Vec<String> {
        super::packets(path, stream)
            .into_iter()
            .map(|packet| packet.hash)
            .collect()
    };
    let (before, after) = (hashes(&video.content, "0:v"), hashes(path, "0:v"));
    let was = times(&video.content, "v:0");
    let is = times(path, "v:0");
    assert_eq!((was.len(), is.len()), (before.len(), after.len()));
    assert!(
        is.windows(2).all(|pair| pair[0].1 < pair[1].1),
        "decoding times grow"
    );
    assert!(is.iter().all(|(pts, dts)| pts >= dts));

    let kept: Vec<usize> = (0..before.len())
        .filter(|i| after.contains(&before[*i]))
        .collect();
    assert_eq!(before.len() - kept.len(), replaced);
    let wanted: Vec<String> = kept.iter().map(|i| before[*i].clone()).collect();
    let places = places(&wanted, &after);

    // How much later each packet of sound that was kept is heard, by whole packets.
    let (heard, hears) = (super::packets(&video.content, "0:a"), super::packets(path, "0:a"));
    let mut at = 0;
    let mut shifts = Vec::new();
    for packet in &heard {
        if let Some(further) = hears[at..].iter().position(|other| other.hash == packet.hash) {
            at += further;
            shifts.push((
                packet.pts as f64 / video.ticks,
                (hears[at].pts - packet.pts) as f64 / video.ticks,
            ));
        }
    }
    assert!(
        shifts.len() + 16 * (report.ads.len() + 1) + replaced * 4 >= heard.len(),
        "{} of {}",
        shifts.len(),
        heard.len()
    );
    for (i, place) in kept.iter().zip(&places) {
        let moved = is[*place].0 - was[*i].0;
        let near = shifts
            .iter()
            .min_by(|a, b| (a.0 - was[*i].0).abs().total_cmp(&(b.0 - was[*i].0).abs()))
            .unwrap();
        // Within a second of a cue the nearest packets may be those of the other side.
        let fits = shifts
            .iter()
            .filter(|shift| (shift.0 - was[*i].0).abs() < 0.4)
            .any(|shift| (shift.1 - moved).abs() < 0.001);
        assert!(fits, "picture {i} moved by {moved} s, sound by {near:?}");
        assert!(
            (is[*place].1 - was[*i].1 - moved).abs() < 0.0001,
            "picture {i} is decoded as long before it is shown"
        );
    }

    let json = super::probe(path);
    let lasts = report.duration.as_secs_f64();
    for stream in json["streams"].as_array().unwrap() {
        // WebM has one for the file.
        let told = stream["duration"]
            .as_str()
            .or(json["format"]["duration"].as_str());
        let found: f64 = told.unwrap().parse().unwrap();
        assert!(
            (found - lasts).abs() < 0.1,
            "{found} s where {lasts} s were due: {stream}"
        );
    }
    let (_, said) = super::run_both(
        "ffmpeg",
        &[
            "-v",
            "warning",
            "-xerror",
            "-i",
            path.to_str().unwrap(),
            // A rate that it guesses would round times together.
            "-enc_time_base",
            "-1",
            "-f",
            "null",
            "-",
        ],
        None,
    );
    assert_eq!(said, "", "ffmpeg decodes it without a word");
}

/// Small grey pictures of a file, all of them.
pub(crate) fn seen(path: &Path) -> Vec<Vec<u8>> {
    let args = [
        "-v",
        "error",
        "-i",
        path.to_str().unwrap(),
        "-fps_mode",
        "passthrough",
        "-vf",
        "scale=80:44",
        "-pix_fmt",
        "gray",
        "-f",
        "rawvideo",
        "-",
    ];
    super::run("ffmpeg", &args, None)
        .chunks(80 * 44)
        .map(<[u8]>::to_vec)
        .collect()
}

/// Whether two of them show the same.
pub(crate) fn alike(a: &[u8], b: &[u8]) -> bool {
    let apart = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)));
    apart.sum::<u64>() < 80 * 44 * 2
}

/// A chapter that begins at a cue (in milliseconds), which moves to the picture at `moved`, begins behind its ads.
pub(crate) fn chapter_at_cue(mut video: Video, cue: u64, moved: f64) {
    let name = video
        .content
        .with_file_name("told")
        .with_extension(video.content.extension().unwrap());
    let told = video.dir.path().join("chapters.txt");
    let chapter = |from: u64, to: u64| {
        format!("[CHAPTER]\nTIMEBASE=1/1000\nSTART={from}\nEND={to}\ntitle=From {from}\n")
    };
    let chapters = [chapter(0, cue), chapter(cue, 10_000)].concat();
    std::fs::write(&told, format!(";FFMETADATA1\n{chapters}")).unwrap();
    let [from, told, to] = [&video.content, &told, &name].map(|path| path.to_str().unwrap());
    let args = [
        "-v",
        "error",
        "-i",
        from,
        "-i",
        told,
        "-map_metadata",
        "1",
        "-c",
        "copy",
        to,
    ];
    super::run("ffmpeg", &args, None);
    video.content = name;
    let (path, report) = video.splice(&[super::at(cue, vec![video.ad(48_000)])]).unwrap();
    assert!(
        (report.ads[0].content.as_secs_f64() - moved).abs() < 0.001,
        "{report:?}"
    );
    let listed = super::probe(&path)["chapters"].take();
    let starts: Vec<f64> = (listed.as_array().unwrap().iter())
        .map(|chapter| chapter["start_time"].as_str().unwrap().parse().unwrap())
        .collect();
    let behind = report.ads[0].presentation.as_secs_f64() + 1.0;
    assert!(
        starts.len() == 2 && (starts[1] - behind).abs() < 0.03,
        "{starts:?}, ads until {behind}"
    );
    let told: Vec<f64> = report
        .chapters
        .iter()
        .map(|chapter| chapter.start.as_secs_f64())
        .collect();
    assert!(
        told.len() == 2 && (told[1] - starts[1]).abs() < 0.002,
        "{told:?}, not {starts:?}"
    );
}

/// Of content whose pictures end at about 6 s and whose sound goes on to 10 s: behind ads after the pictures the last of them is seen again, as it was before.
pub(crate) fn last_picture_comes_back(video: &Video, ticks: f64) {
    let before = seen(&video.content);
    let last = before.last().unwrap();
    let pictures = super::packets(&video.content, "0:v");
    let shown = pictures.iter().map(|packet| packet.pts as f64 / ticks);
    let end = (shown.fold(0.0, f64::max) + 0.04) * 1000.0;
    for cues in [&[8_000][..], &[end as u64], &[2_000, 7_000, 8_520]] {
        let breaks: Vec<Break> = cues
            .iter()
            .map(|cue| super::at(*cue, vec![video.ad(48_000)]))
            .collect();
        let (path, report) = video.splice(&breaks).unwrap();
        let after = seen(&path);
        let times: Vec<f64> = super::packets(&path, "0:v")
            .iter()
            .map(|packet| packet.pts as f64 / ticks)
            .collect();
        assert_eq!(times.len(), after.len());
        for ad in report.ads.iter().filter(|ad| ad.content.as_secs_f64() > 5.5) {
            let begins = ad.presentation.as_secs_f64();
            let over = begins + ad.duration.as_secs_f64();
            let at = |wanted: f64| {
                let found = times.iter().rposition(|time| *time < wanted).unwrap();
                (times[found], &after[found])
            };
            assert!(alike(at(begins - 0.01).1, last), "{cues:?}: before {begins}");
            let (shown, card) = at(begins + 0.5);
            assert!(!alike(card, last), "{cues:?}: the ad at {begins}");
            assert!(
                (shown - begins).abs() < 0.045,
                "{cues:?}: the ad at {begins}, seen at {shown}"
            );
            // Content goes on at a packet of the sound.
            let (shown, again) = at(over + 0.06);
            assert!(
                alike(again, last) && (shown - over).abs() < 0.045,
                "{cues:?}: at {shown}, after {over}"
            );
        }
        let args = ["-v", "warning", "-xerror", "-i", path.to_str().unwrap()];
        let args = [&args[..], &["-enc_time_base", "-1", "-f", "null", "-"]].concat();
        let (_, said) = super::run_both("ffmpeg", &args, None);
        assert_eq!(said, "");
    }
}
