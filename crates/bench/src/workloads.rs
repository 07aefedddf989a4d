//! What is timed.

use std::time::Instant;

use audit_client_tests::Cluster;
use postgres::Client;
use serde::Serialize;

use crate::systems::{ITEM, System, wide_row};

/// What one workload cost in one round.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// Microseconds for each row.
    pub micros: f64,
    /// Bytes of WAL for each row.
    pub wal: f64,
    /// Bytes of log, indexes included, for each event.
    pub log: f64,
}

/// A database of one system.
pub struct Bench {
    /// The system.
    pub system: System,
    client: Client,
}

/// Rows of a bulk statement, and statements of a loop.
#[derive(Clone, Copy, Serialize)]
pub struct Sizes {
    /// Rows in one statement.
    pub bulk: u32,
    /// Single-row statements in a loop.
    pub single: u32,
    /// Rows of the wide table.
    pub wide: u32,
}

impl Bench {
    /// Connects to the system's database.
    pub fn connect(cluster: &Cluster, system: System) -> Self {
        let mut client = cluster.connect(system.name(), "postgres");
        // What is timed is the work, not the disk; `throughput` waits for its commits.
        client.batch_execute("SET synchronous_commit = off").expect("a setting can be set");
        Self { system, client }
    }

    /// Runs every workload once: system (this one, or "floor"), workload and cost.
    pub fn round(&mut self, sizes: Sizes) -> Vec<(&'static str, &'static str, Cost)> {
        let name = self.system.name();
        let single = sizes.single;
        let bulk = self.system.bulk(sizes.bulk);
        let wide = self.system.wide(sizes.wide);
        let mut costs = Vec::new();
        // A warm cache, the same size of the tables, and an empty log before each; no checkpoint in between.
        self.run("TRUNCATE item, wide");
        self.run("CHECKPOINT");
        for operation in ["single INSERT", "single UPDATE", "single DELETE"] {
            costs.push((name, operation, self.time(single, &self.single(operation, single))));
        }
        self.run("TRUNCATE item");
        if self.system != System::ByHand {
            for (operation, statement) in [
                ("bulk INSERT", format!("INSERT INTO item SELECT {ITEM} FROM generate_series(1, {bulk}) n")),
                ("bulk UPDATE", "UPDATE item SET amount = amount + 1".to_owned()),
                ("bulk DELETE", "DELETE FROM item".to_owned()),
            ] {
                costs.push((name, operation, self.time(bulk, &statement)));
                if self.system == System::Audit {
                    costs.push(("floor", operation, self.floor(bulk)));
                }
                self.run("VACUUM item");
            }
            self.run("TRUNCATE item");
            costs.push((name, "bulk COPY", self.copy(bulk)));
            self.run("TRUNCATE item");
            self.run(&format!("INSERT INTO wide SELECT {} FROM generate_series(1, {wide}) n", wide_row()));
            self.run("VACUUM wide");
            costs.push((name, "wide UPDATE", self.time(wide, "UPDATE wide SET changing = changing + 1")));
            self.run(&format!("INSERT INTO item SELECT {ITEM} FROM generate_series(1, {wide}) n"));
            self.run("VACUUM item");
            costs.push((name, "narrow UPDATE", self.time(wide, "UPDATE item SET amount = amount + 1")));
            self.run("TRUNCATE item, wide");
        }
        if self.system == System::Audit {
            // One after the other, since only their ratio counts.
            for (table, workload) in [("item", "unruled UPDATE"), ("ruled", "ruled UPDATE")] {
                self.run(&format!("INSERT INTO {table} SELECT {ITEM} FROM generate_series(1, {bulk}) n"));
                self.run(&format!("VACUUM {table}"));
                let update = format!("UPDATE {table} SET amount = amount + 1");
                costs.push((name, workload, self.time(bulk, &update)));
                self.run(&format!("TRUNCATE {table}"));
            }
        }
        self.empty_log();
        costs
    }

    /// The storage floor of the statement timed last: its events, by INSERT … SELECT into an empty copy of the log.
    fn floor(&mut self, rows: u32) -> Cost {
        self.run(
            "DROP TABLE IF EXISTS floor; CREATE TABLE floor (LIKE audit.event_default INCLUDING ALL);
             VACUUM audit.event_default",
        );
        self.measure(rows, |client| {
            client
                .batch_execute("INSERT INTO floor SELECT * FROM audit.event_default")
                .expect("the floor can be laid");
        })
    }

    /// Transactions per second of single-row UPDATEs by so many clients, each waiting for its commit.
    pub fn throughput(&mut self, cluster: &Cluster, clients: u32, seconds: u32) -> f64 {
        self.run("TRUNCATE item");
        self.run(&format!("INSERT INTO item SELECT {ITEM} FROM generate_series(1, 20000) n"));
        self.run("VACUUM ANALYZE item; CHECKPOINT");
        let script = std::env::temp_dir().join("audit-bench.sql");
        std::fs::write(
            &script,
            "\\set n random(1, 20000)\nUPDATE item SET amount = amount + 1 WHERE id = md5(:n::text)::uuid;\n",
        )
        .expect("a script can be written");
        let output = cluster.run(
            "pgbench",
            &[
                "--no-vacuum",
                "--client",
                &clients.to_string(),
                "--jobs",
                "2",
                "--time",
                &seconds.to_string(),
                "--file",
                script.to_str().expect("a path in UTF-8"),
                self.system.name(),
            ],
            None,
        );
        self.empty_log();
        output
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .expect("pgbench says how fast it was")
    }

