//! Checked subjects and queue groups: what a publish or a subscription may name.
//!
//! A server answers a bad subject with silence or by closing the connection (protocol rules of
//! nats-server 2.15), so everything here is refused before a byte is written. The rules:
//! tokens separated by `.`, none of them empty; no blank, no control byte; `*` stands for one
//! token and `>` for one or more, the latter only at the end. Inside a longer token both are
//! ordinary characters. There is no cap on the length: the limit of a control line is the
//! server's and is not advertised.

use alloc::string::String;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

use bytes::Bytes;

/// What a name that is not UTF-8 reads as where a `str` is asked for.
pub(crate) const NOT_UTF8: &str = "\u{fffd}";

/// Why a text is not a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// There is no character in it.
    #[error("the subject is empty; name at least one token")]
    Empty,
    /// A token is empty: a dot at the start, at the end, or right after another.
    #[error("the subject has an empty token at byte {position}; remove the extra dot")]
    EmptyToken {
        /// Offset in bytes at which the missing token would start.
        position: usize,
    },
    /// A blank or a control byte, which would end the subject on the wire.
    #[error(
        "the subject has a blank or control byte at byte {position}; a subject is tokens separated by dots"
    )]
    Blank {
        /// Offset of that byte.
        position: usize,
    },
    /// A `>` token that is not the last one.
    #[error(
        "the subject has the wildcard '>' at byte {position} before its last token; use '*' there"
    )]
    MisplacedWildcard {
        /// Offset of that `>`.
        position: usize,
    },
}

/// Bytes that end the run of ordinary ones: 1 is the dot, 2 a blank or control byte.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte <= b' ' as usize {
        class[byte] = 2;
        byte += 1;
    }
    class[0x7f] = 2;
    class[b'.' as usize] = 1;
    class
};

/// Checks a subject and tells whether it has wildcards.
#[inline]
const fn check(bytes: &[u8]) -> Result<bool, SubjectError> {
    if is_plain(bytes) { Ok(false) } else { check_each(bytes) }
}

/// Eight times a byte.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of the first of eight bytes that is `.`, `*`, `>` or `:`, which differ in these two bits,
/// and perhaps of others behind it, that are nearly one. Other bits say nothing.
#[inline]
const fn stops(word: u64) -> u64 {
    let others = (word | eight(b'.' ^ b'*' | b'.' ^ b'>')) ^ eight(b'>');
    others.wrapping_sub(eight(1)) & !others
}

/// The high bit of the first of eight bytes that is a blank or control byte, and perhaps of others
/// behind it. Other bits say nothing.
#[inline]
const fn blanks(word: u64) -> u64 {
    let (low, delete) = (word.wrapping_sub(eight(b' ' + 1)), word.wrapping_add(eight(1)));
    (low | delete) & !word
}

/// True for a subject of eight bytes or more, eight at a time, in which no blank stands, and no dot or
/// wildcard at either end or beside another. So it has no wildcards. False says nothing.
#[inline]
const fn is_plain(bytes: &[u8]) -> bool {
    is_plain_from(bytes, 0)
}

/// The same of a subject the first `known` bytes of which begin another that is plain.
#[inline]
pub(crate) const fn is_plain_from(bytes: &[u8], known: usize) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return false;
    };
    // What comes before a subject is like a dot. Of what is known, the last byte has one behind it now.
    let (mut before, at) = if known == 0 { (0x80, 0) } else { (0, known - 1) };
    let Some((_, mut rest)) = bytes.split_at_checked(at) else {
        return false;
    };
    let mut offences = 0;
    while let Some((chunk, others)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let stops = stops(word);
        offences |= blanks(word) | stops & (stops << 8 | before);
        before = stops >> 56;
        rest = others;
    }
    // The last eight overlap those before, so that what comes before them has been seen to.
    let word = u64::from_le_bytes(*last);
    let stops = stops(word);
    offences |= blanks(word) | stops & (stops << 8 | 1 << 63);
    offences & eight(0x80) == 0
}

