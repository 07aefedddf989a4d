//! What a call of `audit_match` costs, against LIKE.

use std::collections::BTreeMap;
use std::time::Instant;

use audit_bench::results::median;
use postgres::Client;
use serde::Serialize;

/// A pattern of each shape, and the same for LIKE.
const PATTERNS: [(&str, &str); 5] = [
    ("entity.created", "entity.created"),
    ("entity.*", "entity.%"),
    ("model_configuration.*", "model\\_configuration.%"),
    ("*.deleted", "%.deleted"),
    ("organisation.*.assigned", "organisation.%.assigned"),
];

/// Nanoseconds of one call, by pattern, medians.
#[derive(Serialize)]
pub struct Matching {
    /// The pattern.
    pub pattern: &'static str,
    /// `audit_match`.
    pub audit: f64,
    /// LIKE.
    pub like: f64,
}

/// Matches the actions of events in the order in which they happened, so many times. They are few enough that most
/// scans are not interrupted by something else that runs.
pub fn measure(client: &mut Client, rounds: u32) -> Vec<Matching> {
    client
        .batch_execute(
            "SET jit = off; SET max_parallel_workers_per_gather = 0;
             CREATE TABLE matched AS SELECT action FROM audit.event LIMIT 100000",
        )
        .and_then(|()| client.batch_execute("VACUUM matched"))
        .expect("actions to match");
    let count: i64 = client.query_one("SELECT count(*) FROM matched", &[]).expect("a count").get(0);
    // Counting answers instead of rows costs the same whatever they are.
    let mut nanos = |expression: &str| {
        let query = format!("SELECT count({expression}) FROM matched");
        let start = Instant::now();
        let counted: i64 = client.query_one(&query, &[]).expect("a count").get(0);
        assert_eq!(counted, count);
        start.elapsed().as_secs_f64() * 1e9 / count as f64
    };
    let mut samples = BTreeMap::<(&str, bool), Vec<f64>>::new();
    for round in 0..=rounds {
        for (pattern, like) in PATTERNS {
            let nothing = nanos("action");
            let audit = nanos(&format!("audit_match(action, '{pattern}')")) - nothing;
            let like = nanos(&format!("action LIKE '{like}'")) - nothing;
            // The first round only fills caches.
            if round > 0 {
                samples.entry((pattern, true)).or_default().push(audit);
                samples.entry((pattern, false)).or_default().push(like);
            }
        }
    }
    PATTERNS
        .map(|(pattern, _)| {
            let [audit, like] = [true, false]
                .map(|audit| median(samples.remove(&(pattern, audit)).unwrap_or_default()).expect("a round"));
            Matching { pattern, audit, like }
        })
        .into()
}

impl Matching {
    /// `audit_match` against LIKE.
    pub fn ratio(&self) -> f64 {
        self.audit / self.like
    }
}
