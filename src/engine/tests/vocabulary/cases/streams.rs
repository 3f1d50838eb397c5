//! Hidden states of several streams, and what stands beside them in Gemma 3n.

use super::super::WIDTH;
use super::super::reference::{Rows, both, each, layer, tensor};
use super::{Case, case, full, plain, weight};

/// Streams beside the first one.
const OTHERS: usize = 2;

/// Operations on several streams.
pub(super) fn streams() -> Vec<Case> {
    [mixed(), added(), matched(), sparse()].into_iter().chain(columns()).collect()
}

/// Columns of a value, and weights for them.
fn columns() -> [Case; 2] {
    [
        case(
            "columns",
            |g, x| {
                let wide = g.linear(x, plain("wide", WIDTH, 2 * WIDTH));
                let [first, middle, last] = [0, 5, WIDTH].map(|at| g.columns(wide, at..at + WIDTH));
                let sum = g.add(first, middle, -2.0);
                let sum = g.add(sum, last, 0.5);
                let all = g.columns(x, 0..WIDTH);
                g.add(sum, all, 1.0)
            },
            |x| {
                let sum = |(x, row): (&Vec<f64>, Vec<f64>)| {
                    (0..WIDTH).map(|i| row[i] - 2.0 * row[5 + i] + 0.5 * row[WIDTH + i] + x[i]).collect()
                };
                x.iter().zip(layer(x, &full("wide"), 2 * WIDTH)).map(sum).collect()
            },
        ),
        case(
            "a weight for all values and one for each column",
            |g, x| {
                let x = g.scale_columns(x, weight("scalar", [1]));
                g.scale_columns(x, weight("scales", [WIDTH]))
            },
            |x| {
                let (one, each) = (tensor(&full("scalar"), 1)[0], tensor(&full("scales"), WIDTH));
                x.iter().map(|row| row.iter().zip(&each).map(|(x, w)| x * one * w).collect()).collect()
            },
        ),
    ]
}

/// Stream `index` of rows of several.
fn stream(x: &Rows, index: usize) -> Rows {
    x.iter().map(|row| row[index * WIDTH..][..WIDTH].to_vec()).collect()
}

fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / row.len() as f64
}

fn mixed() -> Case {
    const ALL: usize = OTHERS + 1;
    case(
        "mixed streams",
        |g, x| {
            let others = g.linear(x, plain("others", WIDTH, OTHERS * WIDTH));
            let coefficients = g.linear(x, plain("coefficients", WIDTH, ALL * ALL));
            let [first, others] = g.mix_streams([x, others], coefficients);
            let last = g.columns(others, (OTHERS - 1) * WIDTH..OTHERS * WIDTH);
            g.add(first, last, 0.5)
        },
        |x| {
            let others = layer(x, &full("others"), OTHERS * WIDTH);
            let coefficients = layer(x, &full("coefficients"), ALL * ALL);
            let of = |index| if index == 0 { x.clone() } else { stream(&others, index - 1) };
            let mixed = |index: usize| {
                (0..ALL).fold(of(index), |sum, j| {
                    let by = |row: usize| coefficients[row][index * ALL + j];
                    let part = of(j).iter().enumerate().map(|(i, x)| x.iter().map(|x| by(i) * x).collect()).collect();
                    both(&sum, &part, |a, b| a + b)
                })
            };
            both(&mixed(0), &mixed(OTHERS), |first, last| first + 0.5 * last)
        },
    )
    .refused("several streams")
}

fn added() -> Case {
    case(
        "a value onto each stream",
        |g, x| {
            let others = g.linear(x, plain("others", WIDTH, OTHERS * WIDTH));
            let factors = g.linear(x, plain("factors", WIDTH, OTHERS));
            let once = g.add_to_streams(others, x, None);
            let twice = g.add_to_streams(once, x, Some(factors));
            let [first, last] = [0, OTHERS - 1].map(|index| g.columns(twice, index * WIDTH..(index + 1) * WIDTH));
            g.add(first, last, -2.0)
        },
        |x| {
            let (others, factors) = (layer(x, &full("others"), OTHERS * WIDTH), layer(x, &full("factors"), OTHERS));
            let sum = |index: usize| -> Rows {
                let rows = stream(&others, index).into_iter().zip(x).zip(&factors);
                rows.map(|((own, x), by)| own.iter().zip(x).map(|(own, x)| own + (2.0 + by[index]) * x).collect())
                    .collect()
            };
            both(&sum(0), &sum(OTHERS - 1), |first, last| first - 2.0 * last)
        },
    )
    .refused("several streams")
}

fn matched() -> Case {
    case(
        "rows as large as others",
        |g, x| {
            let y = g.linear(x, plain("y", WIDTH, WIDTH));
            let matched = g.match_rms(y, x, 1e-5);
            let small = g.scale(y, 1e-4);
            let small = g.match_rms(small, x, 1e-5);
            g.add(matched, small, 3.0)
        },
        |x| {
            let y = layer(x, &full("y"), WIDTH);
            let square = |row: &[f64]| mean(&row.iter().map(|x| x * x).collect::<Vec<_>>());
            let matched = |y: &Rows| -> Rows {
                let row = |(y, x): (&Vec<f64>, &Vec<f64>)| {
                    let by = (square(x) / square(y).max(1e-5)).sqrt();
                    y.iter().map(|y| y * by).collect()
                };
                y.iter().zip(x).map(row).collect()
            };
            both(&matched(&y), &matched(&each(&y, |y| 1e-4 * y)), |a, b| a + 3.0 * b)
        },
    )
    .refused("several streams")
}

fn sparse() -> Case {
    case(
        "what lies far above the mean",
        |g, x| g.above_mean(x, 0.75),
        |x| {
            let row = |row: &Vec<f64>| {
                let middle = mean(row);
                let variance = mean(&row.iter().map(|x| (x - middle).powi(2)).collect::<Vec<_>>());
                row.iter().map(|x| (x - middle - 0.75 * variance.sqrt()).max(0.0)).collect()
            };
            x.iter().map(row).collect()
        },
    )
    .refused("sparse activation")
}
