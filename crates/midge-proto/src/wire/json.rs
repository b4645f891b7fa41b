//! JSON as INFO and CONNECT have it: one object of flags, numbers, texts and lists of texts.
//!
//! A library for any JSON has code for each type that it is asked for, and errors that can show any
//! value: 30 kB more of a program, which may need no other JSON.

use alloc::string::String;
use alloc::vec::Vec;

/// How many lists and objects may lie in each other.
const MAX_DEPTH: u8 = 127;

/// Why a text is not what was asked for.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) what: String,
    /// Bytes before the place where reading ended.
    pub(super) at: usize,
}

/// A value of any type.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Flag(bool),
    /// Of 64 bits beside its sign; what is longer is a `Fraction`.
    Integer(i128),
    Fraction,
    Text(String),
    /// The texts of a list, and how many values there are beyond the bound.
    List(Vec<String>, usize),
    Object,
}

impl Value {
    pub(super) fn flag(self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(flag) } else { None }
    }

    pub(super) fn text(self) -> Option<String> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn list(self) -> Option<(Vec<String>, usize)> {
        if let Self::List(texts, beyond) = self { Some((texts, beyond)) } else { None }
    }

    pub(super) fn integer<T: TryFrom<i128>>(self) -> Option<T> {
        if let Self::Integer(integer) = self { integer.try_into().ok() } else { None }
    }
}

/// What takes a field of an object, by its name. What it says of a value that is wrong ends the reading.
type Field<'a> = &'a mut dyn FnMut(&str, Value) -> Result<(), String>;

/// Reads an object that is alone in `json`, and hands its fields to `field` as they come. Of lists
/// among them it gives the first `max_texts` texts; values that are not texts are left out.
///
/// It takes what RFC 8259 does, with valid UTF-8, no half of a surrogate pair, and a bounded depth.
pub(super) fn read_object(json: &[u8], max_texts: usize, field: Field<'_>) -> Result<(), Fault> {
    let mut reader = Reader { json, at: 0 };
    if reader.peek() != Some(b'{') {
        return Err(reader.fault("it is not a JSON object"));
    }
    reader.object(MAX_DEPTH, max_texts, field)?;
    match reader.peek() {
        None => Ok(()),
        Some(_) => Err(reader.fault("something follows the JSON")),
    }
}

