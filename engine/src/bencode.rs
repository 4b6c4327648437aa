//! Canonical bencoding (BEP 3): a strict reader that knows where each value lies, and a writer.
//!
//! The reader takes only what a writer of canonical bencoding makes: keys strictly ascending as raw bytes, no
//! leading zeros, no `-0`, nothing after the value. So equal values have equal bytes, and a value that is
//! hashed or signed (`info`, the cue sheet) has exactly one form. Depth, size and number of values are bounded
//! ([`Limits`]); nothing is allocated for a length that the input does not hold.
//!
//! It is not a serde format: what needs one uses `bt_bencode`, after this reader has judged the bytes.

use std::collections::BTreeMap;

/// Bounds on what the reader takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of input.
    pub bytes: usize,
    /// Lists and dictionaries within each other.
    pub depth: usize,
    /// Values in all, keys counted too.
    pub values: usize,
    /// Whether keys must be in order. Only what is neither hashed nor signed may do without (answers of
    /// trackers, some of which are careless); a key that is there twice then counts once, the first.
    pub ordered: bool,
}

impl Default for Limits {
    /// 10 MB, 100 levels, one million values.
    fn default() -> Self {
        Self {
            bytes: 10_000_000,
            depth: 100,
            values: 1_000_000,
            ordered: true,
        }
    }
}

/// Why input is not canonical bencoding; offsets are bytes from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Larger than [`Limits::bytes`].
    #[error("{bytes} bytes are over the limit of {limit}")]
    TooLarge {
        /// Size of the input.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Deeper than [`Limits::depth`].
    #[error("lists and dictionaries are more than {limit} levels deep at byte {at}")]
    TooDeep {
        /// Where.
        at: usize,
        /// The limit.
        limit: usize,
    },
    /// More values than [`Limits::values`].
    #[error("more than {limit} values")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The input ends within a value.
    #[error("the data ends too early")]
    Truncated,
    /// A byte that begins no value, or does not belong where it is.
    #[error("unexpected byte 0x{byte:02x} at byte {at}")]
    Unexpected {
        /// The byte.
        byte: u8,
        /// Where.
        at: usize,
    },
    /// An integer or a length that is not in its shortest form.
    #[error("a number with needless digits at byte {at}")]
    OverlongInteger {
        /// Where.
        at: usize,
    },
    /// An integer outside of 64 bits, or a length past the end of the input.
    #[error("a number out of range at byte {at}")]
    IntegerRange {
        /// Where.
        at: usize,
    },
    /// A key that is not after the one before it.
    #[error("dictionary keys out of order at byte {at}")]
    UnorderedKeys {
        /// Where.
        at: usize,
    },
    /// A key that is there twice.
    #[error("a dictionary key is there twice at byte {at}")]
    DuplicateKey {
        /// Where.
        at: usize,
    },
    /// Something follows the value.
    #[error("{bytes} bytes follow the end of the data at byte {at}")]
    Trailing {
        /// Where.
        at: usize,
        /// How much.
        bytes: usize,
    },
}

/// A value within the input, with the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// The bencoded bytes of this value.
    pub raw: &'a [u8],
    /// What they say.
    pub kind: Kind<'a>,
}

/// The four kinds of bencoded values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// `i42e`
    Integer(i64),
    /// `5:bytes`
    Bytes(&'a [u8]),
    /// `l…e`
    List(Vec<Value<'a>>),
    /// `d…e`, in the order of the keys.
    Dictionary(Vec<(&'a [u8], Value<'a>)>),
}

impl<'a> Value<'a> {
    /// Reads one value that fills `input`, within the default [`Limits`].
    pub fn parse(input: &'a [u8]) -> Result<Self, Error> {
        Self::parse_within(input, Limits::default())
    }

    /// Reads one value that fills `input`.
    pub fn parse_within(input: &'a [u8], limits: Limits) -> Result<Self, Error> {
        if input.len() > limits.bytes {
            return Err(Error::TooLarge {
                bytes: input.len(),
                limit: limits.bytes,
            });
        }
        let mut reader = Reader {
            input,
            at: 0,
            values: 0,
            limits,
        };
        let value = reader.value(0)?;
        if reader.at < input.len() {
            return Err(Error::Trailing {
                at: reader.at,
                bytes: input.len() - reader.at,
            });
        }
        Ok(value)
    }

    /// The integer, when it is one.
    pub fn integer(&self) -> Option<i64> {
        if let Kind::Integer(value) = self.kind {
            Some(value)
        } else {
            None
        }
    }

    /// The bytes, when it is a byte string.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        if let Kind::Bytes(value) = self.kind {
            Some(value)
        } else {
            None
        }
    }

    /// The text, when it is a byte string in UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The elements, when it is a list.
    pub fn list(&self) -> Option<&[Value<'a>]> {
        if let Kind::List(values) = &self.kind {
            Some(values)
        } else {
            None
        }
    }

    /// The entries in the order of their keys, when it is a dictionary.
    pub fn dictionary(&self) -> Option<&[(&'a [u8], Value<'a>)]> {
        if let Kind::Dictionary(entries) = &self.kind {
            Some(entries)
        } else {
            None
        }
    }

    /// The value under `key`, when it is a dictionary that has it.
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let mut entries = self.dictionary()?.iter();
        entries
            .find(|(name, _)| *name == key.as_bytes())
            .map(|(_, value)| value)
    }
}

struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    values: usize,
    limits: Limits,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Result<u8, Error> {
        self.input.get(self.at).copied().ok_or(Error::Truncated)
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Error> {
        self.count()?;
        let start = self.at;
        let kind = match self.peek()? {
            b'i' => {
                self.at += 1;
                Kind::Integer(self.signed(b'e')?)
            }
            b'0'..=b'9' => Kind::Bytes(self.bytes()?),
            b'l' => {
                self.enter(depth)?;
                let mut values = Vec::new();
                while self.peek()? != b'e' {
                    values.push(self.value(depth + 1)?);
                }
                self.at += 1;
                Kind::List(values)
            }
            b'd' => {
                self.enter(depth)?;
                let mut entries: Vec<(&[u8], Value<'_>)> = Vec::new();
                while self.peek()? != b'e' {
                    let at = self.at;
                    self.count()?;
                    let key = self.bytes()?;
                    match entries
                        .last()
                        .filter(|_| self.limits.ordered)
                        .map(|(last, _)| key.cmp(last))
                    {
                        Some(std::cmp::Ordering::Less) => return Err(Error::UnorderedKeys { at }),
                        Some(std::cmp::Ordering::Equal) => return Err(Error::DuplicateKey { at }),
                        _ => {}
                    }
                    entries.push((key, self.value(depth + 1)?));
                }
                self.at += 1;
                Kind::Dictionary(entries)
            }
            byte => return Err(Error::Unexpected { byte, at: self.at }),
        };
        Ok(Value {
            raw: &self.input[start..self.at],
            kind,
        })
    }

    fn count(&mut self) -> Result<(), Error> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Error::TooMany {
                limit: self.limits.values,
            });
        }
        Ok(())
    }

    fn enter(&mut self, depth: usize) -> Result<(), Error> {
        if depth >= self.limits.depth {
            return Err(Error::TooDeep {
                at: self.at,
                limit: self.limits.depth,
            });
        }
        self.at += 1;
        Ok(())
    }

    fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let at = self.at;
        let length = usize::try_from(self.digits(b':', false)?).map_err(|_| Error::IntegerRange { at })?;
        let rest = &self.input[self.at..];
        let bytes = rest.get(..length).ok_or(Error::Truncated)?;
        self.at += length;
        Ok(bytes)
    }

    fn signed(&mut self, end: u8) -> Result<i64, Error> {
        let at = self.at;
        let negative = self.peek()? == b'-';
        if negative {
            self.at += 1;
        }
        let magnitude = self.digits(end, negative)?;
        let value = if negative {
            -i128::from(magnitude)
        } else {
            i128::from(magnitude)
        };
        i64::try_from(value).map_err(|_| Error::IntegerRange { at })
    }

    /// Digits up to `end`, which is taken too. `nonzero` also refuses a lone 0 (as in `-0`).
    fn digits(&mut self, end: u8, nonzero: bool) -> Result<u64, Error> {
        let start = self.at;
        let mut value: u64 = 0;
        loop {
            match self.peek()? {
                byte @ b'0'..=b'9' => {
                    if self.at > start && self.input[start] == b'0' {
                        return Err(Error::OverlongInteger { at: start });
                    }
                    value = value
                        .checked_mul(10)
                        .and_then(|value| value.checked_add(u64::from(byte - b'0')))
                        .ok_or(Error::IntegerRange { at: start })?;
                    self.at += 1;
                }
                byte if byte == end && self.at > start => {
                    if nonzero && value == 0 {
                        return Err(Error::OverlongInteger { at: start });
                    }
                    self.at += 1;
                    return Ok(value);
                }
                byte => return Err(Error::Unexpected { byte, at: self.at }),
            }
        }
    }
}

/// A value to write. Its encoding is canonical by construction, given that [`Raw`](Self::Raw) is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encode {
    /// An integer.
    Integer(i64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Encode>),
    /// A dictionary.
    Dictionary(BTreeMap<Vec<u8>, Encode>),
    /// Bytes that are a bencoded value already.
    Raw(Vec<u8>),
}

