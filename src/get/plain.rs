//! `grove get` of what has no `.torrent`: fetched as any program would, with nothing to verify it by.

use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use engine::node::Ways;
use engine::rate::Bucket;
use gate::header;
use tokio::sync::mpsc;
use url::Url;

use super::report::{Report, tell};
use super::{destination, is_folder, tell_place};
use crate::cli::GetArgs;
use crate::context::Context;
use crate::files::write_file;
use crate::output::{ExitStatus, Outcome, Progress, interrupted, print_json, reader_gone};
use crate::rendition::Destination;
use crate::results::{Results, check_name};

/// Fetches a media URL.
pub(super) async fn plain(context: &Context, args: &GetArgs, url: &Url, json: bool) -> Outcome {
    let started = Instant::now();
    eprintln!(
        "note: there is no .torrent beside {}; it is fetched as it is, and cannot be verified or shared",
        gate::shown(url)
    );
    let name = url
        .path_segments()
        .and_then(|mut parts| parts.next_back())
        .filter(|name| !name.is_empty())
        .unwrap_or("download");
    let destination = destination(args.output.as_deref(), name);
    let results = Results::of(context, url.as_str());
    if let Destination::File(path) = &destination {
        tell_place(path, Some(name));
    }
    if let Destination::File(path) = &destination
        && args.output.as_deref().is_none_or(is_folder)
    {
        check_name(name)?;
        results.may_replace(path, |_| false)?;
    }
    let request = context.gate.get(url.clone());
    let request = request.header_text(header::ACCEPT_ENCODING, "identity");
    let mut response = request.send().await?;
    let status = response.status();
    anyhow::ensure!(
        status.is_success(),
        "cannot fetch {}: the server answered {status}",
        gate::shown(url)
    );
    if let Some(encoding) = response.encoding() {
        anyhow::bail!(
            "cannot fetch {}: the server sends it in {encoding} (Content-Encoding), which was not asked for",
            gate::shown(url)
        );
    }
    let total = response.content_length().unwrap_or(0);
    let progress = Progress::bytes(name, total, json);
    let (sender, mut receiver) = mpsc::channel::<Option<Bytes>>(16);
    let to = destination.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut pour = |out: &mut dyn std::io::Write| {
            let mut bytes = 0;
            // The end is said; a channel that merely closes is a download that broke off.
            loop {
                let Some(chunk) = receiver.blocking_recv().context("the download broke off")? else {
                    break;
                };
                out.write_all(&chunk).context("cannot write the result")?;
                bytes += chunk.len() as u64;
            }
            out.flush().context("cannot write the result")?;
            anyhow::ensure!(total == 0 || bytes == total, "only {bytes} of {total} bytes came");
            Ok(bytes)
        };
        match &to {
            Destination::File(path) => write_file(path, |file| pour(file)),
            Destination::Stdout => pour(&mut std::io::stdout().lock()).map_err(reader_gone),
        }
    });
    let down = Bucket::new(context.net.down);
    let mut done = 0;
    let next = async || -> anyhow::Result<Option<Bytes>> {
        let chunk = response.chunk().await?;
        done += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        progress.set(done, total.max(done), "");
        Ok(chunk)
    };
    let fetching = hand_over(next, &down, &sender);
    let fetched = tokio::select! {
        fetched = fetching => Some(fetched),
        () = interrupted() => None,
    };
    progress.finish();
    drop(sender);
    match fetched {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            // The writer sees the channel close without an end, and gives nothing the final name.
            let _ = writing.await;
            return Err(error);
        }
        None => {
            // A pipe that nobody reads would be waited for without end.
            if matches!(destination, Destination::File(_)) {
                let _ = writing.await;
            }
            return Ok(ExitStatus::Interrupted);
        }
    }
    let bytes = writing.await.context("writing the result")??;
    if let Destination::File(path) = &destination {
        tokio::task::block_in_place(|| results.made(path));
    }
    let report = Report {
        event: "complete",
        path: match destination {
            Destination::File(path) => Some(path),
            Destination::Stdout => None,
        },
        info_hash: None,
        bytes,
        content_bytes: bytes,
        from_origin: bytes,
        from_peers: 0,
        wasted: 0,
        uploaded: 0,
        seconds: started.elapsed().as_secs_f64(),
        peers: 0,
        ways: Ways::default(),
        ads: Vec::new(),
        skipped: Vec::new(),
        sources: Vec::new(),
        files: None,
        noted: None,
    };
    if json {
        print_json(&report);
        print_json(&Report {
            event: "done",
            ..report
        });
    } else {
        tell(&report);
    }
    Ok(ExitStatus::Done)
}

/// Hands over what comes, no faster than `down` lets it pass, and then that it ended.
async fn hand_over(
    mut next: impl AsyncFnMut() -> anyhow::Result<Option<Bytes>>,
    down: &Bucket,
    to: &mpsc::Sender<Option<Bytes>>,
) -> anyhow::Result<()> {
    loop {
        let chunk = next().await?;
        let is_end = chunk.is_none();
        down.take(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64))
            .await;
        // The writer is gone only when it failed; its error is the one that matters.
        if to.send(chunk).await.is_err() || is_end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks of ten that are handed over before the first wait.
    async fn at_once(rate: Option<u64>) -> usize {
        let (sender, mut receiver) = mpsc::channel(16);
        let mut left = 10;
        let next = async || {
            left -= 1;
            Ok((left >= 0).then(|| Bytes::from_static(&[7; 10_000])))
        };
        let down = Bucket::new(rate);
        tokio::select! {
            biased;
            handed = hand_over(next, &down, &sender) => handed.expect("nothing fails"),
            () = std::future::ready(()) => {}
        }
        drop(sender);
        let mut chunks = 0;
        while let Some(Some(_)) = receiver.recv().await {
            chunks += 1;
        }
        chunks
    }

    #[tokio::test]
    async fn a_limit_holds_back_what_comes_too_fast() {
        assert_eq!(at_once(None).await, 10);
        // The second has to wait for hours.
        assert_eq!(at_once(Some(1)).await, 1);
    }
}
