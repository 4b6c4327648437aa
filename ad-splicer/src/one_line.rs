//! Names that strangers wrote over several lines, as feeds and ad servers indent them: on one, as they are shown.

/// The words of `text` with a space between them: line ends, tabs and control characters are none of a name.
pub fn one_line(text: &str) -> String {
    let words = text.split(|char: char| char.is_whitespace() || char.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_on_one_line() {
        for (text, shown) in [
            ("\r\n\t Tea &\n\t  Biscuits\u{85}", "Tea & Biscuits"),
            ("Tea\u{0}\u{1b}\u{a0}☕", "Tea ☕"),
            ("Tea", "Tea"),
            (" \n", ""),
        ] {
            assert_eq!(one_line(text), shown);
        }
    }
}
