//! Outcomes as pictures: SVG that needs no script and no font, for light and dark pages.

use std::fmt::Write;
use std::time::Duration;

use super::outcome::{Outcome, SAMPLE, Sample};
use super::{Fate, Herd, Scenario, Setting};

/// Settings that recover later than this are cut off: the others would be too small to see.
const LONGEST: Duration = Duration::from_secs(120);

const STYLE: &str = "<style>\
    text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}\
    .name{font-weight:600}.small,.tick{font-size:11px;fill:#59636e}.end{text-anchor:end}\
    .middle{text-anchor:middle}.page{fill:#fff}.grid{stroke:#d1d9e0;stroke-width:1;fill:none}\
    .away{fill:#59636e;fill-opacity:.16}.attempts{fill:#0969da;fill-opacity:.75}\
    .back{stroke:#d1570d;stroke-width:1.5;fill:none}\
    .limit{stroke:#59636e;stroke-dasharray:4 3;fill:none}.line{stroke-width:2;fill:none}\
    @media(prefers-color-scheme:dark){text{fill:#f0f6fc}.small,.tick{fill:#9198a1}\
    .page{fill:#0d1117}.grid{stroke:#3d444d}.away{fill:#9198a1;fill-opacity:.2}\
    .attempts{fill:#4493f8}.back{stroke:#f0883e}.limit{stroke:#9198a1}}\
    </style>";

/// Colours of lines, which are told apart on white and on black, by most eyes.
const COLOURS: [&str; 8] =
    ["#0a7bc2", "#e69f00", "#009e73", "#cc79a7", "#7a8290", "#56b4e9", "#d55e00", "#9467bd"];

const WIDTH: u32 = 900;
/// Where a plot begins, beside its scale.
const LEFT: u32 = 52;

// ---- attempts ----------------------------------------------------------------------------

const COLUMNS: u32 = 2;
const PANEL: (u32, u32) = (380, 108);
const STRIDE: (u32, u32) = (PANEL.0 + LEFT + 14, PANEL.1 + 62);
const TOP: u32 = 78;
/// The scale of attempts in a second: powers of ten.
const DECADES: (u32, u32) = (2, 7);

