//! `make bench`: what auditing costs, against no audit, the event by hand, and what DBAs write today.
//!
//! Absolute times depend on the machine; only ratios within one run count. Rounds are interleaved, so that the
//! machine's moods fall on all systems alike, and medians are taken.

mod report;
mod systems;
mod workloads;

use audit_bench::results::{Environment, Ratio, write};
use audit_client_tests::Cluster;
use report::Samples;
use systems::{System, TABLES};
use workloads::{Bench, Sizes};

/// How much is done.
struct Scale {
    rounds: u32,
    sizes: Sizes,
    /// Seconds for each system and number of clients in a round.
    seconds: u32,
    /// Rows of the UPDATE whose memory is measured.
    many: u32,
}

const FULL: Scale = Scale {
    rounds: 5,
    sizes: Sizes { bulk: 100_000, single: 5_000, wide: 2_000 },
    seconds: 2,
    many: 1_000_000,
};
const QUICK: Scale =
    Scale { rounds: 3, sizes: Sizes { bulk: 10_000, single: 1_500, wide: 1_000 }, seconds: 1, many: 200_000 };
/// The first round only fills caches.
const WARM_UP: Sizes = Sizes { bulk: 5_000, single: 500, wide: 100 };

fn main() {
    let quick = std::env::var("QUICK").is_ok_and(|quick| quick == "1");
    let scale = if quick { QUICK } else { FULL };
    let cluster = Cluster::temporary("bench");
    let mut benches = prepare(&cluster);

    let mut samples = Samples::default();
    for round in 0..=scale.rounds {
        let sizes = if round == 0 { WARM_UP } else { scale.sizes };
        for bench in &mut benches {
            let costs = bench.round(sizes);
            if round > 0 {
                costs.into_iter().for_each(|(system, workload, cost)| samples.add(system, workload, cost));
            }
        }
        eprintln!("round {round} of {}", scale.rounds);
    }
    for _ in 0..scale.rounds {
        for bench in benches.iter_mut().filter(|bench| bench.system.serves_clients()) {
            for clients in [1, 8] {
                let tps = bench.throughput(&cluster, clients, scale.seconds);
                samples.add_throughput(bench.system.name(), clients, tps);
            }
        }
    }
    drop(benches);
    let [none, audit] =
        [System::None, System::Audit].map(|system| Bench::connect(&cluster, system).peak_memory(scale.many));

    let mut ratios = report::ratios(&samples);
    ratios.push(Ratio::at_most(
        format!("extra peak memory of a {}-row UPDATE, MB", scale.many),
        audit - none,
        128.0,
        32.0,
    ));
    let mut client = cluster.connect("postgres", "postgres");
    let environment = Environment::read(
        client.query_one("SELECT version()", &[]).expect("a version").get(0),
        scale.rounds,
        scale.sizes,
    );
    let text = report::markdown(&samples, &ratios, &environment);
    write("results.json", &report::json(&samples, &ratios, &environment));
    write("results.md", &text);
    for (name, chart) in report::charts(&samples) {
        write(name, &chart);
    }
    println!("{text}");
}

/// A database for each system, with the application's tables and an actor.
fn prepare(cluster: &Cluster) -> Vec<Bench> {
    let mut postgres = cluster.connect("postgres", "postgres");
    let mut benches = Vec::new();
    for system in System::ALL {
        let name = system.name();
        postgres
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .and_then(|()| {
                postgres.batch_execute(&format!(
                    "ALTER DATABASE {name} SET audit.actor_id = '3f1c2f6e-3b1c-4d7e-9d55-0a1b2c3d4e5f'"
                ))
            })
            .expect("a database");
        let mut client = cluster.connect(name, "postgres");
        client.batch_execute(TABLES).expect("the application's tables");
        match client.batch_execute(&system.setup()) {
            Ok(()) => benches.push(Bench::connect(cluster, system)),
            Err(error) if system == System::TableLog => eprintln!("without table_log: {error:?}"),
            Err(error) => panic!("{system:?}: {error}"),
        }
    }
    benches
}
