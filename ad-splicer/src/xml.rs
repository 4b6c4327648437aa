//! A small tree out of an XML document that strangers wrote, within bounds.
//!
//! Lenient where real VAST and VMAP documents need it: prefixes need no declaration (names are compared without them),
//! a lone `&` is text, unknown entities stay as they are written. Strict where it protects: nothing is ever expanded
//! beyond the five predefined entities and character references, and size, depth, number of elements and of attributes are
//! bounded. Not for validating against a schema, nor for other documents than ads'.

use quick_xml::{
    Reader,
    escape::{resolve_predefined_entity, unescape_with},
    events::{BytesStart, Event},
};

/// Largest document, in bytes.
pub(crate) const MOST_BYTES: usize = 1 << 20;
/// Deepest nesting.
const MOST_DEPTH: usize = 64;
/// Most elements in a document.
const MOST_ELEMENTS: usize = 20_000;
/// Most attributes of one element.
const MOST_ATTRIBUTES: usize = 64;

/// Why a document cannot be read, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} (line {line}, column {column})")]
pub struct XmlError {
    /// What is wrong.
    pub reason: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl XmlError {
    /// An error at a byte offset of a text.
    pub(crate) fn at(text: &str, offset: usize, reason: impl Into<String>) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self {
            reason: reason.into(),
            line,
            column,
        }
    }
}

/// One element.
#[derive(Debug, Clone, Default)]
pub(crate) struct Element {
    /// Name without prefix.
    pub(crate) name: String,
    /// Names without prefix, and values.
    pub(crate) attributes: Vec<(String, String)>,
    /// Elements directly inside.
    pub(crate) children: Vec<Element>,
    /// Text and CDATA directly inside, joined.
    pub(crate) text: String,
    /// Where it begins in the source, in bytes.
    pub(crate) start: usize,
    /// Where it ends in the source.
    pub(crate) end: usize,
}

impl Element {
    /// True when its name is this one, whatever the case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The first child of this name.
    pub(crate) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.is(name))
    }

    /// All children of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.is(name))
    }

    /// An attribute's value, trimmed; `None` when missing or blank.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .attributes
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
        Some(value.trim()).filter(|value| !value.is_empty())
    }

    /// Its text, trimmed; `None` when blank.
    pub(crate) fn value(&self) -> Option<&str> {
        Some(self.text.trim()).filter(|text| !text.is_empty())
    }

    /// The trimmed text of a child.
    pub(crate) fn child_value(&self, name: &str) -> Option<&str> {
        self.child(name)?.value()
    }
}

/// Decodes bytes: UTF-8, UTF-16 (by its byte order mark, or because it begins with a `<` in two bytes), and Latin-1 or
/// windows-1252 when the declaration says so. Anything else is named.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, XmlError> {
    let fail = |reason: String| XmlError {
        reason,
        line: 1,
        column: 1,
    };
    if bytes.len() > MOST_BYTES {
        return Err(fail(format!("the document is longer than {MOST_BYTES} bytes")));
    }
    let utf16 = |pairs: &[u8], from: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = pairs
            .chunks_exact(2)
            .map(|pair| from([pair[0], pair[1]]))
            .collect();
        String::from_utf16(&units).map_err(|_| fail("the document is not valid UTF-16".into()))
    };
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => decode(rest),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        [b'<', 0, 0, 0, ..] | [0, 0, 0, b'<', ..] => {
            Err(fail("the document is in UTF-32, which is not read".into()))
        }
        [b'<', 0, ..] => utf16(bytes, u16::from_le_bytes),
        [0, b'<', ..] => utf16(bytes, u16::from_be_bytes),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let head = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).to_ascii_lowercase();
                let declaration = head.split("?>").next().unwrap_or_default();
                if ["iso-8859-1", "latin1", "windows-1252", "us-ascii"]
                    .iter()
                    .any(|name| declaration.contains(name))
                {
                    return Ok(bytes.iter().map(|&byte| latin(byte)).collect());
                }
                let declared = declaration.split_once("encoding=").map(|(_, rest)| {
                    let named = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
                    let rest = rest.trim_start_matches(['"', '\'']);
                    rest.chars().take_while(named).take(40).collect::<String>()
                });
                if let Some(name) = declared.filter(|name| !name.is_empty() && name != "utf-8") {
                    return Err(fail(format!(
                        "the document is in {name}, which is not read: UTF-8 is"
                    )));
                }
                let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
                Err(XmlError::at(
                    valid,
                    valid.len(),
                    "the document is not UTF-8 and does not say what it is",
                ))
            }
        },
    }
}