/// Checks a subject byte by byte and tells whether it has wildcards.
#[cold]
const fn check_each(bytes: &[u8]) -> Result<bool, SubjectError> {
    if bytes.is_empty() {
        return Err(SubjectError::Empty);
    }
    let mut wildcards = false;
    let mut start = 0;
    let mut at = 0;
    while at < bytes.len() {
        let class = CLASS[bytes[at] as usize];
        if class != 0 {
            if class == 2 {
                return Err(SubjectError::Blank { position: at });
            }
            if at == start {
                return Err(SubjectError::EmptyToken { position: at });
            }
            if at - start == 1 {
                match bytes[start] {
                    b'>' => return Err(SubjectError::MisplacedWildcard { position: start }),
                    b'*' => wildcards = true,
                    _ => {}
                }
            }
            start = at + 1;
        }
        at += 1;
    }
    if at == start {
        return Err(SubjectError::EmptyToken { position: at });
    }
    Ok(wildcards || at - start == 1 && matches!(bytes[start], b'*' | b'>'))
}

/// A checked subject that is borrowed from somewhere.
///
/// It may hold wildcards; a publish refuses those.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubjectRef<'a> {
    bytes: &'a [u8],
    wildcards: bool,
}

impl<'a> SubjectRef<'a> {
    /// Checks `subject`.
    ///
    /// # Errors
    ///
    /// A [`SubjectError`] that names the first offence.
    #[inline]
    pub const fn new(subject: &'a str) -> Result<Self, SubjectError> {
        Self::from_bytes(subject.as_bytes())
    }

    /// Checks a subject that came off the wire, for example a reply subject. It need not be UTF-8.
    ///
    /// # Errors
    ///
    /// A [`SubjectError`] that names the first offence.
    #[inline]
    pub const fn from_bytes(bytes: &'a [u8]) -> Result<Self, SubjectError> {
        match check(bytes) {
            Ok(wildcards) => Ok(Self { bytes, wildcards }),
            Err(error) => Err(error),
        }
    }

    /// A subject without wildcards that was checked before.
    #[inline]
    pub(crate) const fn checked(bytes: &'a [u8]) -> Self {
        debug_assert!(is_plain(bytes), "it was checked");
        Self { bytes, wildcards: false }
    }

    /// The bytes that go on the wire.
    #[inline]
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether a token is `*`, or the last one is `>`.
    #[inline]
    #[must_use]
    pub const fn has_wildcards(self) -> bool {
        self.wildcards
    }

    /// An owned copy.
    #[must_use]
    pub fn to_subject(self) -> Subject {
        let name = Name::short(self.bytes, self.wildcards);
        Subject(name.unwrap_or_else(|| Name::Long {
            wildcards: self.wildcards,
            bytes: Bytes::copy_from_slice(self.bytes),
        }))
    }
}

impl fmt::Display for SubjectRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(self.bytes))
    }
}

impl fmt::Debug for SubjectRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubjectRef").field(&String::from_utf8_lossy(self.bytes)).finish()
    }
}

/// A checked subject, owned and cheap to clone.
///
/// ```
/// use midge_proto::Subject;
///
/// const ORDERS: Subject = Subject::from_static("orders.*.placed");
/// assert!(ORDERS.matches(b"orders.eu.placed"));
/// assert!("orders..placed".parse::<Subject>().is_err());
/// ```
#[derive(Clone)]
pub struct Subject(Name);

/// A subject of so many bytes has no memory of its own: it lies where the pointers of a longer one do.
const SHORT: usize = 37;

#[derive(Clone)]
enum Name {
    Short { wildcards: bool, len: u8, bytes: [u8; SHORT] },
    Long { wildcards: bool, bytes: Bytes },
}

impl Name {
    /// `None`: it is longer.
    fn short(subject: &[u8], wildcards: bool) -> Option<Self> {
        let mut bytes = [0; SHORT];
        bytes.get_mut(..subject.len())?.copy_from_slice(subject);
        Some(Self::Short { wildcards, len: subject.len() as u8, bytes })
    }
}

impl Subject {
    /// Checks and copies `subject`.
    ///
    /// # Errors
    ///
    /// A [`SubjectError`] that names the first offence.
    pub fn new(subject: &str) -> Result<Self, SubjectError> {
        SubjectRef::new(subject).map(SubjectRef::to_subject)
    }