struct Reader<'a> {
    json: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    #[cold]
    fn fault(&self, what: &str) -> Fault {
        Fault { what: what.into(), at: self.at }
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.json.get(self.at) {
            self.at += 1;
        }
        self.json.get(self.at).copied()
    }

    /// Goes past `text` if that is what is next.
    fn take(&mut self, text: &[u8]) -> bool {
        let is_next = self.json.get(self.at..).is_some_and(|rest| rest.starts_with(text));
        if is_next {
            self.at += text.len();
        }
        is_next
    }

    /// `depth` is how many lists and objects may be opened.
    fn value(&mut self, depth: u8, max_texts: usize) -> Result<Value, Fault> {
        match self.peek() {
            Some(b'"') => self.text().map(Value::Text),
            Some(b'{') => {
                self.object(depth, 0, &mut |_, _| Ok(()))?;
                Ok(Value::Object)
            }
            Some(b'[') => self.list(depth, max_texts),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ if self.take(b"true") => Ok(Value::Flag(true)),
            _ if self.take(b"false") => Ok(Value::Flag(false)),
            _ if self.take(b"null") => Ok(Value::Null),
            _ => Err(self.fault("a value is missing")),
        }
    }

    /// Opens a list or an object. True when it is empty, and closed.
    fn open(&mut self, depth: u8, close: &[u8]) -> Result<(u8, bool), Fault> {
        let inner = depth.checked_sub(1).ok_or_else(|| self.fault("it is nested too deeply"))?;
        self.at += 1;
        self.peek();
        Ok((inner, self.take(close)))
    }

    /// Goes to the next entry. True when there is none.
    fn is_closed(&mut self, close: &[u8]) -> Result<bool, Fault> {
        self.peek();
        if self.take(b",") {
            return Ok(false);
        }
        if self.take(close) { Ok(true) } else { Err(self.fault("a list or object does not end")) }
    }

    fn object(&mut self, depth: u8, max_texts: usize, field: Field<'_>) -> Result<(), Fault> {
        let (depth, mut is_closed) = self.open(depth, b"}")?;
        while !is_closed {
            if self.peek() != Some(b'"') {
                return Err(self.fault("the name of a field is missing"));
            }
            let name = self.text()?;
            self.peek();
            if !self.take(b":") {
                return Err(self.fault("a `:` is missing"));
            }
            let value = self.value(depth, max_texts)?;
            field(&name, value).map_err(|what| Fault { what, at: self.at })?;
            is_closed = self.is_closed(b"}")?;
        }
        Ok(())
    }

    fn list(&mut self, depth: u8, max_texts: usize) -> Result<Value, Fault> {
        let (depth, mut is_closed) = self.open(depth, b"]")?;
        let (mut texts, mut beyond) = (Vec::new(), 0);
        while !is_closed {
            match self.value(depth, 0)? {
                _ if texts.len() == max_texts => beyond += 1,
                Value::Text(text) => texts.push(text),
                _ => {}
            }
            is_closed = self.is_closed(b"]")?;
        }
        Ok(Value::List(texts, beyond))
    }

    fn text(&mut self) -> Result<String, Fault> {
        let mut text = Vec::new();
        self.at += 1;
        loop {
            let rest = &self.json[self.at..];
            let plain = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | ..b' '));
            let plain = plain.count();
            text.extend_from_slice(&rest[..plain]);
            self.at += plain;
            if self.take(b"\"") {
                return String::from_utf8(text).map_err(|_| self.fault("a text is not UTF-8"));
            }
            if !self.take(b"\\") {
                return Err(self.fault("a text does not end, or has a control character"));
            }
            let character = self.escaped().ok_or_else(|| self.fault("an escape is not valid"))?;
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// The character behind a backslash.
    fn escaped(&mut self) -> Option<char> {
        let kind = *self.json.get(self.at)?;
        self.at += 1;
        Some(match kind {
            b'"' | b'\\' | b'/' => kind.into(),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.utf16()?;
                if unit & !0x3ff != 0xd800 || !self.take(b"\\u") {
                    return char::from_u32(unit);
                }
                let low = self.utf16().filter(|low| low & !0x3ff == 0xdc00)?;
                return char::from_u32(0x1_0000 + ((unit & 0x3ff) << 10) + (low & 0x3ff));
            }
            _ => return None,
        })
    }

    /// Four hexadecimal digits.
    fn utf16(&mut self) -> Option<u32> {
        let digits = self.json.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let is_negative = self.take(b"-");
        let digits = self.digits()?;
        if digits.len() > 1 && digits[0] == b'0' {
            return Err(self.fault("a number begins with 0"));
        }
        let mut is_whole = true;
        if self.take(b".") {
            is_whole = false;
            self.digits()?;
        }
        if self.take(b"e") || self.take(b"E") {
            is_whole = false;
            let _ = self.take(b"+") || self.take(b"-");
            self.digits()?;
        }
        let add = |sum: u64, digit: &u8| sum.checked_mul(10)?.checked_add((digit - b'0').into());
        Ok(match digits.iter().try_fold(0, add) {
            Some(size) if is_whole && is_negative => Value::Integer(-i128::from(size)),
            Some(size) if is_whole => Value::Integer(size.into()),
            _ => Value::Fraction,
        })
    }
}

impl<'a> Reader<'a> {
    /// One digit or more.
    fn digits(&mut self) -> Result<&'a [u8], Fault> {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.fault("a digit is missing"));
        }
        self.at += count;
        Ok(&rest[..count])
    }
}

/// An object that is being written, on one line.
pub(super) struct Object<'a>(&'a mut Vec<u8>);

impl<'a> Object<'a> {
    /// Writes behind what is in `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self(out)
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name).extend_from_slice(if flag { b"true" } else { b"false" });
    }

    pub(super) fn number(&mut self, name: &str, number: impl itoa::Integer) {
        self.name(name).extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        write_text(self.name(name), text);
    }

    pub(super) fn list(&mut self, name: &str, texts: &[String]) {
        let out = self.name(name);
        out.push(b'[');
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_text(out, text);
        }
        out.push(b']');
    }

    /// The object is whole.
    pub(super) fn end(self) {
        self.0.push(b'}');
    }

    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        write_text(self.0, name);
        self.0.push(b':');
        self.0
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            ..b' ' => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