/// A byte of Latin-1, or of windows-1252, which is what documents that say so mean by 0x80 to 0x9F (WHATWG Encoding).
fn latin(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9F => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

/// Reads a document into its root element.
pub(crate) fn parse(text: &str) -> Result<Element, XmlError> {
    if text.len() > MOST_BYTES {
        return Err(XmlError::at(
            text,
            MOST_BYTES,
            format!("the document is longer than {MOST_BYTES} bytes"),
        ));
    }
    let mut reader = Reader::from_str(text);
    reader.config_mut().allow_dangling_amp = true;
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    let mut elements = 0_usize;
    loop {
        let start = reader.buffer_position() as usize;
        let event = reader.read_event().map_err(|error| {
            let at = usize::try_from(reader.error_position()).unwrap_or(start);
            XmlError::at(text, at, format!("it is not well-formed XML: {error}"))
        })?;
        let end = reader.buffer_position() as usize;
        let fail = |reason: &str| XmlError::at(text, start, reason);
        match event {
            Event::Start(tag) => {
                elements += 1;
                if root.is_some() {
                    return Err(fail("there is a second root element"));
                }
                if open.len() >= MOST_DEPTH {
                    return Err(fail("it is nested more than 64 deep"));
                }
                if elements > MOST_ELEMENTS {
                    return Err(fail("it has more than 20000 elements"));
                }
                open.push(element(&tag, text, start, end)?);
            }
            Event::Empty(tag) => {
                elements += 1;
                if root.is_some() {
                    return Err(fail("there is a second root element"));
                }
                if elements > MOST_ELEMENTS {
                    return Err(fail("it has more than 20000 elements"));
                }
                let element = element(&tag, text, start, end)?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => root = Some(element),
                }
            }
            Event::End(_) => {
                // The reader checks that end tags match, so one is open here; an error all the same if not.
                let mut element = open
                    .pop()
                    .ok_or_else(|| fail("an element ends that never began"))?;
                element.end = end;
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => root = Some(element),
                }
            }
            Event::Text(content) => match open.last_mut() {
                Some(element) => element.text.extend(meant(&content.xml10_content())),
                None if content.xml10_content().trim().is_empty() => {}
                None => return Err(fail("it is not XML: there is text outside of any element")),
            },
            Event::CData(content) => match open.last_mut() {
                Some(element) => element.text.extend(meant(&content.xml10_content())),
                None => return Err(fail("there is text outside of any element")),
            },
            Event::GeneralRef(reference) => {
                let Some(element) = open.last_mut() else {
                    return Err(fail("there is text outside of any element"));
                };
                let name = reference.xml10_content();
                match (reference.resolve_char_ref(), resolve_predefined_entity(&name)) {
                    (Ok(Some(character)), _) => {
                        element.text.extend(meant(character.encode_utf8(&mut [0; 4])));
                    }
                    (_, Some(entity)) => element.text.push_str(entity),
                    _ => {
                        element.text.push('&');
                        element.text.push_str(&name);
                        element.text.push(';');
                    }
                }
            }
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
    }
    if let Some(unclosed) = open.last() {
        return Err(XmlError::at(
            text,
            text.len(),
            format!("the document ends inside <{}>", unclosed.name),
        ));
    }
    root.ok_or_else(|| XmlError::at(text, 0, "it is not XML: there is no element in it"))
}

fn element(tag: &BytesStart<'_>, text: &str, start: usize, end: usize) -> Result<Element, XmlError> {
    let mut attributes = Vec::new();
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute
            .map_err(|error| XmlError::at(text, start, format!("it is not well-formed XML: {error}")))?;
        if attributes.len() >= MOST_ATTRIBUTES {
            return Err(XmlError::at(
                text,
                start,
                "an element has more than 64 attributes",
            ));
        }
        let raw: &str = attribute.value.as_ref();
        let value: String =
            unescape_with(raw, resolve_predefined_entity).map_or_else(|_| raw.to_owned(), Into::into);
        let value = meant(&value).collect();
        attributes.push((local(attribute.key.as_ref()).to_owned(), value));
    }
    let name = local(tag.name().as_ref()).to_owned();
    Ok(Element {
        name,
        attributes,
        start,
        end,
        ..Element::default()
    })
}

/// XML 1.0 has no control characters, and on a terminal they are commands.
fn is_meant(character: char) -> bool {
    !character.is_control() || matches!(character, '\t' | '\n' | '\r')
}

fn meant(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|character| is_meant(*character))
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

/// Text as it is written between tags or into an attribute.
pub(crate) fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

