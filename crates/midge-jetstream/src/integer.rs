//! Whole numbers of any size, for counters.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Decimal digits of a limb.
const DIGITS: usize = 18;
/// A limb is less than this, so that the sum of two and a carry fits 64 bits.
const BASE: u64 = 1_000_000_000_000_000_000;

/// A whole number of any size, as counters of JetStream have (ADR-49).
///
/// It is added to, subtracted from, compared, read and written, in time that grows with its digits;
/// it never overflows.
///
/// ```
/// use midge_jetstream::Integer;
///
/// let most: Integer = u64::MAX.into();
/// let more = &most + &most;
/// assert_eq!(more.to_string(), "36893488147419103230");
/// assert_eq!((more - Integer::from(i64::MAX)).to_u64(), None);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Integer {
    /// Never of zero.
    negative: bool,
    /// The lowest first, the highest is not 0.
    limbs: Vec<u64>,
}

/// A text that is no whole number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no whole number: it may have a sign, and decimal digits behind it")]
pub struct IntegerError {
    /// What was to be read; its beginning if it is long.
    pub text: String,
}

impl Integer {
    /// Nothing.
    pub const ZERO: Self = Self { negative: false, limbs: Vec::new() };

    /// Whether it is below zero.
    #[must_use]
    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether it is zero.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    /// The same number, if 64 bits with a sign can hold it.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        i64::try_from(self.to_i128()?).ok()
    }

    /// The same number, if 64 bits without a sign can hold it.
    #[must_use]
    pub fn to_u64(&self) -> Option<u64> {
        u64::try_from(self.to_i128()?).ok()
    }

    /// The same number, if 128 bits with a sign can hold it.
    #[must_use]
    pub fn to_i128(&self) -> Option<i128> {
        self.limbs.iter().rev().try_fold(0_i128, |value, limb| {
            let limb = i128::from(*limb);
            let limb = if self.negative { -limb } else { limb };
            value.checked_mul(i128::from(BASE))?.checked_add(limb)
        })
    }

    fn from_magnitude(negative: bool, mut value: u128) -> Self {
        let mut limbs = Vec::new();
        while value > 0 {
            // Less than BASE.
            limbs.push((value % u128::from(BASE)) as u64);
            value /= u128::from(BASE);
        }
        Self::made(negative, limbs)
    }

    fn made(negative: bool, mut limbs: Vec<u64>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self { negative: negative && !limbs.is_empty(), limbs }
    }

    fn add_signed(&mut self, other: &Self, negative: bool) {
        if self.negative == negative {
            add(&mut self.limbs, &other.limbs);
        } else if compare(&self.limbs, &other.limbs) == Ordering::Less {
            let mut limbs = other.limbs.clone();
            subtract(&mut limbs, &self.limbs);
            *self = Self::made(negative, limbs);
            return;
        } else {
            subtract(&mut self.limbs, &other.limbs);
        }
        *self = Self::made(self.negative, core::mem::take(&mut self.limbs));
    }
}

fn compare(one: &[u64], other: &[u64]) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.iter().rev().cmp(other.iter().rev()))
}

fn add(sum: &mut Vec<u64>, other: &[u64]) {
    if sum.len() < other.len() {
        sum.resize(other.len(), 0);
    }
    let mut carry = 0;
    for (index, limb) in sum.iter_mut().enumerate() {
        *limb += other.get(index).copied().unwrap_or(0) + carry;
        carry = *limb / BASE;
        *limb %= BASE;
    }
    if carry > 0 {
        sum.push(carry);
    }
}

/// `other` is not larger.
fn subtract(difference: &mut [u64], other: &[u64]) {
    let mut borrow = 0;
    for (index, limb) in difference.iter_mut().enumerate() {
        let less = other.get(index).copied().unwrap_or(0) + borrow;
        borrow = u64::from(*limb < less);
        *limb = *limb + borrow * BASE - less;
    }
}

macro_rules! from {
    ($($kind:ty)*) => {
        $(impl From<$kind> for Integer {
            fn from(value: $kind) -> Self {
                #[allow(unused_comparisons, reason = "for the kinds without a sign")]
                let negative = value < 0;
                #[allow(clippy::cast_lossless, reason = "of all kinds at once")]
                let value = value as i128;
                Self::from_magnitude(negative, value.unsigned_abs())
            }
        })*
    };
}

from!(i8 i16 i32 i64 i128 u8 u16 u32 u64 isize usize);

impl From<u128> for Integer {
    fn from(value: u128) -> Self {
        Self::from_magnitude(false, value)
    }
}

impl FromStr for Integer {
    type Err = IntegerError;

    fn from_str(text: &str) -> Result<Self, IntegerError> {
        let wrong = || IntegerError { text: text.chars().take(64).collect() };
        let (negative, digits) = match text.as_bytes() {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] | digits => (false, digits),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Err(wrong());
        }
        let limb = |digits: &[u8]| {
            digits.iter().fold(0, |limb, digit| limb * 10 + u64::from(digit - b'0'))
        };
        Ok(Self::made(negative, digits.rchunks(DIGITS).map(limb).collect()))
    }
}

