//! The smallest valid VAST 4.2 document that carries one creative.

use std::{fmt::Write, time::Duration};

use crate::{
    timecode,
    xml::{cdata, escape},
};

/// A VAST 4.2 document with one stand-alone linear ad, for a publisher without an ad server.
///
/// `mime` is the media file's type (`audio/mpeg`, …); `sha256` goes into our extension, and what the viewer fetches is
/// compared with it. Nothing is reported to anybody: the `Impression` that the schema demands is `about:blank`, which is
/// never sent. Elements are in the order of the VAST 4.2 schema.
pub fn inline_for_creative(
    url: &str,
    duration: Duration,
    sha256: Option<[u8; 32]>,
    title: &str,
    mime: &str,
) -> String {
    let id = sha256.map_or_else(|| "inline".to_owned(), |digest| hex::encode(&digest[..8]));
    let mut text = String::with_capacity(1_024);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "<VAST version=\"4.2\" xmlns=\"http://www.iab.com/VAST\"><Ad id=\"{id}\"><InLine><AdSystem>Grove</AdSystem>"
    );
    if let Some(digest) = sha256 {
        let digest = hex::encode(digest);
        let _ = write!(
            text,
            "<Extensions><Extension type=\"grove\"><CreativeSha256>{digest}</CreativeSha256></Extension></Extensions>"
        );
    }
    let _ = write!(
        text,
        "<Impression>{}</Impression><AdServingId>{id}</AdServingId><AdTitle>{}</AdTitle>\
         <Creatives><Creative id=\"{id}\"><Linear><Duration>{}</Duration><MediaFiles>\
         <MediaFile delivery=\"progressive\" type=\"{}\" width=\"0\" height=\"0\">{}</MediaFile>\
         </MediaFiles></Linear><UniversalAdId idRegistry=\"unknown\">{id}</UniversalAdId></Creative></Creatives>\
         </InLine></Ad></VAST>",
        cdata("about:blank"),
        escape(title),
        timecode::format_millis(duration),
        escape(mime),
        cdata(url),
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::vast::parse;

    #[test]
    fn what_is_written_is_read_back() {
        let url = "https://cdn.example/a.mp3?x=1&y=]]>";
        let text = inline_for_creative(
            url,
            Duration::from_millis(8_250),
            Some([9; 32]),
            "Tea & <biscuits>",
            "audio/mpeg",
        );
        let document = parse(&text).expect("own document");
        let ad = &document.ads[0];
        assert_eq!(document.version.as_deref(), Some("4.2"));
        assert_eq!(ad.title.as_deref(), Some("Tea & <biscuits>"));
        assert_eq!(ad.sha256, Some([9; 32]));
        assert_eq!(ad.impressions, Vec::<String>::new());
        assert_eq!(ad.linears[0].duration, Some(Duration::from_millis(8_250)));
        assert_eq!(ad.linears[0].media_files[0].url, url);
        assert_eq!(ad.linears[0].media_files[0].mime.as_deref(), Some("audio/mpeg"));
    }
}
