//! What the report says.

use std::fmt::Write;

use audit_bench::results::{self, Environment, Ratio, median};
use serde::Serialize;
use uuid::Uuid;

use crate::matching::Matching;
use crate::measure::Cost;
use crate::questions::{Bound, Question};

/// Events of the two logs.
#[derive(Serialize)]
pub struct Sizes {
    /// Of the long one.
    pub many: i64,
    /// Of the short one.
    pub few: i64,
}

/// A question and what the two logs answered.
#[derive(Serialize)]
pub struct Answer<'a> {
    /// The question.
    #[serde(flatten)]
    pub question: &'a Question,
    /// The long log's answer and the short one's, which may have no such page.
    pub heard: [Option<Heard>; 2],
}

/// One log's answer.
#[derive(Serialize)]
pub struct Heard {
    /// The last event of the page above.
    #[serde(skip)]
    pub before: Option<Uuid>,
    /// Rows of the answer.
    pub rows: usize,
    /// Milliseconds in each round.
    pub millis: Vec<f64>,
    /// What the call costs.
    pub call: Cost,
    /// The same in plain SQL, by a superuser with the scope written out.
    pub by_hand: Cost,
    /// The same in plain SQL, by the reader under row-level security.
    pub with_policies: Cost,
}

/// What is promised of one number: it must be at most the first, and is aimed at the second.
#[derive(Clone, Copy)]
struct Promise(f64, f64);

const PAGES: Promise = Promise(2.0, 1.2);
const GROWTH: Promise = Promise(1.5, 1.1);
const MATCHING: Promise = Promise(1.0, 0.5);

impl Bound {
    /// Milliseconds.
    fn promise(self) -> Option<Promise> {
        match self {
            Self::Page => Some(Promise(10.0, 2.0)),
            Self::Little => Some(Promise(50.0, 10.0)),
            Self::HundredProjects => Some(Promise(100.0, 10.0)),
            Self::Open => None,
        }
    }
}

impl Heard {
    fn median(&self) -> f64 {
        median(self.millis.clone()).unwrap_or(f64::NAN)
    }

    /// Nineteen of twenty calls took at most that long.
    fn percentile95(&self) -> f64 {
        let mut millis = self.millis.clone();
        millis.sort_by(f64::total_cmp);
        millis.get((millis.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    /// Pages against those of plain SQL.
    fn pages(&self) -> f64 {
        self.call.buffers / self.by_hand.buffers
    }
}

impl Answer<'_> {
    /// The long log's answer.
    fn long(&self) -> &Heard {
        self.heard[0].as_ref().expect("checked when it was asked")
    }

    /// The long log's time against the short one's, where both find as much.
    fn growth(&self) -> Option<f64> {
        let short = self.heard[1].as_ref().filter(|short| short.rows == self.long().rows)?;
        Some(self.long().median() / short.median())
    }
}

/// Each promise, with the worst that was measured.
pub fn ratios(answers: &[Answer], matching: &[Matching]) -> Vec<Ratio> {
    let bounded = |bound: Bound| answers.iter().filter(move |answer| answer.question.bound == bound);
    let promised = || answers.iter().filter(|answer| answer.question.bound != Bound::Open);
    let asked = |answer: &Answer| format!("{}, {}", answer.question.who, answer.question.what);
    let times = |bound| bounded(bound).map(|answer| (answer.long().median(), asked(answer))).collect();
    let mut ratios = Vec::new();
    let mut worst = |name: &str, Promise(must, aim): Promise, all: Vec<(f64, String)>| {
        let count = all.len();
        if let Some((value, which)) = all.into_iter().max_by(|(a, _), (b, _)| a.total_cmp(b)) {
            ratios.push(Ratio::at_most(format!("{name}, the worst of {count}: {which}"), value, must, aim));
        }
    };
    for (name, bound) in [
        ("a page, ms", Bound::Page),
        ("a page with little or nothing to find, ms", Bound::Little),
        ("no scope given, admin of 100 projects, ms", Bound::HundredProjects),
    ] {
        if let Some(promise) = bound.promise() {
            worst(name, promise, times(bound));
        }
    }
    let pages = promised().map(|answer| (answer.long().pages(), asked(answer))).collect();
    worst("buffers of plain SQL with the scope written out", PAGES, pages);
    let growth = promised().filter_map(|answer| Some((answer.growth()?, asked(answer)))).collect();
    worst("time in a log a tenth as long", GROWTH, growth);
    let calls =
        matching.iter().map(|matching| (matching.ratio(), format!("`{}`", matching.pattern))).collect();
    worst("a call of audit_match, of LIKE", MATCHING, calls);
    ratios
}

/// Everything as JSON.
pub fn json(
    answers: &[Answer],
    matching: &[Matching],
    ratios: &[Ratio],
    environment: &Environment<Sizes>,
) -> String {
    let everything = serde_json::json!({
        "environment": environment, "ratios": ratios, "answers": answers, "matching": matching,
    });
    serde_json::to_string_pretty(&everything).expect("results are JSON")
}

/// Everything as Markdown.
pub fn markdown(
    answers: &[Answer],
    matching: &[Matching],
    ratios: &[Ratio],
    environment: &Environment<Sizes>,
) -> String {
    let Environment { postgresql, machine, rounds, sizes: Sizes { many, few } } = environment;
    let mut text = format!(
        "{postgresql}; {machine}; {rounds} rounds; {many} events in the long log, {few} in the short one.\n\n{}",
        results::table(ratios)
    );
    text.push_str(
        "\nEach question to the long log: rows found, milliseconds (median; 95 % took at most), times those of the \
         short log where it finds as much, buffers and times those of plain SQL; then plain SQL: by a superuser with \
         the scope written out, and by the reader under row-level security. **Bold** misses a must, _italic_ an aim.\n\n\
         | as | asked | rows | ms | 95 % | growth | buffers | of plain SQL's | plain SQL: ms, buffers | under policies: ms, buffers |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for answer in answers {
        let (question, long) = (answer.question, answer.long());
        let promised = |promise| (question.bound != Bound::Open).then_some(promise);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} | {} | {} | {} | {} | {} |",
            question.who,
            question.what,
            long.rows,
            judged(long.median(), question.bound.promise()),
            long.percentile95(),
            answer.growth().map(|growth| judged(growth, promised(GROWTH))).unwrap_or_default(),
            long.call.buffers,
            judged(long.pages(), promised(PAGES)),
            shown(long.by_hand),
            shown(long.with_policies),
        );
    }
    text.push_str(
        "\nNanoseconds of one call, medians:\n\n| pattern | audit_match | LIKE | |\n|---|---|---|---|\n",
    );
    for matching in matching {
        let Matching { pattern, audit, like } = matching;
        let ratio = judged(matching.ratio(), Some(MATCHING));
        let _ = writeln!(text, "| `{pattern}` | {audit:.1} | {like:.1} | {ratio} |");
    }
    text
}

/// A number, marked if it breaks its promise.
fn judged(value: f64, promise: Option<Promise>) -> String {
    match promise {
        Some(Promise(must, _)) if value > must => format!("**{value:.2}**"),
        Some(Promise(_, aim)) if value > aim => format!("_{value:.2}_"),
        _ => format!("{value:.2}"),
    }
}

fn shown(cost: Cost) -> String {
    format!("{:.2}, {}", cost.millis, cost.buffers)
}