impl fmt::Display for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let mut digits = String::with_capacity(self.limbs.len() * DIGITS + 1);
        match self.limbs.split_last() {
            None => digits.push('0'),
            Some((highest, rest)) => {
                write!(digits, "{highest}")?;
                for limb in rest.iter().rev() {
                    write!(digits, "{limb:018}")?;
                }
            }
        }
        f.pad_integral(!self.negative, "", &digits)
    }
}

impl fmt::Debug for Integer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ord for Integer {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => compare(&self.limbs, &other.limbs),
            (true, true) => compare(&other.limbs, &self.limbs),
        }
    }
}

impl PartialOrd for Integer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Neg for Integer {
    type Output = Self;

    fn neg(self) -> Self {
        Self { negative: !self.negative && !self.limbs.is_empty(), limbs: self.limbs }
    }
}

impl AddAssign<&Self> for Integer {
    fn add_assign(&mut self, other: &Self) {
        self.add_signed(other, other.negative);
    }
}

impl SubAssign<&Self> for Integer {
    fn sub_assign(&mut self, other: &Self) {
        if !other.is_zero() {
            self.add_signed(other, !other.negative);
        }
    }
}

impl Add for Integer {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += &other;
        self
    }
}

impl Add for &Integer {
    type Output = Integer;

    fn add(self, other: Self) -> Integer {
        let mut sum = self.clone();
        sum += other;
        sum
    }
}

impl Sub for Integer {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self -= &other;
        self
    }
}

impl Sub for &Integer {
    type Output = Integer;

    fn sub(self, other: Self) -> Integer {
        let mut difference = self.clone();
        difference -= other;
        difference
    }
}

impl Sum for Integer {
    fn sum<I: Iterator<Item = Self>>(numbers: I) -> Self {
        numbers.fold(Self::ZERO, |sum, number| sum + number)
    }
}

/// As text, since numbers of JSON lose digits in many readers.
impl Serialize for Integer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Integer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or its digits as text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Integer, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Integer, E> {
                Ok(value.into())
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Integer, E> {
                Ok(value.into())
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn integer(text: &str) -> Integer {
        text.parse().unwrap()
    }

    #[test]
    fn counts_past_64_bits_and_below_zero() {
        let mut count = Integer::from(u64::MAX);
        count += &1.into();
        assert_eq!(count.to_string(), "18446744073709551616");
        count -= &integer("28446744073709551616");
        assert_eq!(count.to_string(), "-10000000000000000000");
        assert!(count.is_negative());
        assert_eq!(count.to_i64(), None);
        assert_eq!((count + integer("+10000000000000000000")), Integer::ZERO);
        assert_eq!(integer("-0"), Integer::ZERO);
        assert_eq!(-Integer::ZERO, Integer::ZERO);
        assert_eq!(integer("000123"), 123.into());
    }

    #[test]
    fn carries_and_borrows_go_through_all_limbs() {
        let nines = integer(&"9".repeat(100));
        let one = Integer::from(1);
        let more = &nines + &one;
        assert_eq!(more.to_string(), alloc::format!("1{}", "0".repeat(100)));
        assert_eq!(&more - &one, nines);
        assert_eq!(&one - &more, -nines);
    }

    #[test]
    fn what_is_no_whole_number_is_refused() {
        for wrong in ["", "+", "-", "--1", "1.0", " 1", "1 ", "1e3", "0x1", "١"] {
            assert!(wrong.parse::<Integer>().is_err(), "{wrong:?}");
        }
        assert!("x".repeat(10_000).parse::<Integer>().unwrap_err().text.len() <= 64);
    }

    #[test]
    fn is_text_in_json() {
        let count = integer("-123456789012345678901234567890");
        let json = serde_json::to_string(&count).unwrap();
        assert_eq!(json, r#""-123456789012345678901234567890""#);
        assert_eq!(serde_json::from_str::<Integer>(&json).unwrap(), count);
        assert_eq!(serde_json::from_str::<Integer>("-7").unwrap(), (-7).into());
        assert!(serde_json::from_str::<Integer>("1.5").is_err());
    }

    proptest! {
        #[test]
        fn agrees_with_128_bits(a in any::<i64>(), b in any::<i128>()) {
            let (a, b) = (i128::from(a), b / 2);
            let (one, other) = (Integer::from(a), Integer::from(b));
            prop_assert_eq!((&one + &other).to_i128(), Some(a + b));
            prop_assert_eq!((&one - &other).to_i128(), Some(a - b));
            prop_assert_eq!(one.cmp(&other), a.cmp(&b));
            prop_assert_eq!(other.to_string(), b.to_string());
            prop_assert_eq!(b.to_string().parse::<Integer>(), Ok(other));
        }

        #[test]
        fn sums_and_differences_undo_each_other(a in "-?[0-9]{1,80}", b in "-?[0-9]{1,80}") {
            let (a, b) = (integer(&a), integer(&b));
            prop_assert_eq!(&(&a + &b) - &b, a.clone());
            prop_assert_eq!(&a + &b, &b + &a);
            prop_assert_eq!(a.to_string().parse::<Integer>(), Ok(a));
        }
    }
}
