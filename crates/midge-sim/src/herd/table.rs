//! The numbers of a scenario as a table.

use std::time::Duration;

use super::chart::grouped;
use super::{Outcome, Setting};

const HEAD: &str = "\
| setting | attempts/s, peak | after 1 s, peak | wasted attempts | half back | 99 % back | all back | mean downtime | handshakes in vain |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
";

/// A line for each setting, in Markdown. The peaks are those of the worst tenth of a second; wasted
/// attempts are those of a client, on average.
pub fn table(outcomes: &[(Setting, Outcome)]) -> String {
    let mut text = HEAD.to_owned();
    for (setting, outcome) in outcomes {
        let cells = [
            setting.name.to_owned(),
            grouped(outcome.peak().into()),
            grouped(outcome.peak_from(Duration::from_secs(1)).into()),
            format!("{:.1}", outcome.wasted()),
            time(outcome.half),
            time(outcome.most),
            time(outcome.all),
            time(Some(outcome.mean_downtime())),
            grouped(outcome.in_vain),
        ];
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn time(at: Option<Duration>) -> String {
    at.map_or("never".to_owned(), |at| format!("{:.2} s", at.as_secs_f64()))
}
