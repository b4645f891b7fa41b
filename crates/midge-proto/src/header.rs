//! Message headers: a map to send, a view of what arrived (ADR-4).
//!
//! On the wire a block is `NATS/1.0[ code[ description]]`, then `name: value` lines, then an
//! empty line, each ended by CR LF. Order, case and repeated names are kept and lookups are
//! case-sensitive. No server validates a block, so the reader takes anything.
//!
//! On case, sources differ: the README of nats.js says that names are made canonical as in MIME
//! and that lookups ignore case; ADR-4, and the code of nats.js, keep them as given. Here ADR-4
//! holds, and a lookup that does otherwise is asked for by name.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use memchr::memchr;

use crate::subject::NOT_UTF8;

const VERSION: &[u8] = b"NATS/1.0";
const EMPTY_BLOCK: &[u8] = b"NATS/1.0\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";

/// Why a header was refused. The map is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The name has no character.
    #[error("the header name is empty")]
    EmptyName,
    /// The name has a byte that is not printable ASCII, or is a blank or a colon.
    #[error(
        "the header name {name:?} has a byte at {position} that is not printable ASCII, or is a blank or a colon"
    )]
    InvalidName {
        /// The name as given.
        name: String,
        /// Offset of the first such byte.
        position: usize,
    },
    /// The value, or a status description, has a CR or LF, which would end the line.
    #[error(
        "the value of header {name:?} has a line break at byte {position}; encode or remove it"
    )]
    InvalidValue {
        /// The name of the header; empty for a status description.
        name: String,
        /// Offset of the first CR or LF.
        position: usize,
    },
    /// A status code is three digits.
    #[error("the status code {code} has more than three digits")]
    InvalidStatus {
        /// The code as given.
        code: u16,
    },
}

/// The status on the first line of a header block, such as `503` or `404 No Messages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status<'a> {
    /// Three digits. Compare this first: texts change between servers.
    pub code: u16,
    /// The text behind the code, possibly empty; `"\u{fffd}"` when it is not UTF-8.
    pub description: &'a str,
}

/// Headers to send.
///
/// It holds the encoded block, so a publish only copies it. A map that is used again after
/// [`clear`](Self::clear) allocates nothing once it is large enough.
///
/// A value goes on the wire as given. Readers trim blanks around it (ADR-4), the ones here
/// included, so blanks at its ends do not arrive.
///
/// ```
/// use midge_proto::HeaderMap;
///
/// let mut headers = HeaderMap::new();
/// headers.append("Nats-Msg-Id", "17")?.append("Trace", "a")?.append("Trace", "b")?;
/// assert_eq!(headers.get("Nats-Msg-Id"), Some("17"));
/// assert_eq!(headers.get_all("Trace").count(), 2);
/// assert!(headers.append("Trace", "c\r\nPUB x 0").is_err());
/// # Ok::<(), midge_proto::HeaderError>(())
/// ```
#[derive(Clone, Default)]
pub struct HeaderMap {
    /// Empty, or a whole block with its final empty line.
    block: Vec<u8>,
}