impl Encode {
    /// A byte string of text.
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    /// A dictionary of these entries.
    pub fn dictionary<'k>(entries: impl IntoIterator<Item = (&'k str, Encode)>) -> Self {
        Self::Dictionary(
            entries
                .into_iter()
                .map(|(key, value)| (key.as_bytes().to_vec(), value))
                .collect(),
        )
    }

    /// The encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(value) => out.extend_from_slice(format!("i{value}e").as_bytes()),
            Self::Bytes(bytes) => write_bytes(bytes, out),
            Self::List(values) => {
                out.push(b'l');
                for value in values {
                    value.write(out);
                }
                out.push(b'e');
            }
            Self::Dictionary(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    write_bytes(key, out);
                    value.write(out);
                }
                out.push(b'e');
            }
            Self::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_canonical_is_refused_by_name() {
        type Check = fn(&Error) -> bool;
        let table: &[(&[u8], Check)] = &[
            (b"", |e| matches!(e, Error::Truncated)),
            (b"i", |e| matches!(e, Error::Truncated)),
            (b"ie", |e| matches!(e, Error::Unexpected { .. })),
            (b"i-e", |e| matches!(e, Error::Unexpected { .. })),
            (b"i-0e", |e| matches!(e, Error::OverlongInteger { .. })),
            (b"i00e", |e| matches!(e, Error::OverlongInteger { .. })),
            (b"i07e", |e| matches!(e, Error::OverlongInteger { .. })),
            (b"i-07e", |e| matches!(e, Error::OverlongInteger { .. })),
            (b"i+7e", |e| matches!(e, Error::Unexpected { .. })),
            (b"i 7e", |e| matches!(e, Error::Unexpected { .. })),
            (b"i9223372036854775808e", |e| {
                matches!(e, Error::IntegerRange { .. })
            }),
            (b"i99999999999999999999999e", |e| {
                matches!(e, Error::IntegerRange { .. })
            }),
            (b"03:abc", |e| matches!(e, Error::OverlongInteger { .. })),
            (b"3:ab", |e| matches!(e, Error::Truncated)),
            (b"99999999999:a", |e| matches!(e, Error::Truncated)),
            (b":", |e| matches!(e, Error::Unexpected { .. })),
            (b"l", |e| matches!(e, Error::Truncated)),
            (b"d1:a", |e| matches!(e, Error::Truncated)),
            (b"di1ei2ee", |e| matches!(e, Error::Unexpected { .. })),
            (b"d1:bi1e1:ai1ee", |e| matches!(e, Error::UnorderedKeys { .. })),
            (b"d1:ai1e1:ai1ee", |e| matches!(e, Error::DuplicateKey { .. })),
            (b"i1ei2e", |e| matches!(e, Error::Trailing { at: 3, bytes: 3 })),
            (b"de\n", |e| matches!(e, Error::Trailing { .. })),
            (b"x", |e| matches!(e, Error::Unexpected { byte: b'x', at: 0 })),
        ];
        for (input, expected) in table {
            let error = Value::parse(input).expect_err(&String::from_utf8_lossy(input));
            assert!(expected(&error), "{}: {error:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn limits_hold() {
        let nested = |depth: usize| [vec![b'l'; depth], vec![b'e'; depth]].concat();
        assert!(Value::parse(&nested(100)).is_ok());
        assert!(matches!(
            Value::parse(&nested(101)),
            Err(Error::TooDeep { at: 100, limit: 100 })
        ));
        assert!(matches!(
            Value::parse(&nested(2_000_000)),
            Err(Error::TooDeep { .. })
        ));
        let limits = Limits {
            bytes: 8,
            depth: 1,
            values: 3,
            ordered: true,
        };
        assert!(Value::parse_within(b"li1ei2ee", limits).is_ok());
        let careless = Limits {
            ordered: false,
            ..Limits::default()
        };
        let value =
            Value::parse_within(b"d1:bi1e1:ai2e1:bi3ee", careless).expect("order does not matter here");
        assert_eq!(value.get("b").and_then(Value::integer), Some(1));
        assert!(matches!(
            Value::parse_within(b"l0:0:0:e", limits),
            Err(Error::TooMany { limit: 3 })
        ));
        assert!(matches!(
            Value::parse_within(b"7:1234567", limits),
            Err(Error::TooLarge { bytes: 9, limit: 8 })
        ));
    }

    fn any_value() -> impl Strategy<Value = Encode> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Encode::Integer),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Encode::Bytes),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Encode::List),
                prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..4), inner, 0..4)
                    .prop_map(Encode::Dictionary),
            ]
        })
    }

    fn to_encode(value: &Value<'_>) -> Encode {
        match &value.kind {
            Kind::Integer(value) => Encode::Integer(*value),
            Kind::Bytes(bytes) => Encode::Bytes(bytes.to_vec()),
            Kind::List(values) => Encode::List(values.iter().map(to_encode).collect()),
            Kind::Dictionary(entries) => Encode::Dictionary(
                entries
                    .iter()
                    .map(|(key, value)| (key.to_vec(), to_encode(value)))
                    .collect(),
            ),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_reads_back(value in any_value()) {
            let bytes = value.to_bytes();
            let read = Value::parse(&bytes).unwrap();
            prop_assert_eq!(read.raw, &bytes[..]);
            prop_assert_eq!(to_encode(&read), value);
        }

        #[test]
        fn what_is_read_writes_back_the_same_bytes(bytes in "[ilde0-3:a-]{0,12}") {
            if let Ok(value) = Value::parse(bytes.as_bytes()) {
                prop_assert_eq!(to_encode(&value).to_bytes(), bytes.into_bytes());
            }
        }
    }
}
