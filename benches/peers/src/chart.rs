//! Outcomes as pictures: SVG that needs no script and no font, for light and dark pages.

use std::fmt::Write;

use crate::contestant::{self, LIMIT};
use crate::record::Records;
use crate::statistics::{self, Spread};
use crate::workload::{Kind, Workload};

const STYLE: &str = "<style>\
    text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-size:15px;font-weight:600}\
    .name{font-weight:600}.small,.tick{font-size:11px;fill:#59636e}.end{text-anchor:end}\
    .middle{text-anchor:middle}.page{fill:#fff}.grid{stroke:#d1d9e0;stroke-width:1;fill:none}\
    .peer{fill:#0969da}.midge{fill:#d1570d}.socket{fill:#59636e}.run{fill-opacity:.4}\
    .limit{stroke:#59636e;stroke-dasharray:4 3;fill:none}\
    @media(prefers-color-scheme:dark){text{fill:#f0f6fc}.small,.tick{fill:#9198a1}\
    .page{fill:#0d1117}.grid{stroke:#3d444d}.peer{fill:#4493f8}.midge{fill:#f0883e}\
    .socket{fill:#9198a1}.limit{stroke:#9198a1}}\
    </style>";

const WIDTH: u32 = 900;
/// Where panels begin, beside the names.
const LEFT: u32 = 118;
const TOP: u32 = 84;
const ROW: u32 = 19;
/// Between two panels of a row.
const GAP: u32 = 26;
const COLUMNS: u32 = 3;

/// A panel for each size: nanoseconds of processor time for a message, on a logarithmic scale, with
/// a dot for each repetition and a bar at their median.
pub(crate) fn chart(records: &Records, kind: Kind, workloads: &[Workload]) -> String {
    let rows: Vec<_> = contestant::ALL
        .iter()
        .filter(|one| workloads.iter().any(|w| records.costs(one.name, *w).next().is_some()))
        .collect();
    let columns = COLUMNS.min(u32::try_from(workloads.len()).unwrap_or(COLUMNS)).max(1);
    let panel_rows = u32::try_from(workloads.len()).unwrap_or(0).div_ceil(columns);
    let width = (WIDTH - LEFT - 14 - GAP * (columns - 1)) / columns;
    let height = ROW * u32::try_from(rows.len()).unwrap_or(0);
    let stride = height + 66;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {total}\" \
         width=\"{WIDTH}\" height=\"{total}\" role=\"img\"><title>{title}</title>{STYLE}\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\
         <text class=\"title\" x=\"14\" y=\"20\">{title}</text>\
         <text class=\"small\" x=\"14\" y=\"38\">processor time of the client process for each \
         {each}, in nanoseconds; a dot is a run, a bar the median, the dashed line the median of \
         plain sockets</text>",
        total = TOP + panel_rows * stride,
        title = kind.title(),
        each = kind.unit(),
    );
    for (number, &workload) in (0..).zip(workloads) {
        let left = LEFT + (number % columns) * (width + GAP);
        let top = TOP + (number / columns) * stride;
        let all = rows.iter().flat_map(|one| statistics::nanoseconds(records, one.name, workload));
        let Some(span) = Spread::of(all.map(|(_, cost)| cost)) else { continue };
        let scale = Scale::over(span, left, width);
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{left}\" y=\"{}\">{} {}</text>",
            top - 9,
            workload.size,
            kind.dimension()
        );
        scale.draw(&mut svg, top, height);
        let limit = statistics::nanoseconds(records, LIMIT, workload);
        if let Some(limit) = Spread::of(limit.into_iter().map(|(_, cost)| cost)) {
            let x = scale.at(limit.median);
            let _ = write!(svg, "<path class=\"limit\" d=\"M{x} {top}v{height}\"/>");
        }
        for (row, one) in (0..).zip(&rows) {
            let y = top + row * ROW + ROW / 2;
            if number % columns == 0 {
                let _ = write!(
                    svg,
                    "<text class=\"end\" x=\"{}\" y=\"{}\">{}</text>",
                    LEFT - 10,
                    y + 4,
                    one.name
                );
            }
            let class = match one.name {
                LIMIT => "socket",
                _ if one.is_midge() => "midge",
                _ => "peer",
            };
            let costs = statistics::nanoseconds(records, one.name, workload);
            for (_, cost) in &costs {
                let x = scale.at(*cost);
                let _ =
                    write!(svg, "<circle class=\"{class} run\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>");
            }
            if let Some(spread) = Spread::of(costs.into_iter().map(|(_, cost)| cost)) {
                let x = scale.at(spread.median) - 1;
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"3\" height=\"13\"/>",
                    y - 6
                );
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Powers of ten, from the one below all values to the one above.
struct Scale {
    low: i32,
    high: i32,
    left: u32,
    width: u32,
}

impl Scale {
    fn over(span: Spread, left: u32, width: u32) -> Self {
        let low = span.least.max(0.1).log10().floor() as i32;
        let high = (span.most.max(0.1).log10().ceil() as i32).max(low + 1);
        Self { low, high, left, width }
    }

    fn at(&self, value: f64) -> u32 {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let part = (value.max(0.1).log10() - low) / (high - low);
        self.left + (part * f64::from(self.width)).round() as u32
    }

    fn draw(&self, svg: &mut String, top: u32, height: u32) {
        for decade in self.low..=self.high {
            let x = self.at(10_f64.powi(decade));
            let label = match decade {
                ..0 => format!("{}", 10_f64.powi(decade)),
                0..3 => format!("{}", 10_u32.pow(decade.unsigned_abs())),
                3..6 => format!("{}k", 10_u32.pow(decade.unsigned_abs() - 3)),
                _ => format!("{}M", 10_u32.pow(decade.unsigned_abs() - 6)),
            };
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{x} {top}v{height}\"/>\
                 <text class=\"tick middle\" x=\"{x}\" y=\"{}\">{label}</text>",
                top + height + 15
            );
        }
    }
}
