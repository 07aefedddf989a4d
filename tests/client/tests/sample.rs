//! The sample application of `examples/`: what its writes leave in the log is what its workload says they mean.

use std::collections::{BTreeMap, BTreeSet};

use audit_client_tests::{Database, texts};

/// The columns of an image with their values as text; `null` for NULL.
type Image = BTreeMap<String, String>;

/// One line of the workload's account; `examples/workload.sql` says what each means.
struct Expected {
    line: String,
    sign: String,
    /// Table, action, resource type and id, organisation, project.
    what: Vec<String>,
    columns: Vec<String>,
}

/// One event of the log.
struct Logged {
    what: Vec<String>,
    before: Option<Image>,
    after: Option<Image>,
}

/// One transaction and who was behind it: actor, actor type and request id.
struct Request<E> {
    who: Vec<String>,
    events: Vec<E>,
    /// How many events have a place of their own; the others come in any order.
    in_order: usize,
}

/// What the workload says of itself: the columns of each table that an event shows, and its requests.
struct Account {
    columns: BTreeMap<String, BTreeSet<String>>,
    requests: Vec<Request<Expected>>,
}

fn account(transcript: &str) -> Account {
    let mut account = Account { columns: BTreeMap::new(), requests: Vec::new() };
    for line in transcript.lines().filter(|line| !line.is_empty()) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match words[0].as_str() {
            "columns" => {
                let columns = words[2].split(',').map(str::to_owned).collect();
                account.columns.insert(words[1].clone(), columns);
            }
            "request" => {
                let user = if words[1] == "N/A" { "N/A" } else { "user" };
                let word =
                    |at: usize, default: &str| words.get(at).map_or(default, String::as_str).to_owned();
                let who = vec![words[1].clone(), word(2, user), word(3, "N/A")];
                account.requests.push(Request { who, events: Vec::new(), in_order: usize::MAX });
            }
            "in" => {
                let request = account.requests.last_mut().expect("a request comes first");
                request.in_order = request.events.len();
            }
            "+" | "-" | "~" | "<" | ">" | "." => {
                assert!(words.len() >= 7, "the workload says too little: {line}");
                let expected = Expected {
                    line: line.to_owned(),
                    sign: words[0].clone(),
                    what: words[1..7].to_vec(),
                    columns: words[7..].to_vec(),
                };
                account.requests.last_mut().expect("a request comes first").events.push(expected);
            }
            _ => panic!("the workload prints what is no expectation: {line}"),
        }
    }
    account
}

/// The log, one request for each transaction.
fn logged(database: &Database) -> Vec<Request<Logged>> {
    let mut requests = Vec::new();
    let mut transaction = String::new();
    let rows = database
        .connect()
        .query(
            "SELECT transaction_id::text,
                    ARRAY[actor_id, actor_type, metadata ->> 'request_id'],
                    ARRAY[CASE WHEN table_name LIKE 'public.%' THEN substr(table_name, 8) ELSE coalesce(table_name, '-') END,
                          action, resource_type, resource_id, organisation_id, project_id],
                    (SELECT jsonb_object_agg(key, coalesce(value, 'null')) FROM jsonb_each_text(before_state)),
                    (SELECT jsonb_object_agg(key, coalesce(value, 'null')) FROM jsonb_each_text(after_state))
             FROM audit.event WHERE action NOT LIKE 'audit.%' ORDER BY event_id",
            &[],
        )
        .unwrap();
    for row in rows {
        let or_na = |texts: Vec<Option<String>>| -> Vec<String> {
            texts.into_iter().map(|text| text.unwrap_or_else(|| "N/A".into())).collect()
        };
        let image = |at: usize| -> Option<Image> {
            let object: serde_json::Value = row.get::<_, Option<_>>(at)?;
            Some(serde_json::from_value(object).expect("texts by column"))
        };
        if transaction != row.get::<_, String>(0) {
            transaction = row.get(0);
            requests.push(Request { who: or_na(row.get(1)), events: Vec::new(), in_order: usize::MAX });
        }
        let request = requests.last_mut().expect("it was just pushed");
        request.events.push(Logged { what: or_na(row.get(2)), before: image(3), after: image(4) });
    }
    requests
}

