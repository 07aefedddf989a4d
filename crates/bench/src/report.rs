//! Results of the write benchmark: the ratios that were promised, and where they stand.

use std::collections::BTreeMap;
use std::fmt::Write;

use audit_bench::results::{self, Environment, Ratio, median};
use serde::Serialize;

use crate::workloads::{Cost, Sizes};

/// All samples, by workload and system.
#[derive(Default, Serialize)]
pub struct Samples {
    costs: BTreeMap<String, BTreeMap<String, Vec<Cost>>>,
    /// Transactions per second, by number of clients and system.
    throughput: BTreeMap<u32, BTreeMap<String, Vec<f64>>>,
}

impl Samples {
    /// Adds one round's cost.
    pub fn add(&mut self, system: &str, workload: &str, cost: Cost) {
        self.costs.entry(workload.into()).or_default().entry(system.into()).or_default().push(cost);
    }

    /// Adds one round's transactions per second.
    pub fn add_throughput(&mut self, system: &str, clients: u32, tps: f64) {
        self.throughput.entry(clients).or_default().entry(system.into()).or_default().push(tps);
    }

    /// The median of one part of the cost.
    pub fn median(&self, system: &str, workload: &str, part: fn(&Cost) -> f64) -> Option<f64> {
        median(self.costs.get(workload)?.get(system)?.iter().map(part).collect())
    }

    /// Median transactions per second.
    pub fn throughput(&self, system: &str, clients: u32) -> Option<f64> {
        median(self.throughput.get(&clients)?.get(system)?.clone())
    }

    /// Median microseconds for each row.
    pub fn micros(&self, system: &str, workload: &str) -> Option<f64> {
        self.median(system, workload, |cost| cost.micros)
    }

    /// What a system adds to no audit, in microseconds for each row.
    pub fn overhead(&self, system: &str, workload: &str) -> Option<f64> {
        Some(self.micros(system, workload)? - self.micros("none", workload)?)
    }
}

/// The single-row workloads.
pub const SINGLE: [&str; 3] = ["single INSERT", "single UPDATE", "single DELETE"];
/// The bulk workloads.
pub const BULK: [&str; 4] = ["bulk INSERT", "bulk UPDATE", "bulk DELETE", "bulk COPY"];
/// The systems in the order of the tables.
pub const COLUMNS: [&str; 7] =
    ["none", "audit", "by_hand", "row_trigger", "statement_trigger", "table_log", "floor"];

/// The systems whose throughput is measured.
const SERVING: [&str; 3] = ["none", "audit", "row_trigger"];

/// The ratios that follow from the samples.
pub fn ratios(samples: &Samples) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    let over = |system: &str, workload: &str| samples.overhead(system, workload);
    for workload in SINGLE {
        let Some(audit) = over("audit", workload) else { continue };
        for (system, shown, must, aim) in
            [("by_hand", "event by hand", 1.0, 0.75), ("row_trigger", "PL/pgSQL row trigger", 0.5, 0.4)]
        {
            if let Some(other) = over(system, workload) {
                ratios.push(Ratio::at_most(
                    format!("{workload}: overhead of the {shown}"),
                    audit / other,
                    must,
                    aim,
                ));
            }
        }
    }
    for workload in BULK {
        let Some(audit) = over("audit", workload) else { continue };
        if let Some(floor) = samples.micros("floor", workload.replace("COPY", "INSERT").as_str()) {
            ratios.push(Ratio::at_most(
                format!("{workload}: overhead of the storage floor"),
                audit / floor,
                1.5,
                1.25,
            ));
        }
        let triggers = [over("row_trigger", workload), over("statement_trigger", workload)];
        if let Some(better) = triggers.into_iter().flatten().min_by(f64::total_cmp) {
            ratios.push(Ratio::at_most(
                format!("{workload}: overhead of the better PL/pgSQL trigger"),
                audit / better,
                0.65,
                0.5,
            ));
        }
    }
    if let (Some(wide), Some(narrow)) = (over("audit", "wide UPDATE"), over("audit", "narrow UPDATE")) {
        ratios.push(Ratio::at_most(
            "UPDATE of one column: wide table of ten columns",
            wide / narrow,
            2.0,
            1.3,
        ));
    }
    let audit = |workload| samples.micros("audit", workload);
    if let (Some(ruled), Some(unruled)) = (audit("ruled UPDATE"), audit("unruled UPDATE")) {
        let name = "bulk UPDATE of a table with rules of columns: of one without rules";
        ratios.push(Ratio::at_most(name, ruled / unruled, 1.15, 1.05));
    }
    let log = |system: &str| samples.median(system, "bulk UPDATE", |cost| cost.log);
    if let (Some(audit), Some(trigger)) = (log("audit"), log("row_trigger")) {
        ratios.push(Ratio::at_most(
            "bytes of log per UPDATE: of the PL/pgSQL trigger's",
            audit / trigger,
            0.6,
            0.45,
        ));
    }
    if let (Some(audit), Some(none)) = (samples.throughput("audit", 8), samples.throughput("none", 8)) {
        ratios.push(Ratio::at_least("8 clients, throughput of no audit", audit / none, 0.8, 0.9));
    }
    ratios
}

/// Everything as JSON.
pub fn json(samples: &Samples, ratios: &[Ratio], environment: &Environment<Sizes>) -> String {
    let everything = serde_json::json!({ "environment": environment, "ratios": ratios, "samples": samples });
    serde_json::to_string_pretty(&everything).expect("results are JSON")
}

