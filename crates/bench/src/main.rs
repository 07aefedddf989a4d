//! `make bench`: what auditing costs, against no audit, the event by hand, and what DBAs write today.
//!
//! Absolute times depend on the machine; only ratios within one run count. Rounds are interleaved, so that the
//! machine's moods fall on all systems alike, and medians are taken.

mod report;
mod systems;
mod workloads;

use std::collections::BTreeMap;

use audit_client_tests::{Cluster, root};
use report::{Ratio, Samples};
use systems::{System, TABLES};
use workloads::{Bench, Sizes};

/// The first round only fills caches.
const WARM_UP: Sizes = Sizes { bulk: 10_000, single: 2_000, wide: 100 };

fn main() {
    let quick = std::env::var("QUICK").is_ok_and(|quick| quick == "1");
    let (rounds, sizes, seconds, many) = if quick {
        (3, Sizes { bulk: 20_000, single: 3_000, wide: 500 }, 2, 200_000)
    } else {
        (5, Sizes { bulk: 100_000, single: 10_000, wide: 1_000 }, 6, 1_000_000)
    };
    let cluster = Cluster::temporary("bench");
    let mut benches = prepare(&cluster);

    let mut samples = Samples::default();
    for round in 0..=rounds {
        for bench in &mut benches {
            let name = bench.system.name();
            let sizes = if round == 0 { WARM_UP } else { sizes };
            let mut costs: Vec<_> = bench.round(sizes).into_iter().map(|(w, c)| (name, w, c)).collect();
            if bench.system == System::Audit {
                costs.extend(bench.floor(sizes).into_iter().map(|(w, c)| ("floor", w, c)));
            }
            // The first round warms up.
            if round > 0 {
                costs.into_iter().for_each(|(system, workload, cost)| samples.add(system, workload, cost));
            }
        }
        eprintln!("round {round} of {rounds}");
    }
    let mut ratios = report::ratios(&samples);

    let mut throughput: BTreeMap<String, f64> = BTreeMap::new();
    for clients in [1, 8] {
        for system in [System::None, System::Audit, System::RowTrigger] {
            if let Some(bench) = benches.iter_mut().find(|bench| bench.system == system) {
                throughput.insert(
                    format!("{} {clients}", system.name()),
                    bench.throughput(&cluster, clients, seconds),
                );
            }
        }
    }
    ratios.push(Ratio::at_least(
        "8 clients, throughput of no audit",
        throughput["audit 8"] / throughput["none 8"],
        0.8,
        0.9,
    ));

    drop(benches);
    let memory = |system| Bench::connect(&cluster, system).peak_memory(many);
    let (none, audit, trigger) = (memory(System::None), memory(System::Audit), memory(System::RowTrigger));
    ratios.push(Ratio::at_most(
        format!("extra peak memory of a {many}-row UPDATE, MB"),
        audit - none,
        128.0,
        32.0,
    ));

    let mut client = cluster.connect("postgres", "postgres");
    let version: String = client.query_one("SELECT version()", &[]).expect("a version").get(0);
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let environment = format!(
        "{version}; {cpus} processors; {} rows in one statement, {} single-row statements, {rounds} rounds.",
        sizes.bulk, sizes.single
    );
    let mut text = report::markdown(&samples, &ratios, &environment);
    text.push_str("\nTransactions per second (single-row UPDATE, synchronous_commit on): ");
    text.push_str(
        &throughput.iter().map(|(name, tps)| format!("{name}: {tps:.0}")).collect::<Vec<_>>().join(", "),
    );
    text.push_str(&format!(
        ".\n\nPeak private memory of a {many}-row UPDATE, MB: none {none:.0}, audit {audit:.0}, row_trigger {trigger:.0}.\n"
    ));

    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder).expect("target/bench can be made");
    let write = |name: &str, content: &str| {
        std::fs::write(folder.join(name), content).expect("results can be written")
    };
    write("results.json", &serde_json::to_string_pretty(&ratios).expect("ratios are JSON"));
    write("results.md", &text);
    write("overhead.svg", &report::chart(&samples));
    println!("{text}");
}

/// A database for each system, with the application's tables.
fn prepare(cluster: &Cluster) -> Vec<Bench> {
    let mut postgres = cluster.connect("postgres", "postgres");
    let mut benches = Vec::new();
    for system in System::ALL {
        postgres.batch_execute(&format!("CREATE DATABASE {}", system.name())).expect("a database");
        let mut client = cluster.connect(system.name(), "postgres");
        client.batch_execute(TABLES).expect("the application's tables");
        match client.batch_execute(&system.setup()) {
            Ok(()) => benches.push(Bench::connect(cluster, system)),
            Err(error) if system == System::TableLog => eprintln!("without table_log: {error:?}"),
            Err(error) => panic!("{system:?}: {error}"),
        }
    }
    benches
}