    /// A subject that is part of the program. Nothing is copied.
    ///
    /// # Panics
    ///
    /// When `subject` is not valid; in a constant that stops the compilation.
    #[must_use]
    pub const fn from_static(subject: &'static str) -> Self {
        match check(subject.as_bytes()) {
            Ok(wildcards) => {
                Self(Name::Long { wildcards, bytes: Bytes::from_static(subject.as_bytes()) })
            }
            Err(SubjectError::Empty) => panic!("the subject is empty"),
            Err(SubjectError::EmptyToken { .. }) => panic!("the subject has an empty token"),
            Err(SubjectError::Blank { .. }) => panic!("the subject has a blank or control byte"),
            Err(SubjectError::MisplacedWildcard { .. }) => {
                panic!("the subject has a '>' before its last token")
            }
        }
    }

    /// The same subject, borrowed.
    #[inline]
    #[must_use]
    pub fn borrowed(&self) -> SubjectRef<'_> {
        SubjectRef { bytes: self.as_bytes(), wildcards: self.has_wildcards() }
    }

    /// The bytes that go on the wire.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Name::Short { len, bytes, .. } => &bytes[..usize::from(*len)],
            Name::Long { bytes, .. } => bytes,
        }
    }

    /// The subject as text; `"\u{fffd}"` when it was made from bytes that are not UTF-8.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or(NOT_UTF8)
    }

    /// Whether a token is `*`, or the last one is `>`.
    #[inline]
    #[must_use]
    pub const fn has_wildcards(&self) -> bool {
        match self.0 {
            Name::Short { wildcards, .. } | Name::Long { wildcards, .. } => wildcards,
        }
    }

    /// Whether this, taken as a pattern, matches `subject`.
    ///
    /// `subject` is taken literally: a wildcard in it is an ordinary token. A subject that is
    /// empty or has an empty token matches nothing, as on the server.
    #[must_use]
    pub fn matches(&self, subject: &[u8]) -> bool {
        let mut tokens = subject.split(|&byte| byte == b'.');
        for pattern in self.as_bytes().split(|&byte| byte == b'.') {
            let Some(token) = tokens.next().filter(|token| !token.is_empty()) else {
                return false;
            };
            match pattern {
                b">" => return tokens.all(|token| !token.is_empty()),
                b"*" => {}
                _ if pattern == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.borrowed().fmt(f)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Subject").field(&String::from_utf8_lossy(self.as_bytes())).finish()
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(subject: &str) -> Result<Self, SubjectError> {
        Self::new(subject)
    }
}

impl TryFrom<&str> for Subject {
    type Error = SubjectError;

    fn try_from(subject: &str) -> Result<Self, SubjectError> {
        Self::new(subject)
    }
}

impl TryFrom<String> for Subject {
    type Error = SubjectError;

    fn try_from(subject: String) -> Result<Self, SubjectError> {
        let wildcards = check(subject.as_bytes())?;
        let name = Name::short(subject.as_bytes(), wildcards);
        Ok(Self(name.unwrap_or_else(|| Name::Long { wildcards, bytes: Bytes::from(subject) })))
    }
}

impl From<SubjectRef<'_>> for Subject {
    fn from(subject: SubjectRef<'_>) -> Self {
        subject.to_subject()
    }
}

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Subject {}

impl PartialOrd for Subject {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Subject {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Subject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialEq<str> for Subject {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Subject {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// A checked subject, or text that [`check`](Self::check) is still to make one of.
///
/// Text that is equal to the subject of the publish before needs no check.
#[derive(Clone, Copy)]
pub struct SubjectText<'a> {
    bytes: &'a [u8],
    /// Whether there are wildcards, once that is known.
    wildcards: Option<bool>,
}

impl<'a> SubjectText<'a> {
    /// Text that is to be checked.
    #[inline]
    #[must_use]
    pub const fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), wildcards: None }
    }

    /// The bytes, checked or not.
    #[inline]
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The checked subject. What was checked before is not checked again.
    ///
    /// # Errors
    ///
    /// A [`SubjectError`] that names the first offence.
    #[inline]
    pub const fn check(self) -> Result<SubjectRef<'a>, SubjectError> {
        match self.wildcards {
            Some(wildcards) => Ok(SubjectRef { bytes: self.bytes, wildcards }),
            None => SubjectRef::from_bytes(self.bytes),
        }
    }
}

impl<'a> From<SubjectRef<'a>> for SubjectText<'a> {
    #[inline]
    fn from(subject: SubjectRef<'a>) -> Self {
        Self { bytes: subject.bytes, wildcards: Some(subject.wildcards) }
    }
}

impl fmt::Debug for SubjectText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubjectText").field(&String::from_utf8_lossy(self.bytes)).finish()
    }
}