    /// The most private memory the backend had while it updated `rows` rows, in MB, less what it had before.
    pub fn peak_memory(&mut self, rows: u32) -> f64 {
        self.run(&format!(
            "TRUNCATE item; ALTER TABLE item DISABLE TRIGGER USER;
             INSERT INTO item SELECT {ITEM} FROM generate_series(1, {rows}) n;
             ALTER TABLE item ENABLE TRIGGER USER"
        ));
        let pid: i32 = self.client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let memory = move || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()).unwrap_or(0.0)
                / 1024.0
        };
        let before = memory();
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let watcher = std::thread::spawn({
            let done = done.clone();
            move || {
                let mut peak = 0.0f64;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    peak = peak.max(memory());
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                peak
            }
        });
        self.run("UPDATE item SET amount = amount + 1");
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        let peak = watcher.join().expect("the watcher ends");
        peak - before
    }

    fn single(&self, operation: &str, rows: u32) -> String {
        let by_hand = self.system == System::ByHand;
        let log = |action: &str, columns: &str, values: &str| {
            if by_hand {
                format!(
                    "INSERT INTO log (action, resource_type, resource_id, actor_id, organisation_id, project_id, {columns}, table_name)
                     VALUES ('item.{action}', 'item', r.id, current_setting('audit.actor_id', true), r.organisation_id, r.project_id, {values}, 'public.item');"
                )
            } else {
                String::new()
            }
        };
        match operation {
            "single INSERT" => format!(
                "DO $$ DECLARE r item; BEGIN
                     FOR n IN 1..{rows} LOOP
                         SELECT {ITEM} INTO r;
                         INSERT INTO item VALUES (r.*);
                         {}
                     END LOOP; END $$",
                log("created", "after_state", "to_jsonb(r)")
            ),
            "single UPDATE" => format!(
                "DO $$ DECLARE r item; o bigint; BEGIN
                     FOR n IN 1..{rows} LOOP
                         UPDATE item SET amount = amount + 1 WHERE id = md5(n::text)::uuid RETURNING * INTO r;
                         {}
                     END LOOP; END $$",
                log(
                    "updated",
                    "before_state, after_state",
                    "jsonb_build_object('amount', r.amount - 1), jsonb_build_object('amount', r.amount)"
                )
            ),
            _ => format!(
                "DO $$ DECLARE r item; BEGIN
                     FOR n IN 1..{rows} LOOP
                         DELETE FROM item WHERE id = md5(n::text)::uuid RETURNING * INTO r;
                         {}
                     END LOOP; END $$",
                log("deleted", "before_state", "to_jsonb(r)")
            ),
        }
    }

    fn time(&mut self, rows: u32, statement: &str) -> Cost {
        self.empty_log();
        let statement = statement.to_owned();
        let mut cost = self.measure(rows, |client| {
            client.batch_execute(&statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        });
        cost.log = self.log_bytes() / f64::from(rows);
        cost
    }

    fn copy(&mut self, rows: u32) -> Cost {
        let data = self.copy_data(rows);
        self.empty_log();
        let mut cost = self.measure(rows, |client| {
            use std::io::Write;
            let mut writer = client.copy_in("COPY item FROM stdin").expect("COPY starts");
            writer.write_all(&data).expect("COPY takes its data");
            writer.finish().expect("COPY ends");
        });
        cost.log = self.log_bytes() / f64::from(rows);
        cost
    }

    fn copy_data(&mut self, rows: u32) -> Vec<u8> {
        use std::io::Read;
        let mut data = Vec::new();
        self.client
            .copy_out(&format!("COPY (SELECT {ITEM} FROM generate_series(1, {rows}) n) TO stdout"))
            .expect("COPY starts")
            .read_to_end(&mut data)
            .expect("COPY gives its data");
        data
    }

    fn measure(&mut self, rows: u32, work: impl FnOnce(&mut Client)) -> Cost {
        let wal = "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8";
        let before: f64 = self.client.query_one(wal, &[]).expect("a WAL position").get(0);
        let start = Instant::now();
        work(&mut self.client);
        let micros = start.elapsed().as_secs_f64() * 1e6;
        let after: f64 = self.client.query_one(wal, &[]).expect("a WAL position").get(0);
        Cost { micros: micros / f64::from(rows), wal: (after - before) / f64::from(rows), log: 0.0 }
    }

    fn log_bytes(&mut self) -> f64 {
        self.system
            .logs()
            .iter()
            .map(|log| {
                let size: i64 = self
                    .client
                    .query_one(&format!("SELECT pg_total_relation_size('{log}')"), &[])
                    .expect("a size")
                    .get(0);
                size as f64
            })
            .sum::<f64>()
            + 0.0
    }

    /// Empties the log. The extension's is append-only, so its guard is switched off for this.
    fn empty_log(&mut self) {
        for log in self.system.logs() {
            if self.system == System::Audit {
                self.run(&format!(
                    "ALTER TABLE {log} DISABLE TRIGGER \"!audit_statement_guard\"; TRUNCATE {log};
                     ALTER TABLE {log} ENABLE ALWAYS TRIGGER \"!audit_statement_guard\""
                ));
            } else {
                self.run(&format!("TRUNCATE {log}"));
            }
        }
    }

    fn run(&mut self, statements: &str) {
        for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
            self.client.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
}