/// Text as a CDATA section; a `]]>` inside is split over two.
pub(crate) fn cdata(text: &str) -> String {
    format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_it_commands_a_terminal() {
        let text = "<a b='x&#27;]0;y&#7;'>&#27;]52;c;eA==&#x9b;31m \u{1b}[2J<![CDATA[\u{1b}c\tz]]></a>";
        let root = parse(text).expect("lenient");
        assert_eq!(root.attribute("b"), Some("x]0;y"));
        assert_eq!(root.value(), Some("]52;c;eA==31m [2Jc\tz"));
    }

    #[test]
    fn real_documents_are_read() {
        let text = "<?xml version=\"1.0\"?>\n<!DOCTYPE x>\n<!-- c --><a xsi:b='1 &amp; 2'>t&#65;&lt;&nbsp;?x=1&y=2<p:c/> <![CDATA[<z>]]></a>\n";
        let root = parse(text).expect("lenient");
        assert_eq!(root.attribute("b"), Some("1 & 2"));
        assert_eq!(root.value(), Some("tA<&nbsp;?x=1&y=2 <z>"));
        assert_eq!(root.children[0].name, "c");
        assert!(
            text[root.start..root.end].starts_with("<a ") && text[root.start..root.end].ends_with("</a>")
        );
    }

    #[test]
    fn hostile_documents_get_a_bounded_named_error() {
        let bomb =
            "<!DOCTYPE l [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><l>&b;</l>";
        assert_eq!(
            parse(bomb).expect("entities are not expanded").value(),
            Some("&b;")
        );
        let deep = "<a>".repeat(65) + &"</a>".repeat(65);
        assert!(parse(&deep).expect_err("deep").reason.contains("64 deep"));
        let many = format!("<a>{}</a>", "<b/>".repeat(MOST_ELEMENTS));
        assert!(parse(&many).expect_err("many").reason.contains("20000 elements"));
        let attributes: Vec<String> = (0..65).map(|n| format!("x{n}=''")).collect();
        let wide = format!("<a {}/>", attributes.join(" "));
        assert!(parse(&wide).expect_err("wide").reason.contains("64 attributes"));
        assert!(
            parse(&" ".repeat(MOST_BYTES + 1))
                .expect_err("long")
                .reason
                .contains("longer than")
        );
        assert!(
            decode(&vec![b' '; MOST_BYTES + 1])
                .expect_err("long")
                .reason
                .contains("longer than")
        );
    }

    #[test]
    fn rubbish_is_named_with_its_position() {
        for (text, reason, line) in [
            ("", "no element", 1),
            ("hello", "not XML", 1),
            ("<a>\n<b>\n</a>", "not well-formed", 3),
            ("<a>\n<b>", "ends inside <b>", 2),
            ("<a/>\n<b/>", "second root", 2),
            ("<a/>\ntrailing", "outside", 2),
            ("{\"json\": true}", "not XML", 1),
        ] {
            let error = parse(text).expect_err(text);
            assert!(
                error.reason.contains(reason) && error.line <= line,
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn encodings_are_decoded_or_named() {
        let utf16: Vec<u8> = [0xFF, 0xFE]
            .into_iter()
            .chain("<a>é</a>".encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        assert_eq!(decode(&utf16).expect("UTF-16"), "<a>é</a>");
        assert_eq!(decode(b"\xEF\xBB\xBF<a/>").expect("BOM"), "<a/>");
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xE9</a>";
        assert!(decode(latin).expect("Latin-1").ends_with("<a>é</a>"));
        let windows = b"<?xml version='1.0' encoding='windows-1252'?><a>\x80\x99</a>";
        assert!(decode(windows).expect("windows-1252").ends_with("<a>€™</a>"));
        for (from, bytes) in [(0, b"<\0a\0/\0>\0"), (0, b"\0<\0a\0/\0>")] {
            assert_eq!(decode(&bytes[from..]).expect("UTF-16 without a mark"), "<a/>");
        }
        for (bytes, said) in [
            (&b"\xFF\xFE\x00\xD8"[..], "not valid UTF-16"),
            (b"<\0\0\0a\0\0\0", "UTF-32"),
            (
                b"<?xml version='1.0' encoding='Shift_JIS'?><a>\x83\x41\xff</a>",
                "shift_jis",
            ),
        ] {
            let error = decode(bytes).expect_err(said);
            assert!(error.reason.contains(said), "{error}");
        }
        assert!(
            decode(b"<a>\xE9</a>")
                .expect_err("unknown")
                .reason
                .contains("not UTF-8")
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_survives_escaping(text in "\\PC*") {
            let escaped = parse(&format!("<a>{}</a>", escape(&text))).expect("escaped");
            proptest::prop_assert_eq!(&escaped.text, &text);
            let section = parse(&format!("<a>{}</a>", cdata(&text))).expect("cdata");
            proptest::prop_assert_eq!(&section.text, &text);
        }

        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(text) = decode(&bytes) {
                let _ = parse(&text);
            }
        }
    }
}