/// A panel for each setting: attempts in a second on a logarithmic scale, clients that were connected
/// again, and what the servers could do.
pub fn attempts_chart(herd: &Herd, scenario: &Scenario, outcomes: &[(Setting, Outcome)]) -> String {
    let span = span(outcomes);
    let rows = u32::try_from(outcomes.len()).unwrap_or(0).div_ceil(COLUMNS);
    let mut svg = begin(TOP + rows * STRIDE.1, herd, scenario, outcomes);
    let _ = write!(
        svg,
        "<rect class=\"attempts\" x=\"{LEFT}\" y=\"46\" width=\"14\" height=\"10\"/>\
         <text class=\"small\" x=\"72\" y=\"55\">attempts per second</text>\
         <path class=\"back\" d=\"M212 51h14\"/>\
         <text class=\"small\" x=\"232\" y=\"55\">clients connected again per second</text>\
         <path class=\"limit\" d=\"M470 51h14\"/>\
         <text class=\"small\" x=\"490\" y=\"55\">what the servers can do</text>\
         <rect class=\"away\" x=\"640\" y=\"46\" width=\"14\" height=\"10\"/>\
         <text class=\"small\" x=\"660\" y=\"55\">no server is there</text>"
    );
    for (number, (setting, outcome)) in (0..).zip(outcomes) {
        let (column, row) = (number % COLUMNS, number / COLUMNS);
        let place = (LEFT + column * STRIDE.0, TOP + 20 + row * STRIDE.1);
        panel(&mut svg, place, span, herd, scenario, setting, outcome);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(
    svg: &mut String,
    (left, top): (u32, u32),
    span: Duration,
    herd: &Herd,
    scenario: &Scenario,
    setting: &Setting,
    outcome: &Outcome,
) {
    let (width, height) = PANEL;
    let bottom = top + height;
    let _ =
        write!(svg, "<text class=\"name\" x=\"{left}\" y=\"{}\">{}</text>", top - 7, setting.name);
    let said = format!("{:.1} wasted each", outcome.wasted());
    let _ = write!(
        svg,
        "<text class=\"small end\" x=\"{}\" y=\"{}\">{said}, all back {}</text>",
        left + width,
        top - 7,
        outcome.all.map_or("never".to_owned(), |all| format!("after {:.0} s", all.as_secs_f64()))
    );
    for decade in DECADES.0..=DECADES.1 {
        let y = level(10f64.powi(i32::try_from(decade).unwrap_or(0)), top);
        let label = ["1", "10", "100", "1k", "10k", "100k", "1M", "10M"];
        let label = label.get(decade as usize).unwrap_or(&"");
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{left} {y}h{width}\"/>\
             <text class=\"tick end\" x=\"{}\" y=\"{}\">{label}</text>",
            left - 6,
            y + 4
        );
    }
    seconds(svg, (left, bottom), width, span);
    if let Some(away) = away(scenario) {
        let wide = across(away.min(span), span, width);
        let _ = write!(
            svg,
            "<rect class=\"away\" x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"{height}\"/>"
        );
    }
    let columns = |of: fn(&Sample) -> u32, mean: bool| {
        let per_second = 1.0 / SAMPLE.as_secs_f64();
        (0..width).map(move |x| {
            let from = index(span, x, width);
            let to = index(span, x + 1, width).max(from + 1);
            let samples = (from..to).map(|at| outcome.samples.get(at).map_or(0, of));
            let value = if mean {
                samples.map(f64::from).sum::<f64>() / (to - from) as f64
            } else {
                f64::from(samples.max().unwrap_or(0))
            };
            value * per_second
        })
    };
    let mut area = format!("M{left} {bottom}");
    steps(&mut area, columns(|sample| sample.attempts, false), left, top);
    let _ = write!(svg, "<path class=\"attempts\" d=\"{area}V{bottom}z\"/>");
    let mut line = format!("M{left} {bottom}");
    steps(&mut line, columns(|sample| sample.connected, true), left, top);
    let _ = write!(svg, "<path class=\"back\" d=\"{line}\"/>");
    let able = f64::from(herd.handshakes) * servers(scenario) as f64;
    let _ = write!(svg, "<path class=\"limit\" d=\"M{left} {}h{width}\"/>", level(able, top));
}

/// A stair through the values, one a pixel.
fn steps(path: &mut String, values: impl Iterator<Item = f64>, left: u32, top: u32) {
    let mut last = None;
    for (x, value) in (left..).zip(values) {
        let y = level(value, top);
        if last != Some(y) {
            let _ = write!(path, "H{x}V{y}");
            last = Some(y);
        }
        if x + 1 == left + PANEL.0 {
            let _ = write!(path, "H{}", x + 1);
        }
    }
}

/// The height of a rate.
fn level(rate: f64, top: u32) -> u32 {
    let (low, high) = (f64::from(DECADES.0), f64::from(DECADES.1));
    let part = (rate.max(1.0).log10().clamp(low, high) - low) / (high - low);
    top + PANEL.1 - (part * f64::from(PANEL.1)).round() as u32
}

// ---- connected ---------------------------------------------------------------------------

const PLOT: (u32, u32) = (560, 300);

/// The share of the clients that is connected again, over time.
pub fn connected_chart(
    herd: &Herd,
    scenario: &Scenario,
    outcomes: &[(Setting, Outcome)],
) -> String {
    let span = span(outcomes);
    let (width, height) = PLOT;
    let top = 60;
    let bottom = top + height;
    let mut svg = begin(bottom + 52, herd, scenario, outcomes);
    for quarter in 0..=4 {
        let y = bottom - height * quarter / 4;
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {y}h{width}\"/>\
             <text class=\"tick end\" x=\"{}\" y=\"{}\">{} %</text>",
            LEFT - 6,
            y + 4,
            quarter * 25
        );
    }
    seconds(&mut svg, (LEFT, bottom), width, span);
    if let Some(away) = away(scenario) {
        let wide = across(away.min(span), span, width);
        let _ = write!(
            svg,
            "<rect class=\"away\" x=\"{LEFT}\" y=\"{top}\" width=\"{wide}\" height=\"{height}\"/>"
        );
    }
    // The first, which is compared with the others, is drawn over them.
    let numbered: Vec<_> = (0..).zip(outcomes).collect();
    for (number, (setting, outcome)) in numbered.into_iter().rev() {
        let colour = COLOURS[number as usize % COLOURS.len()];
        let mut back = 0;
        let mut next = 0;
        let mut path = format!("M{LEFT} {bottom}");
        for x in 1..=width {
            let until = index(span, x, width);
            while next < until {
                back += outcome.samples.get(next).map_or(0, |sample| sample.connected);
                next += 1;
            }
            let share = f64::from(back) / f64::from(outcome.lost.max(1));
            let y = f64::from(bottom) - share * f64::from(height);
            let _ = write!(path, "L{} {y:.0}", LEFT + x);
            if back == outcome.lost {
                break;
            }
        }
        let y = top + 14 + number * 34;
        let legend = LEFT + width + 22;
        let _ = write!(
            svg,
            "<path class=\"line\" stroke=\"{colour}\" d=\"{path}\"/>\
             <path class=\"line\" stroke=\"{colour}\" d=\"M{legend} {}h16\"/>\
             <text x=\"{}\" y=\"{y}\">{}</text>",
            y - 4,
            legend + 22,
            setting.name
        );
    }
    svg.push_str("</svg>\n");
    svg
}