/// What publish and subscribe take: text, which is checked once here, or a subject that has been
/// checked already.
///
/// An implementation gives the same subject each time, and never one that was not checked.
pub trait AsSubject {
    /// The checked subject.
    ///
    /// # Errors
    ///
    /// A [`SubjectError`] when the text is not a subject; nothing was sent then.
    fn as_subject(&self) -> Result<SubjectRef<'_>, SubjectError>;

    /// The same subject, which a publish checks unless it knows the text: what has text at hand gives
    /// that. By default it is checked here.
    ///
    /// # Errors
    ///
    /// As for [`as_subject`](Self::as_subject).
    #[inline]
    fn as_text(&self) -> Result<SubjectText<'_>, SubjectError> {
        self.as_subject().map(SubjectText::from)
    }
}

impl AsSubject for str {
    #[inline]
    fn as_subject(&self) -> Result<SubjectRef<'_>, SubjectError> {
        SubjectRef::new(self)
    }

    #[inline]
    fn as_text(&self) -> Result<SubjectText<'_>, SubjectError> {
        Ok(SubjectText::new(self))
    }
}

impl AsSubject for String {
    #[inline]
    fn as_subject(&self) -> Result<SubjectRef<'_>, SubjectError> {
        SubjectRef::new(self)
    }

    #[inline]
    fn as_text(&self) -> Result<SubjectText<'_>, SubjectError> {
        Ok(SubjectText::new(self))
    }
}

impl AsSubject for Subject {
    #[inline]
    fn as_subject(&self) -> Result<SubjectRef<'_>, SubjectError> {
        Ok(self.borrowed())
    }
}

impl AsSubject for SubjectRef<'_> {
    #[inline]
    fn as_subject(&self) -> Result<SubjectRef<'_>, SubjectError> {
        Ok(*self)
    }
}

impl<T: AsSubject + ?Sized> AsSubject for &T {
    #[inline]
    fn as_subject(&self) -> Result<SubjectRef<'_>, SubjectError> {
        (**self).as_subject()
    }

    #[inline]
    fn as_text(&self) -> Result<SubjectText<'_>, SubjectError> {
        (**self).as_text()
    }
}

/// Why a text is not the name of a queue group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueGroupError {
    /// There is no character in it.
    #[error("the queue group is empty; give it a name or subscribe without one")]
    Empty,
    /// A blank or a control byte, which would end the name on the wire.
    #[error("the queue group has a blank or control byte at byte {position}; remove it")]
    Blank {
        /// Offset of that byte.
        position: usize,
    },
}

/// The checked name of a queue group, owned and cheap to clone.
///
/// Anything without blanks and control bytes, as the server has it; dots and wildcards mean
/// nothing in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueGroup {
    bytes: Bytes,
}

impl QueueGroup {
    /// Checks and copies `name`.
    ///
    /// # Errors
    ///
    /// A [`QueueGroupError`] that names the first offence.
    pub fn new(name: &str) -> Result<Self, QueueGroupError> {
        check_queue_group(name)?;
        Ok(Self { bytes: Bytes::copy_from_slice(name.as_bytes()) })
    }

    /// The bytes that go on the wire.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes).expect("every constructor takes a str")
    }
}

fn check_queue_group(name: &str) -> Result<(), QueueGroupError> {
    if name.is_empty() {
        return Err(QueueGroupError::Empty);
    }
    match name.bytes().position(|byte| CLASS[usize::from(byte)] == 2) {
        Some(position) => Err(QueueGroupError::Blank { position }),
        None => Ok(()),
    }
}

impl fmt::Display for QueueGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for QueueGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("QueueGroup").field(&self.as_str()).finish()
    }
}

impl FromStr for QueueGroup {
    type Err = QueueGroupError;

    fn from_str(name: &str) -> Result<Self, QueueGroupError> {
        Self::new(name)
    }
}

impl TryFrom<&str> for QueueGroup {
    type Error = QueueGroupError;

    fn try_from(name: &str) -> Result<Self, QueueGroupError> {
        Self::new(name)
    }
}

impl TryFrom<String> for QueueGroup {
    type Error = QueueGroupError;

    fn try_from(name: String) -> Result<Self, QueueGroupError> {
        check_queue_group(&name)?;
        Ok(Self { bytes: Bytes::from(name) })
    }
}
