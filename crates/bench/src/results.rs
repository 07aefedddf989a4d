//! Results: what was promised, where it stands, and where it was measured.

use std::fmt::Write;

use audit_client_tests::root;
use serde::Serialize;

/// Where and how it was measured.
#[derive(Serialize)]
pub struct Environment<S> {
    /// PostgreSQL's version.
    pub postgresql: String,
    /// The processor, how many of them, and the memory.
    pub machine: String,
    /// Rounds that were measured.
    pub rounds: u32,
    /// How much of what.
    pub sizes: S,
}

impl<S> Environment<S> {
    /// Reads what the machine is.
    pub fn read(postgresql: String, rounds: u32, sizes: S) -> Self {
        let line = |file: &str, key: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let machine = format!(
            "{} x {}, {} of memory",
            std::thread::available_parallelism().map_or(0, usize::from),
            line("/proc/cpuinfo", "model name"),
            line("/proc/meminfo", "MemTotal")
        );
        Self { postgresql, machine, rounds, sizes }
    }
}

/// The middle one, `None` of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// One promise and what was measured.
#[derive(Serialize)]
pub struct Ratio {
    /// What is compared.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// What it must not exceed, or must reach if `at_least`.
    pub must: f64,
    /// What is aimed at.
    pub aim: f64,
    /// Whether more is better.
    pub at_least: bool,
    /// Whether the must is kept.
    pub kept: bool,
    /// Whether the aim is reached.
    pub reached: bool,
}

impl Ratio {
    /// A value of which less is better.
    pub fn at_most(name: impl Into<String>, value: f64, must: f64, aim: f64) -> Self {
        Self {
            name: name.into(),
            value,
            must,
            aim,
            at_least: false,
            kept: value <= must,
            reached: value <= aim,
        }
    }

    /// A value of which more is better.
    pub fn at_least(name: impl Into<String>, value: f64, must: f64, aim: f64) -> Self {
        Self {
            name: name.into(),
            value,
            must,
            aim,
            at_least: true,
            kept: value >= must,
            reached: value >= aim,
        }
    }
}

/// The promises and what became of them, as Markdown.
pub fn table(ratios: &[Ratio]) -> String {
    let mut text = String::from("| ratio | measured | must | aim | |\n|---|---|---|---|---|\n");
    for ratio in ratios {
        let sign = if ratio.at_least { "≥" } else { "≤" };
        let verdict = match (ratio.kept, ratio.reached) {
            (_, true) => "aim reached",
            (true, false) => "must kept",
            _ => "**missed**",
        };
        let _ = writeln!(
            text,
            "| {} | {:.2} | {sign} {} | {sign} {} | {verdict} |",
            ratio.name, ratio.value, ratio.must, ratio.aim
        );
    }
    text
}

/// Writes a file of results into `target/bench`.
pub fn write(name: &str, content: &str) {
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder).expect("target/bench can be made");
    std::fs::write(folder.join(name), content).expect("results can be written");
}