impl HeaderMap {
    /// An empty map. Allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { block: Vec::new() }
    }

    /// An empty map with room for a block of `bytes` bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { block: Vec::with_capacity(bytes) }
    }

    /// Adds a line behind the others, also when the name is there already.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] for a name that is not printable ASCII without blanks and colons, and for
    /// a value with CR or LF. Values may hold any other byte.
    pub fn append(
        &mut self,
        name: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<&mut Self, HeaderError> {
        let value = value.as_ref();
        check_name(name)?;
        check_value(name, value)?;
        self.append_checked(name, value);
        Ok(self)
    }

    /// Removes every line of exactly this name and adds the new one behind the others.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append).
    pub fn insert(
        &mut self,
        name: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<&mut Self, HeaderError> {
        let value = value.as_ref();
        check_name(name)?;
        check_value(name, value)?;
        self.remove(name);
        self.append_checked(name, value);
        Ok(self)
    }

    /// Removes every line of exactly this name and tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let mut kept = self.first_line_len();
        let mut at = kept;
        while at < self.block.len() {
            let rest = &self.block[at..];
            let len = memchr(b'\n', rest).expect("every line of the block is ended by CR LF") + 1;
            if value_of(&rest[..len - LINE_END.len()], name).is_none() {
                self.block.copy_within(at..at + len, kept);
                kept += len;
            }
            at += len;
        }
        let removed = kept < self.block.len();
        self.block.truncate(kept);
        removed
    }

    /// Sets the status of the first line, as responders, services and servers do.
    ///
    /// # Errors
    ///
    /// [`HeaderError::InvalidStatus`] for a code above 999, [`HeaderError::InvalidValue`] for a
    /// description with CR or LF.
    pub fn set_status(&mut self, code: u16, description: &str) -> Result<&mut Self, HeaderError> {
        if code > 999 {
            return Err(HeaderError::InvalidStatus { code });
        }
        check_value("", description.as_bytes())?;
        self.set_status_checked(code, description.as_bytes());
        Ok(self)
    }

    /// The status, when one was set.
    #[must_use]
    pub fn status(&self) -> Option<Status<'_>> {
        self.view().status()
    }

    /// The first value of this name that is UTF-8. Case-sensitive.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.view().get(name)
    }

    /// Every value of this name, in order. Case-sensitive.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.view().get_all(name)
    }

    /// Names and values in the order of the lines.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.view().iter()
    }

    /// The number of lines; a name that is repeated counts each time.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is neither a line nor a status.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes() == EMPTY_BLOCK
    }

    /// Removes all lines and the status, and keeps the capacity.
    pub fn clear(&mut self) {
        self.block.clear();
    }

    /// The whole block with its final empty line, as it goes on the wire. Of an empty map, the
    /// version line and the empty line.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        if self.block.is_empty() { EMPTY_BLOCK } else { &self.block }
    }

    /// The map as the receiver will see it.
    #[must_use]
    pub fn view(&self) -> Headers<'_> {
        Headers::from_block(self.as_bytes())
    }

    fn append_checked(&mut self, name: &str, value: &[u8]) {
        let line = name.len() + 2 + value.len() + LINE_END.len();
        if self.block.is_empty() {
            self.block.reserve(line + EMPTY_BLOCK.len());
            self.block.extend_from_slice(EMPTY_BLOCK);
        } else {
            self.block.reserve(line);
        }
        self.block.truncate(self.block.len() - LINE_END.len());
        self.block.extend_from_slice(name.as_bytes());
        self.block.extend_from_slice(b": ");
        self.block.extend_from_slice(value);
        self.block.extend_from_slice(b"\r\n\r\n");
    }

    fn set_status_checked(&mut self, code: u16, description: &[u8]) {
        let old = self.first_line_len();
        let digit = |value: u16| b'0' + (value % 10) as u8;
        let code = [b' ', digit(code / 100), digit(code / 10), digit(code)];
        let blank: &[u8] = if description.is_empty() { b"" } else { b" " };
        let line = [VERSION, &code, blank, description, LINE_END].concat();
        if old == 0 {
            self.block.extend_from_slice(LINE_END);
        }
        self.block.splice(..old, line);
    }

    /// Length of the version line with its end; 0 while nothing is written.
    fn first_line_len(&self) -> usize {
        memchr(b'\n', &self.block).map_or(0, |end| end + 1)
    }
}

impl PartialEq for HeaderMap {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for HeaderMap {}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt_as("HeaderMap", f)
    }
}

fn check_name(name: &str) -> Result<(), HeaderError> {
    if name.is_empty() {
        return Err(HeaderError::EmptyName);
    }
    // Without a way out of the loop it is read many bytes at a time.
    if name.bytes().fold(true, |good, byte| good & is_name_byte(byte)) {
        return Ok(());
    }
    match name.bytes().position(|byte| !is_name_byte(byte)) {
        Some(position) => Err(HeaderError::InvalidName { name: name.into(), position }),
        None => Ok(()),
    }
}

fn check_value(name: &str, value: &[u8]) -> Result<(), HeaderError> {
    match memchr::memchr2(b'\r', b'\n', value) {
        Some(position) => Err(HeaderError::InvalidValue { name: name.into(), position }),
        None => Ok(()),
    }
}

/// Headers that were received: a view of the raw block, read when asked.
///
/// Any bytes are accepted. The first line is the version line, never a header; lines that cannot
/// be read are skipped, and [`is_malformed`](Self::is_malformed) tells that the block is not
/// exactly what ADR-4 defines.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    block: &'a [u8],
}

impl<'a> Headers<'a> {
    /// A view of `block`, unchecked.
    #[inline]
    #[must_use]
    pub const fn from_block(block: &'a [u8]) -> Self {
        Self { block }
    }

