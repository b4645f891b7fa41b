//! What the firmware costs, and whether README says so.

use std::fmt;
use std::fs;

use crate::{Failure, cargo};

/// A number in README may be off by so many percent: compilers differ a little.
const TOLERANCE: u64 = 10;

/// Memory of a firmware, in bytes.
#[derive(Debug)]
pub(super) struct Cost {
    text: u64,
    data: u64,
    heap: u64,
    stack: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, data, heap, stack } = self;
        write!(f, "text {text}, data {data}, peak heap {heap}, peak stack {stack} bytes")
    }
}

impl Cost {
    /// From the last line that a firmware prints.
    pub(super) fn read(said: &str) -> Result<Self, Failure> {
        let words: Vec<&str> = said.lines().last().unwrap_or_default().split(' ').collect();
        let number = |name: &str| -> Result<u64, Failure> {
            let pair = words.windows(2).find(|pair| pair[0] == name);
            let value = pair.and_then(|pair| pair[1].parse().ok());
            value.ok_or_else(|| format!("the firmware does not say its {name}:\n{said}").into())
        };
        let bss = number("bss")?;
        Ok(Self {
            text: number("text")?,
            data: number("data")? + bss,
            heap: number("heap")?,
            stack: number("stack")?,
        })
    }
}

/// The rows of the table in README, as they must begin. Heap and stack are those of the session,
/// which does the same every time.
fn rows(device: &Cost, session: &Cost, empty: &Cost) -> [(&'static str, u64); 5] {
    [
        ("code and constants of a device, with JSON and formatting", device.text),
        ("code and constants of a firmware that does nothing", empty.text),
        ("static variables", device.data),
        ("heap of the session, at its peak", session.heap),
        ("stack of the session, at its peak", session.stack),
    ]
}

/// Compares the table in README with what was measured.
pub(super) fn check(device: &Cost, session: &Cost, empty: &Cost) -> Result<(), Failure> {
    let text = fs::read_to_string(cargo::root().join("README.md"))?;
    let rows = rows(device, session, empty);
    if let Some((name, _)) = rows.iter().find(|(name, bytes)| !agrees(&text, name, *bytes)) {
        let measured: Vec<String> =
            rows.iter().map(|(name, bytes)| format!("| {name} | {} |", grouped(*bytes))).collect();
        return Err(format!(
            "the row `{name}` in README.md is missing, or off by more than {TOLERANCE} %; measured \
             were\n{}",
            measured.join("\n")
        )
        .into());
    }
    Ok(())
}

fn agrees(text: &str, name: &str, bytes: u64) -> bool {
    let start = format!("| {name} | ");
    let row = text.lines().find_map(|line| line.strip_prefix(&*start));
    let said = row.map(|rest| rest.chars().filter(char::is_ascii_digit).collect::<String>());
    let Some(said) = said.and_then(|digits| digits.parse::<u64>().ok()) else { return false };
    said.abs_diff(bytes) * 100 <= bytes * TOLERANCE
}

/// Digits in groups of three.
fn grouped(bytes: u64) -> String {
    let digits = bytes.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Cost, agrees, grouped};

    #[test]
    fn a_row_agrees_within_a_tenth() {
        let text = "a\n| heap at its peak | 8,208 |\n";
        assert!(agrees(text, "heap at its peak", 8_208));
        assert!(agrees(text, "heap at its peak", 7_600));
        assert!(!agrees(text, "heap at its peak", 7_400));
        assert!(!agrees(text, "heap", 8_208));
        assert!(agrees("| static variables | 0 |", "static variables", 0));
    }

    #[test]
    fn the_cost_stands_in_the_last_line() {
        let cost = Cost::read("text 1\ntext 12 data 3 bss 4 heap 5 stack 6\n").expect("a cost");
        assert_eq!((cost.text, cost.data, cost.heap, cost.stack), (12, 7, 5, 6));
        assert!(Cost::read("72 lines\n").is_err());
    }

    #[test]
    fn digits_stand_in_groups() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