/// What is wrong with an event, if anything.
fn difference(
    account: &Account,
    who: &[String],
    expected: &Expected,
    found_who: &[String],
    found: &Logged,
) -> Option<String> {
    let table = &expected.what[0];
    if who != found_who {
        return Some(format!("not by {}", found_who.join(" ")));
    }
    if expected.what != found.what {
        return Some(format!("the log says {}", found.what.join(" ")));
    }
    let names: BTreeSet<String> = match expected.sign.as_str() {
        "+" | "-" => account.columns[table].clone(),
        _ => expected
            .columns
            .iter()
            .map(|column| column.split('=').next().unwrap_or_default().to_owned())
            .collect(),
    };
    let shown =
        |image: &Option<Image>| image.as_ref().map(|image| image.keys().cloned().collect::<BTreeSet<_>>());
    let (before, after) = match expected.sign.as_str() {
        "-" | "<" => (Some(names), None),
        "+" | ">" => (None, Some(names)),
        "~" => (Some(names.clone()), Some(names)),
        _ => (None, None),
    };
    if (shown(&found.before), shown(&found.after)) != (before, after) {
        return Some(format!("its images have {:?} and {:?}", shown(&found.before), shown(&found.after)));
    }
    for (name, values) in expected.columns.iter().filter_map(|column| column.split_once('=')) {
        let value = |image: &Option<Image>| image.as_ref().and_then(|image| image.get(name).cloned());
        let there: Vec<String> = [value(&found.before), value(&found.after)].into_iter().flatten().collect();
        if there.join(">") != values {
            return Some(format!("{name} is {}", there.join(">")));
        }
    }
    None
}

/// Everything in which the log is not as the workload says.
fn differences(account: &mut Account, mut log: Vec<Request<Logged>>) -> Vec<String> {
    account.requests.retain(|request| !request.events.is_empty());
    let mut differences = Vec::new();
    // First what explains the rest: how often each action is there.
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for event in account.requests.iter().flat_map(|request| &request.events) {
        counts.entry(&event.what[1]).or_default().0 += 1;
    }
    for event in log.iter().flat_map(|request| &request.events) {
        counts.entry(&event.what[1]).or_default().1 += 1;
    }
    for (action, (expected, found)) in counts {
        if found == 0 {
            differences.push(format!("missing: {action}, expected {expected} times"));
        } else if expected == 0 {
            differences.push(format!("not expected: {action}, found {found} times"));
        } else if expected != found {
            differences.push(format!("{action}: expected {expected} times, found {found} times"));
        }
    }
    if account.requests.len() != log.len() {
        differences.push(format!(
            "{} transactions should have events, {} have",
            account.requests.len(),
            log.len()
        ));
    }
    for (at, found) in log.iter_mut().enumerate() {
        let Some(request) = account.requests.get_mut(at) else { break };
        let in_order = request.in_order.min(request.events.len()).min(found.events.len());
        request.events[in_order..].sort_by(|a, b| a.what.cmp(&b.what));
        found.events[in_order..].sort_by(|a, b| a.what.cmp(&b.what));
    }
    for (request, found) in account.requests.iter().zip(&log) {
        if request.events.len() != found.events.len() {
            let lines: Vec<&str> = request.events.iter().map(|event| event.line.as_str()).collect();
            let events: Vec<String> = found.events.iter().map(|event| event.what.join(" ")).collect();
            differences.push(format!(
                "{} of {}: expected\n  {}\nfound\n  {}",
                request.events.len(),
                request.who.join(" "),
                lines.join("\n  "),
                events.join("\n  ")
            ));
            continue;
        }
        for (expected, event) in request.events.iter().zip(&found.events) {
            if let Some(what) = difference(account, &request.who, expected, &found.who, event) {
                differences.push(format!("{} by {}: {what}", expected.line, request.who.join(" ")));
            }
        }
    }
    differences
}

#[test]
fn every_write_of_the_sample_application_leaves_the_event_that_it_should() {
    let database = Database::create_empty("sample");
    database.script("examples/schema.sql");
    database.script("examples/tracking.sql");
    let mut account = account(&database.script("examples/workload.sql"));
    assert!(account.requests.len() > 300, "a workload of {} requests", account.requests.len());

    let differences = differences(&mut account, logged(&database));
    let shown = differences.len().min(20);
    assert!(differences.is_empty(), "{} differences\n{}", differences.len(), differences[..shown].join("\n"));

    let mut client = database.connect();
    let emitted: BTreeSet<String> =
        texts(&mut client, "SELECT DISTINCT action FROM audit.event").into_iter().collect();
    let concrete = "SELECT pattern FROM audit.catalogue WHERE built_in AND pattern NOT LIKE '%*'";
    let catalogue: BTreeSet<String> = texts(&mut client, concrete).into_iter().collect();
    assert_eq!(catalogue.len(), 51);
    assert_eq!(
        catalogue.difference(&emitted).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "no write emits these"
    );

    // The secrets are in the application's tables, and nowhere in the log.
    let count =
        |client: &mut postgres::Client, query: &str| -> i64 { client.query_one(query, &[]).unwrap().get(0) };
    assert!(count(&mut client, "SELECT count(*) FROM users WHERE users::text ~ 'topsecret'") > 5);
    assert_eq!(count(&mut client, "SELECT count(*) FROM audit.event e WHERE e::text ~ 'topsecret'"), 0);
    client.batch_execute("DROP OWNED BY observatory_app").unwrap();
}