    /// The block as it arrived.
    #[inline]
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.block
    }

    /// Names and values of the lines that can be read, in order. Blanks around a value are
    /// trimmed.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.iter_bytes()
            .filter_map(|(name, value)| Some((core::str::from_utf8(name).ok()?, value)))
    }

    /// As [`iter`](Self::iter), with names as bytes, which are all of ASCII: to compare them needs no
    /// text.
    pub fn iter_bytes(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut lines = Lines { rest: self.block };
        let _version = lines.next();
        core::iter::from_fn(move || {
            loop {
                if let Some((name, value, rest)) = plain_line(lines.rest) {
                    lines.rest = rest;
                    return Some((name, value));
                }
                let line = lines.next().filter(|line| !line.text.is_empty());
                let Some(line) = line else {
                    // The empty line ends them, whatever follows.
                    lines.rest = &[];
                    return None;
                };
                if let Some(entry) = read_line(line.text) {
                    return Some(entry);
                }
            }
        })
    }

    /// The first value of this name that is UTF-8. Case-sensitive.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.get_all(name).find_map(|value| core::str::from_utf8(value).ok())
    }

    /// The first value of this name. Case-sensitive.
    #[must_use]
    pub fn get_bytes(self, name: &str) -> Option<&'a [u8]> {
        self.get_all(name).next()
    }

    /// Every value of this name, in order. Case-sensitive.
    pub fn get_all<'n>(self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.lines().filter_map(move |line| value_of(line.text, name))
    }

    /// The first value that is UTF-8 of a name that differs in ASCII case at most.
    #[must_use]
    pub fn get_ignore_case(self, name: &str) -> Option<&'a str> {
        self.iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .find_map(|(_, value)| core::str::from_utf8(value).ok())
    }

    /// The first value that is UTF-8 of the canonical form of `name`, as MIME and HTTP write it:
    /// capitals at the start and behind each `-`, small letters elsewhere. So `nats-msg-id` finds
    /// `Nats-Msg-Id`, and no line whose name is in another form.
    #[must_use]
    pub fn get_canonical(self, name: &str) -> Option<&'a str> {
        self.iter()
            .filter(|(other, _)| is_canonical_of(other, name))
            .find_map(|(_, value)| core::str::from_utf8(value).ok())
    }

    /// The status on the first line, when there is one.
    #[must_use]
    pub fn status(self) -> Option<Status<'a>> {
        let (code, description) = self.raw_status()?;
        let description = core::str::from_utf8(description).unwrap_or(NOT_UTF8);
        Some(Status { code, description })
    }

    /// Whether the block is anything else than a `NATS/1.0` line, readable lines and the empty
    /// line at its end. Costs a pass over the block.
    #[must_use]
    pub fn is_malformed(self) -> bool {
        let mut lines = Lines { rest: self.block };
        let Some(first) = lines.next() else {
            return true;
        };
        if !first.ended
            || !matches!(read_version(first.text), Some(Version { malformed: false, .. }))
        {
            return true;
        }
        for line in lines.by_ref() {
            if !line.ended {
                return true;
            }
            if line.text.is_empty() {
                return !lines.rest.is_empty();
            }
            if read_line(line.text).is_none() {
                return true;
            }
        }
        true
    }

    /// A map of the status and of the lines that can be read.
    #[must_use]
    pub fn to_map(self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.block.len() + EMPTY_BLOCK.len());
        if let Some((code, description)) = self.raw_status() {
            map.set_status_checked(code, description);
        }
        for (name, value) in self.iter() {
            map.append_checked(name, value);
        }
        map
    }

    fn raw_status(self) -> Option<(u16, &'a [u8])> {
        read_version(Lines { rest: self.block }.next()?.text)?.status
    }

    /// The lines between the version line and the empty line.
    fn lines(self) -> impl Iterator<Item = Line<'a>> {
        Lines { rest: self.block }.skip(1).take_while(|line| !line.text.is_empty())
    }

    fn fmt_as(self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Entries<'a>(Headers<'a>);
        impl fmt::Debug for Entries<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let lossy = |(name, value)| (name, String::from_utf8_lossy(value));
                f.debug_map().entries(self.0.iter().map(lossy)).finish()
            }
        }
        f.debug_struct(name)
            .field("status", &self.status())
            .field("entries", &Entries(self))
            .finish()
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_as("Headers", f)
    }
}

/// A line without its end; `ended` when that was CR LF.
struct Line<'a> {
    text: &'a [u8],
    ended: bool,
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = match memchr(b'\n', self.rest) {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        let terminated = line.len() < self.rest.len();
        self.rest = rest;
        Some(match line.strip_suffix(b"\r") {
            Some(text) => Line { text, ended: terminated },
            None => Line { text: line, ended: false },
        })
    }
}

