//! `make bench`: what auditing costs, against no audit, the event by hand, and what DBAs write today.
//!
//! Absolute times depend on the machine; only ratios within one run count. Rounds are interleaved, so that the
//! machine's moods fall on all systems alike, and medians are taken.

mod systems;
mod workloads;

use std::collections::BTreeMap;

use audit_client_tests::Cluster;
use systems::{System, TABLES};
use workloads::{Bench, Cost, Sizes};

fn main() {
    let quick = std::env::var("QUICK").is_ok_and(|quick| quick == "1");
    let (rounds, sizes) = if quick {
        (3, Sizes { bulk: 20_000, single: 3_000, wide: 1_000 })
    } else {
        (5, Sizes { bulk: 100_000, single: 10_000, wide: 5_000 })
    };
    let cluster = Cluster::temporary("bench");
    let mut postgres = cluster.connect("postgres", "postgres");
    let mut benches = Vec::new();
    for system in System::ALL {
        postgres.batch_execute(&format!("CREATE DATABASE {}", system.name())).expect("a database");
        let mut client = cluster.connect(system.name(), "postgres");
        client.batch_execute(TABLES).expect("the application's tables");
        match client.batch_execute(&system.setup()) {
            Ok(()) => benches.push(Bench::connect(&cluster, system)),
            Err(error) if system == System::TableLog => eprintln!("without table_log: {error}"),
            Err(error) => panic!("{system:?}: {error}"),
        }
    }
    let mut samples: BTreeMap<(String, String), Vec<Cost>> = BTreeMap::new();
    for round in 0..=rounds {
        for bench in &mut benches {
            let mut costs: Vec<_> =
                bench.round(sizes).into_iter().map(|(w, c)| (bench.system.name().to_owned(), w, c)).collect();
            if bench.system == System::Audit {
                costs.extend(bench.floor(sizes).into_iter().map(|(w, c)| ("floor".to_owned(), w, c)));
            }
            // The first round warms up.
            if round > 0 {
                for (system, workload, cost) in costs {
                    samples.entry((system, workload.to_owned())).or_default().push(cost);
                }
            }
        }
        eprintln!("round {round} of {rounds}");
    }
    let median = |system: &str, workload: &str, part: fn(&Cost) -> f64| {
        let mut values: Vec<f64> =
            samples.get(&(system.to_owned(), workload.to_owned()))?.iter().map(part).collect();
        values.sort_by(f64::total_cmp);
        Some(values[values.len() / 2])
    };
    for workload in [
        "single INSERT",
        "single UPDATE",
        "single DELETE",
        "bulk INSERT",
        "bulk UPDATE",
        "bulk DELETE",
        "bulk COPY",
        "wide UPDATE",
        "narrow UPDATE",
    ] {
        print!("{workload:15}");
        for system in ["none", "audit", "by_hand", "row_trigger", "statement_trigger", "table_log", "floor"] {
            match median(system, workload, |cost| cost.micros) {
                Some(micros) => print!(
                    " {system} {micros:.2}us wal {:.0} log {:.0} |",
                    median(system, workload, |cost| cost.wal).unwrap_or_default(),
                    median(system, workload, |cost| cost.log).unwrap_or_default()
                ),
                None => print!(" {system} - |"),
            }
        }
        println!();
    }
    for bench in &mut benches {
        if matches!(bench.system, System::None | System::Audit | System::RowTrigger) {
            println!(
                "peak memory {}: {:.1} MB",
                bench.system.name(),
                bench.peak_memory(if quick { 200_000 } else { 1_000_000 })
            );
        }
    }
}