/// Everything as Markdown.
pub fn markdown(samples: &Samples, ratios: &[Ratio], environment: &Environment<Sizes>) -> String {
    let Environment { postgresql, machine, rounds, sizes } = environment;
    let Sizes { bulk, single, wide } = sizes;
    let mut text = format!(
        "{postgresql}; {machine}; {rounds} rounds; {bulk} rows in one statement, {single} single-row statements, \
         {wide} rows of the wide table.\n\nMicroseconds for each row, medians:\n\n| |"
    );
    for column in COLUMNS {
        let _ = write!(text, " {column} |");
    }
    text.push_str("\n|---|---|---|---|---|---|---|---|\n");
    for workload in SINGLE.iter().chain(&BULK).chain(&["wide UPDATE", "narrow UPDATE"]) {
        let _ = write!(text, "| {workload} |");
        for column in COLUMNS {
            match samples.micros(column, workload) {
                Some(micros) => {
                    let _ = write!(text, " {micros:.2} |");
                }
                None => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    text.push_str("\nBytes for each row: WAL / log with its indexes:\n\n| |");
    let logged = ["none", "audit", "row_trigger", "statement_trigger", "table_log"];
    for column in logged {
        let _ = write!(text, " {column} |");
    }
    text.push_str("\n|---|---|---|---|---|---|\n");
    for workload in BULK.iter().chain(&["wide UPDATE"]) {
        let _ = write!(text, "| {workload} |");
        for column in logged {
            match (samples.median(column, workload, |c| c.wal), samples.median(column, workload, |c| c.log)) {
                (Some(wal), Some(log)) => {
                    let _ = write!(text, " {wal:.0} / {log:.0} |");
                }
                _ => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    text.push_str(
        "\nTransactions per second, single-row UPDATEs with synchronous_commit on, medians:\n\n| clients |",
    );
    for system in SERVING {
        let _ = write!(text, " {system} |");
    }
    text.push_str("\n|---|---|---|---|\n");
    for clients in [1, 8] {
        let _ = write!(text, "| {clients} |");
        for system in SERVING {
            let _ = write!(text, " {:.0} |", samples.throughput(system, clients).unwrap_or(f64::NAN));
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&results::table(ratios));
    text
}

/// The systems that are drawn, with a colour for each.
const COLOURS: [(&str, &str); 7] = [
    ("none", "#444444"),
    ("audit", "#1b6ca8"),
    ("by_hand", "#8ab17d"),
    ("row_trigger", "#e9c46a"),
    ("statement_trigger", "#e76f51"),
    ("table_log", "#7d5ba6"),
    ("floor", "#bbbbbb"),
];

/// The bar charts: file name and SVG.
pub fn charts(samples: &Samples) -> [(&'static str, String); 3] {
    let workloads: Vec<&str> = SINGLE.into_iter().chain(BULK).collect();
    let added = |system: &str, workload: &str| match system {
        "none" => None,
        "floor" => samples.micros(system, workload),
        _ => samples.overhead(system, workload),
    };
    let stored = |system: &str, workload: &str| {
        samples.median(system, workload, |cost| cost.log).filter(|bytes| *bytes > 0.0)
    };
    let served =
        |system: &str, group: &str| samples.throughput(system, if group == "1 client" { 1 } else { 8 });
    [
        ("overhead.svg", chart("What auditing adds to each row, in microseconds", &workloads, added)),
        ("bytes.svg", chart("Bytes of log for each event, with its indexes", &BULK, stored)),
        (
            "throughput.svg",
            chart("Transactions per second, single-row UPDATEs", &["1 client", "8 clients"], served),
        ),
    ]
}

/// Groups of bars, one for each system that has a value; medians.
fn chart(title: &str, groups: &[&str], value: impl Fn(&str, &str) -> Option<f64>) -> String {
    let systems: Vec<_> = COLOURS
        .into_iter()
        .filter(|(system, _)| groups.iter().any(|group| value(system, group).is_some()))
        .collect();
    let highest = groups
        .iter()
        .flat_map(|group| systems.iter().filter_map(|(system, _)| value(system, group)))
        .fold(1.0, f64::max);
    let (left, height, wide) = (50.0, 300.0, 24.0 + 17.0 * systems.len() as f64);
    let width = left + (wide * groups.len() as f64).max(130.0 * systems.len() as f64) + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"400\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{left}\" y=\"16\" font-size=\"13\">{title} (medians)</text>\n"
    );
    for tick in 0..=4 {
        let y = 40.0 + height * (1.0 - f64::from(tick) / 4.0);
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" x2=\"{width}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.0}</text>",
            left - 5.0,
            y + 4.0,
            highest * f64::from(tick) / 4.0
        );
    }
    for (index, group) in groups.iter().enumerate() {
        let x = left + wide * index as f64 + 8.0;
        for (bar, (system, colour)) in systems.iter().enumerate() {
            let Some(value) = value(system, group) else { continue };
            let tall = height * value.max(0.0) / highest;
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"15\" height=\"{tall}\" fill=\"{colour}\"><title>{system} {value:.2}</title></rect>",
                x + 17.0 * bar as f64,
                40.0 + height - tall
            );
        }
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{}\">{group}</text>", 40.0 + height + 16.0);
    }
    for (index, (system, colour)) in systems.iter().enumerate() {
        let x = left + 130.0 * index as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"375\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"384\">{system}</text>",
            x + 14.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