/// Name and value of the first line, and what is behind it, where that is written as most are: a name,
/// a colon, a value without CR and LF, and CR LF. `None` for any other, and for what comes too near to
/// the end of the block.
#[inline]
fn plain_line(block: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    // Looked at eight bytes a time. The lowest bit is that of the first such byte, and those above it
    // may be wrong.
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH_BITS: u64 = ONES << 7;
    let is = |word: u64, byte: u8| {
        let different = word ^ (ONES * u64::from(byte));
        different.wrapping_sub(ONES) & !different
    };
    let colon = first_marked(block, |word| {
        let control = word.wrapping_sub(ONES * 0x21) & !word;
        (control | is(word, b':') | is(word, 0x7f) | word) & HIGH_BITS
    })?;
    let (name, rest) = block.split_at_checked(colon)?;
    let rest = rest.strip_prefix(b":").filter(|_| colon > 0)?;
    let end = first_marked(rest, |word| (is(word, b'\r') | is(word, b'\n')) & HIGH_BITS)?;
    let (value, rest) = rest.split_at_checked(end)?;
    Some((name, trim(value), rest.strip_prefix(LINE_END)?))
}

/// The place of the first byte that is marked, in words of eight.
#[inline]
fn first_marked(bytes: &[u8], marks: impl Fn(u64) -> u64) -> Option<usize> {
    let mut at = 0;
    for word in bytes.as_chunks().0 {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return Some(at + (marked.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    None
}

struct Version<'a> {
    status: Option<(u16, &'a [u8])>,
    malformed: bool,
}

/// Reads a version line; `None` when it is none.
fn read_version(line: &[u8]) -> Option<Version<'_>> {
    let rest = line.strip_prefix(VERSION)?;
    let blank = rest.first().is_none_or(|&byte| is_blank(byte));
    if !blank || memchr(b'\r', rest).is_some() {
        return None;
    }
    let rest = trim(rest);
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some(match digits {
        3 => {
            let code = rest[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
            Version { status: Some((code, trim(&rest[3..]))), malformed: false }
        }
        _ => Version { status: None, malformed: !rest.is_empty() },
    })
}

/// Name and value of a header line, `None` when it cannot be read.
fn read_line(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| !is_name_byte(byte))?;
    let (name, rest) = line.split_at(colon);
    let value = rest.strip_prefix(b":")?;
    if name.is_empty() || memchr(b'\r', value).is_some() {
        return None;
    }
    Some((name, trim(value)))
}

/// The value of `line` when it can be read and has this name.
fn value_of<'a>(line: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name.as_bytes())?;
    rest.strip_prefix(b":")?;
    read_line(line).filter(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
}

fn is_canonical_of(canonical: &str, name: &str) -> bool {
    let mut starts = true;
    let form = name.bytes().map(|byte| {
        let form = if starts { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
        starts = byte == b'-';
        form
    });
    canonical.bytes().eq(form)
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b':'
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short way and the long one read the same, whatever stands in a block and wherever.
    #[test]
    fn a_line_is_read_alike_eight_bytes_a_time_and_byte_by_byte() {
        const BYTES: &[u8] = b"aZ9:: \t\r\n\n\0\x7f\x80\xff~!-";
        let mut random: u64 = 7;
        let mut next = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % below
        };
        let mut plain = 0;
        for _ in 0..50_000 {
            let mut block = b"NATS/1.0\r\n".to_vec();
            for _ in 0..next(4) {
                block.extend_from_slice(&b"Name-of-header: a value, of some"[..1 + next(31)]);
                block.extend_from_slice(b"\r\n");
            }
            for _ in 0..next(3) {
                let place = next(block.len());
                block[place] = BYTES[next(BYTES.len())];
            }
            block.extend_from_slice(&b"\r\nbehind it: all\r\n"[..next(19)]);
            let headers = Headers::from_block(&block);
            let long: Vec<_> = headers.lines().filter_map(|line| read_line(line.text)).collect();
            let short: Vec<_> = headers.iter_bytes().collect();
            assert_eq!(headers.iter().count(), short.len(), "names are text");
            assert_eq!(short, long, "{}", block.escape_ascii());
            plain += usize::from(!long.is_empty());
        }
        assert!(plain > 10_000, "{plain}");
    }
}
