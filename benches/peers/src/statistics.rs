//! Medians and their spread.

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
    let costs = records.costs(contestant, workload);
    costs.map(|(repetition, cost)| (repetition, cost.cpu * 1e9 / cost.count as f64)).collect()
}

/// What one costs in terms of the other, in each repetition that has both.
pub(crate) fn ratio(
    records: &Records,
    (one, other): (&str, &str),
    workload: Workload,
) -> Option<Spread> {
    let others = nanoseconds(records, other, workload);
    let ratios =
        nanoseconds(records, one, workload).into_iter().filter_map(|(repetition, mine)| {
            let (_, theirs) = others.iter().find(|(its, _)| *its == repetition)?;
            Some(mine / theirs)
        });
    Spread::of(ratios)
}
