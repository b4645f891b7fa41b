//! Medians and their spread.

use crate::bars::{Bar, FASTEST_ON_ONE, FASTEST_ON_SEVERAL, Measure, ON_ONE, ON_SEVERAL};
use crate::record::Records;
use crate::workload::Workload;

/// The middle of some values, and the smallest and largest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { least, median, most })
    }
}

/// The processor time for a message in the repetitions, in nanoseconds.
pub(crate) fn nanoseconds(
    records: &Records,
    contestant: &str,
    workload: Workload,
) -> Vec<(u32, f64)> {
    values(records, contestant, workload, Measure::Cpu)
}

fn values(
    records: &Records,
    contestant: &str,
    workload: Workload,
    measure: Measure,
) -> Vec<(u32, f64)> {
    match contestant {
        FASTEST_ON_ONE => return fastest(records, ON_ONE, workload, measure),
        FASTEST_ON_SEVERAL => return fastest(records, ON_SEVERAL, workload, measure),
        _ => {}
    }
    let costs = records.costs(contestant, workload);
    costs.filter_map(|(repetition, cost)| Some((repetition, measure.of(cost)?))).collect()
}

/// The least of several, in each repetition.
fn fastest(
    records: &Records,
    peers: &[&str],
    workload: Workload,
    measure: Measure,
) -> Vec<(u32, f64)> {
    let mut least: Vec<(u32, f64)> = Vec::new();
    for peer in peers {
        for (repetition, value) in values(records, peer, workload, measure) {
            match least.iter_mut().find(|(its, _)| *its == repetition) {
                Some((_, known)) => *known = known.min(value),
                None => least.push((repetition, value)),
            }
        }
    }
    least
}

/// What one costs in terms of the other, in each repetition that has both.
pub(crate) fn ratio(
    records: &Records,
    (one, other): (&str, &str),
    workload: Workload,
) -> Option<Spread> {
    let mine = nanoseconds(records, one, workload);
    ratios(&mine, &nanoseconds(records, other, workload))
}

/// The same, by what a bar is about.
pub(crate) fn held(records: &Records, bar: &Bar) -> Option<Spread> {
    let theirs = match bar.measure {
        Measure::WallOf(kind) => Workload { kind, ..bar.workload },
        _ => bar.workload,
    };
    let mine = values(records, bar.one, bar.workload, bar.measure);
    ratios(&mine, &values(records, bar.other, theirs, bar.measure))
}

fn ratios(mine: &[(u32, f64)], theirs: &[(u32, f64)]) -> Option<Spread> {
    let ratios = mine.iter().filter_map(|(repetition, mine)| {
        let (_, theirs) = theirs.iter().find(|(its, _)| its == repetition)?;
        Some(mine / theirs)
    });
    Spread::of(ratios)
}