// ---- both --------------------------------------------------------------------------------

fn begin(height: u32, herd: &Herd, scenario: &Scenario, outcomes: &[(Setting, Outcome)]) -> String {
    let lost = outcomes.first().map_or(0, |(_, outcome)| outcome.lost);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\
         <title>{title}</title>{STYLE}<rect class=\"page\" width=\"100%\" height=\"100%\"/>\
         <text class=\"title\" x=\"{LEFT}\" y=\"20\">{title}</text>\
         <text class=\"small\" x=\"{LEFT}\" y=\"37\">{} clients, {} of which lose their connection; \
         {} handshakes a second at each server</text>",
        grouped(herd.clients.into()),
        grouped(lost.into()),
        grouped(herd.handshakes.into()),
        title = scenario.title,
    )
}

/// The scale of time under a plot.
fn seconds(svg: &mut String, (left, bottom): (u32, u32), width: u32, span: Duration) {
    let last = span.as_secs();
    let step = if last > 60 { 20 } else { 10 };
    for second in (0..=last).step_by(step) {
        let x = left + across(Duration::from_secs(second), span, width);
        let unit = if second == 0 { " s" } else { "" };
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{x} {bottom}v5\"/>\
             <text class=\"tick middle\" x=\"{x}\" y=\"{}\">{second}{unit}</text>",
            bottom + 18
        );
    }
}

/// What all settings are shown over.
fn span(outcomes: &[(Setting, Outcome)]) -> Duration {
    let ends = outcomes.iter().map(|(_, outcome)| outcome.all.unwrap_or(LONGEST));
    let longest = ends.max().unwrap_or(LONGEST).min(LONGEST);
    Duration::from_secs(longest.as_secs().next_multiple_of(10).max(10))
}

/// When the first server is there.
fn away(scenario: &Scenario) -> Option<Duration> {
    let back = scenario.servers.iter().map(|fate| match fate {
        Fate::Stays => Duration::ZERO,
        Fate::Lost { back, .. } => back.unwrap_or(Duration::MAX),
    });
    back.min().filter(|away| !away.is_zero())
}

/// Servers that there are in the end.
fn servers(scenario: &Scenario) -> usize {
    let there = |fate: &&Fate| !matches!(fate, Fate::Lost { back: None, .. });
    scenario.servers.iter().filter(there).count()
}

fn across(at: Duration, span: Duration, width: u32) -> u32 {
    (at.as_secs_f64() / span.as_secs_f64() * f64::from(width)).round() as u32
}

/// The sample that a pixel begins with.
fn index(span: Duration, x: u32, width: u32) -> usize {
    let samples = span.as_millis() / SAMPLE.as_millis();
    usize::try_from(samples * u128::from(x) / u128::from(width)).unwrap_or(usize::MAX)
}

/// With commas between thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
