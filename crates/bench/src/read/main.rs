//! `make bench-read`: what reading the log costs, as each kind of admin, and how it grows with the log.
//!
//! Two logs of the same shape, the one ten times as long as the other, are asked the same questions in interleaved
//! rounds, so that the machine's moods fall on both alike. Every answer is compared with that of plain SQL.

mod fill;
mod matching;
mod measure;
mod questions;
mod report;

use std::time::SystemTime;

use audit_bench::results::{Environment, write};
use audit_client_tests::Cluster;
use fill::{Log, SPAN};
use measure::{Library, SLOW};
use questions::Question;
use report::{Answer, Heard, Sizes};

/// Rounds that count; one before them fills caches.
const ROUNDS: u32 = 30;
/// Rounds that a slow call takes part in.
const SLOW_ROUNDS: u32 = 5;

fn main() {
    let quick = std::env::var("QUICK").is_ok_and(|quick| quick == "1");
    let sizes =
        if quick { Sizes { many: 500_000, few: 50_000 } } else { Sizes { many: 5_000_000, few: 500_000 } };
    let begin = SystemTime::now() - SPAN;
    let logs = [("many", sizes.many), ("few", sizes.few)].map(|(name, events)| Log { name, events, begin });
    let cluster = Cluster::temporary("bench-read");
    logs.iter().for_each(|log| log.fill(&cluster));

    let mut superuser = cluster.connect(logs[0].name, "postgres");
    let readers = questions::readers(&mut superuser);
    let questions = questions::questions(&mut superuser, begin);
    Library::prepare(&cluster);
    let mut libraries = logs.each_ref().map(|log| Library::open(&cluster, log, &readers));

    eprintln!("{} questions: comparing the answers with those of plain SQL", questions.len());
    let mut answers: Vec<Answer> = questions.iter().map(|question| check(question, &mut libraries)).collect();
    for round in 0..=ROUNDS {
        for answer in &mut answers {
            for (library, heard) in libraries.iter_mut().zip(&mut answer.heard) {
                let Some(heard) = heard else { continue };
                if round > SLOW_ROUNDS && heard.millis.iter().all(|millis| *millis > SLOW) {
                    continue;
                }
                let (millis, _) = library.ask(answer.question, &heard.before);
                if round > 0 {
                    heard.millis.push(millis);
                }
            }
        }
    }
    let matching = matching::measure(&mut superuser, 100);

    let version = superuser.query_one("SELECT version()", &[]).expect("a version").get(0);
    let environment = Environment::read(version, ROUNDS, sizes);
    let ratios = report::ratios(&answers, &matching);
    let text = report::markdown(&answers, &matching, &ratios, &environment);
    write("read.json", &report::json(&answers, &matching, &ratios, &environment));
    write("read.md", &text);
    println!("{text}");
    if std::env::var("KEEP").is_ok_and(|keep| keep == "1") {
        eprintln!(
            "The cluster stays up, in {}; remove it with: tools/cluster drop bench-read",
            cluster.socket()
        );
        std::mem::forget(cluster);
    }
}

/// What the logs answer, which must be the same in plain SQL, and what that costs.
fn check<'a>(question: &'a Question, libraries: &mut [Library; 2]) -> Answer<'a> {
    let heard = libraries.each_mut().map(|library| {
        let before = library.before(question)?;
        let (by_hand, expected) = library.by_hand(question, &before);
        let (with_policies, allowed) = library.with_policies(question, &before);
        let (_, found) = library.ask(question, &before);
        for (how, ids) in [("audit.log or audit.history", found), ("a SELECT under its policies", allowed)] {
            assert_eq!(ids, expected, "{}, {}: {how} finds something else", question.who, question.what);
        }
        let call = library.cost(question, &before);
        Some(Heard { before, rows: expected.len(), millis: Vec::new(), call, by_hand, with_policies })
    });
    assert!(heard[0].is_some(), "{}, {}: there is no such page", question.who, question.what);
    Answer { question, heard }
}
