//! Which files of a torrent are meant by `--file`: their paths or names, numbers as `grove inspect` shows them, or patterns over their paths.
//! What is the path or the name of a file is that file, and neither number nor pattern.
//!
//! Not for: fetching them.

use engine::metainfo::Metainfo;
use globset::GlobBuilder;

use crate::output::{Explain, bad_input};

/// The places of the files that are selected, in order; `None` when nothing was said, which means all of them.
///
/// A pattern with a slash is held against the whole path, one without against the name of the file alone, whatever
/// folder it is in; a pattern that names a folder means everything in it.
pub(crate) fn select(metainfo: &Metainfo, wishes: &[String]) -> anyhow::Result<Option<Vec<usize>>> {
    if wishes.is_empty() {
        return Ok(None);
    }
    let files = metainfo.files();
    let mut selected = vec![false; files.len()];
    for wish in wishes {
        let (text, whole) = (wish.trim_end_matches('/'), wish.contains('/'));
        let matching = |is_meant: &dyn Fn(&str) -> bool| -> Vec<usize> {
            let fits = |path: &[String]| {
                // Each folder above it, and the file itself.
                (1..=path.len()).any(|depth| {
                    if whole || depth < path.len() {
                        is_meant(&path[..depth].join("/"))
                    } else {
                        path.last().is_some_and(|name| is_meant(name))
                    }
                })
            };
            (0..files.len())
                .filter(|&file| fits(files[file].path()))
                .collect()
        };
        let named = matching(&|name| name == text);
        let matching = if !named.is_empty() {
            named
        } else if let Ok(number) = wish.parse::<usize>() {
            let there = (1..=files.len()).contains(&number);
            there.then(|| number - 1).into_iter().collect()
        } else {
            let glob = GlobBuilder::new(text)
                .literal_separator(true)
                .build()
                .or_bad_input(|| format!("--file {wish:?} is no pattern"))?
                .compile_matcher();
            matching(&|name| glob.is_match(name))
        };
        if matching.is_empty() {
            return Err(bad_input(format!(
                "no file of {} is meant by --file {wish:?}",
                metainfo.name()
            )))
            .hint(|| "`grove inspect SOURCE` lists the files with their numbers".into());
        }
        for file in matching {
            selected[file] = true;
        }
    }
    Ok(Some((0..files.len()).filter(|&file| selected[file]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::metainfo::{Builder, Listing};

    fn torrent(names: &[&str]) -> Metainfo {
        let place = tempfile::tempdir().expect("a folder");
        for name in names {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, name).expect("space on the disk");
        }
        let listing = Listing::of(place.path()).expect("a readable folder");
        Builder::new("x")
            .hash_folder(place.path(), &listing, |_| {})
            .expect("a torrent")
    }

    const FILES: [&str; 5] = ["a.mp3", "b/c.mp3", "b/d/e.txt", "b/f.txt", "notes.txt"];

    fn selected(names: &[&str], wishes: &[&str]) -> Vec<usize> {
        let wishes: Vec<String> = wishes.iter().map(ToString::to_string).collect();
        select(&torrent(names), &wishes)
            .expect("a selection")
            .expect("not all")
    }

    #[test]
    fn a_name_is_neither_pattern_nor_number() {
        let names = ["5", "[x]/1", "ep 1.mp3", "ep [1].mp3", "x/2"];
        for (wish, files) in [
            ("ep [1].mp3", &[3][..]),
            ("ep [12].mp3", &[2]),
            ("5", &[0]),
            ("4", &[3]),
            ("1", &[1]),
            ("[x]", &[1]),
            ("[x]/1", &[1]),
            ("[x]/*", &[4]),
        ] {
            assert_eq!(selected(&names, &[wish]), files, "{wish}");
        }
    }

    #[test]
    fn numbers_names_folders_and_patterns() {
        for (wishes, files) in [
            (&["1"][..], &[0][..]),
            (&["5", "2", "2"], &[1, 4]),
            (&["*.mp3"], &[0, 1]),
            (&["b/*.mp3"], &[1]),
            (&["b"], &[1, 2, 3]),
            (&["b/d/"], &[2]),
            (&["b/**/*.txt"], &[2, 3]),
            (&["e.txt", "1"], &[0, 2]),
            (&["[an]*"], &[0, 4]),
        ] {
            assert_eq!(selected(&FILES, wishes), files, "{wishes:?}");
        }
        assert_eq!(select(&torrent(&FILES), &[]).expect("all"), None);
        for wrong in ["0", "6", "x*", "c.mp3/", "b/["] {
            assert!(select(&torrent(&FILES), &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
