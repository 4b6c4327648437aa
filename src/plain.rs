//! Text as it may be shown on a terminal, whoever wrote it: names of torrents, files, feeds and advertisers come from strangers.
//!
//! What would do something to a terminal (control characters), or show the text around it in another order or direction (Unicode's
//! bidirectional controls, by which `gpj.exe` reads as `exe.jpg`), is written as `\u` and its number: so it stays the same text in
//! JSON. Letters of languages that are written from right to left need none of them.
//!
//! Not for: names of files on disk, and data.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Whether a character changes the order or the direction in which text is shown.
fn is_direction(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// See the module documentation. Lines may end, and have columns.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    without(text, |char| {
        is_direction(char) || (char.is_control() && !matches!(char, '\n' | '\t'))
    })
}

fn without(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_hidden(char) {
            // Into a string it never fails, and all of them are of 16 bits.
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        } else {
            out.push(char);
        }
    }
    out.into()
}

/// A writer of a log, which has colours of its own; who writes it sees to control characters in what it tells. Each piece that is written is whole lines.
pub(crate) struct Logged<W>(pub(crate) W);

impl<W: Write> Write for Logged<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match without(&String::from_utf8_lossy(bytes), is_direction) {
            Cow::Borrowed(_) => self.0.write_all(bytes)?,
            Cow::Owned(text) => self.0.write_all(text.as_bytes())?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_text_around_or_moves_the_cursor_is_written_out() {
        for (text, shown) in [
            ("photo\u{202e}gpj.exe", "photo\\u202egpj.exe"),
            (
                "\u{2066}a\u{2069}\u{61c}b\u{200f}",
                "\\u2066a\\u2069\\u061cb\\u200f",
            ),
            (
                "red\u{1b}[31m\r\u{9b}2K\u{7f}",
                "red\\u001b[31m\\u000d\\u009b2K\\u007f",
            ),
            (
                "שלום, قهوة, ☕ – two\nlines\tand columns",
                "שלום, قهوة, ☕ – two\nlines\tand columns",
            ),
        ] {
            assert_eq!(plain(text), shown);
        }
    }

    #[test]
    fn json_stays_what_it_was() {
        let name = serde_json::json!({ "name": "photo\u{202e}gpj.exe" });
        let text = name.to_string();
        let shown = plain(&text);
        assert!(!shown.contains('\u{202e}'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), name);
    }

    #[test]
    fn a_log_keeps_its_colours() {
        let mut written = Logged(Vec::new());
        written
            .write_all("\x1b[2ma\u{202e}b\x1b[0m\n".as_bytes())
            .unwrap();
        written.write_all(b"plain\n").unwrap();
        assert_eq!(written.0, b"\x1b[2ma\\u202eb\x1b[0m\nplain\n");
    }
}
