//! Private clusters and databases for tests over real connections.
//!
//! The clusters are made by `tools/cluster`, from the private copy of PostgreSQL that `tools/setup` makes and
//! `tools/test` installs the extension into.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub mod admins;
pub mod docs;
pub mod health;
pub mod matrix;

pub use postgres::error::SqlState;
use postgres::{Client, Config, NoTls};

/// The port of PostgreSQL, and of pgbouncer before it, in a cluster's folder.
pub const DIRECT: u16 = 5432;
/// See `DIRECT`.
pub const POOL: u16 = 6432;

/// The checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout is there")
}

fn tool(arguments: &[&str]) -> String {
    tool_with(arguments, &[])
}

/// With variables that `tools/cluster` reads.
fn tool_with(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = Command::new(root().join("tools/cluster"))
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("tools/cluster runs");
    assert!(
        output.status.success(),
        "tools/cluster {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("tools/cluster prints a path").trim().to_owned()
}

/// A private cluster.
pub struct Cluster {
    name: String,
    socket: String,
    temporary: bool,
}

impl Cluster {
    /// The cluster that all tests share, each with a database of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self {
            name: "test".into(),
            socket: tool(&["start", "test"]),
            temporary: false,
        })
    }

    /// A new, empty cluster for one test, removed with the value.
    pub fn temporary(name: &str) -> Self {
        tool(&["drop", name]);
        Self { name: name.into(), socket: tool(&["start", name]), temporary: true }
    }

    /// The same, with more lines in postgresql.conf.
    pub fn temporary_with(name: &str, configuration: &str) -> Self {
        tool(&["drop", name]);
        Self {
            name: name.into(),
            socket: tool_with(&["start", name], &[("AUDIT_CONF", configuration)]),
            temporary: true,
        }
    }

    /// The same, with locales of its own beside the machine's.
    pub fn temporary_with_locales(name: &str, folder: &Path) -> Self {
        tool(&["drop", name]);
        let folder = folder.display().to_string();
        Self {
            name: name.into(),
            socket: tool_with(&["start", name], &[("LOCPATH", &folder)]),
            temporary: true,
        }
    }

    /// A hot standby of this one.
    pub fn standby(&self, name: &str) -> Self {
        tool(&["drop", name]);
        Self {
            name: name.into(),
            socket: tool_with(&["start", name], &[("AUDIT_STANDBY_OF", &self.name)]),
            temporary: true,
        }
    }

    /// Puts pgbouncer before it, with these lines in pgbouncer.ini; its port is `POOL`.
    pub fn pool(&self, configuration: &str) {
        tool_with(&["pool", &self.name], &[("AUDIT_POOL", configuration)]);
    }

    /// Kills the postmaster and all its children with -9.
    pub fn crash(&self) {
        tool(&["crash", &self.name]);
    }

    /// Starts it again.
    pub fn restart(&self) {
        tool(&["start", &self.name]);
    }

    /// The folder of its Unix socket.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// A connection to `database` as `role`.
    pub fn connect(&self, database: &str, role: &str) -> Client {
        self.try_connect(database, role, "").expect("the cluster accepts connections")
    }

    /// A connection with startup options such as `-c audit.actor_id=x`.
    pub fn try_connect(&self, database: &str, role: &str, options: &str) -> Result<Client, postgres::Error> {
        self.config(database, role, options).connect(NoTls)
    }

    /// What such a connection takes.
    pub fn config(&self, database: &str, role: &str, options: &str) -> Config {
        let mut config = Config::new();
        config.host(&self.socket).user(role).dbname(database).options(options);
        config
    }

    /// One of PostgreSQL's client programs, connecting to this cluster as its superuser.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new(&tool(&["bin", "-"])).join(program));
        command
            .args(arguments)
            .env("PGHOST", &self.socket)
            .env("PGUSER", "postgres")
            .env("PSQLRC", "/dev/null")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs such a program.
    pub fn program(&self, program: &str, arguments: &[&str], input: Option<&str>) -> Output {
        let mut command = self.command(program, arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let mut child = command.spawn().expect("PostgreSQL's programs are there");
        if let Some(input) = input {
            use std::io::Write;
            let mut stdin = child.stdin.take().expect("standard input is piped");
            stdin.write_all(input.as_bytes()).expect("the program reads its input");
        }
        child.wait_with_output().expect("the program ends")
    }

    /// As `program`, and it must succeed; returns what it printed.
    pub fn run(&self, program: &str, arguments: &[&str], input: Option<&str>) -> String {
        let output = self.program(program, arguments, input);
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("output is UTF-8")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.temporary {
            tool(&["drop", &self.name]);
        }
    }
}

/// A database of one test, with the extension in it.
pub struct Database {
    /// Its name, which is also a prefix for roles that only this test uses.
    pub name: String,
}

impl Database {
    /// Makes it anew.
    pub fn create(label: &str) -> Self {
        let database = Self::create_empty(label);
        database.connect().batch_execute("CREATE EXTENSION audit").expect("the extension can be created");
        database
    }

    /// Makes it anew, with schemas `app` and `aside` of an `audit_admin` who is no superuser, as whom `script` runs; with that
    /// owner's session.
    pub fn owned(label: &str, script: &str) -> (Self, Client) {
        let database = Self::create(label);
        let owner = database.role("owner", &["audit_admin"]);
        database
            .connect()
            .batch_execute(&format!(
                "CALL audit.maintain(); CREATE SCHEMA app AUTHORIZATION {owner}; CREATE SCHEMA aside AUTHORIZATION {owner}"
            ))
            .expect("schemas can be created");
        let mut client = database.connect_as(&owner);
        client.batch_execute(script).unwrap_or_else(|error| panic!("{script}: {error:?}"));
        (database, client)
    }

    /// Makes it anew, without the extension.
    pub fn create_empty(label: &str) -> Self {
        Self::create_with(label, "")
    }

    /// The same, in another encoding.
    pub fn create_in_encoding(encoding: &str) -> Self {
        let options = format!("ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        Self::create_with(&encoding.to_lowercase(), &options)
    }

    fn create_with(label: &str, options: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t_{label}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut client = Cluster::shared().connect("postgres", "postgres");
        client
            .batch_execute(&format!("CREATE DATABASE {name} {options}"))
            .expect("a database can be created");
        Self { name }
    }

    /// A connection as superuser.
    pub fn connect(&self) -> Client {
        self.connect_as("postgres")
    }

    /// A connection as `role`.
    pub fn connect_as(&self, role: &str) -> Client {
        Cluster::shared().connect(&self.name, role)
    }

    /// Makes a role that can log in and is a member of `memberships`; returns its name.
    pub fn role(&self, label: &str, memberships: &[&str]) -> String {
        let role = format!("{}_{label}", self.name);
        let mut client = self.connect();
        client.batch_execute(&format!("CREATE ROLE {role} LOGIN")).expect("a role can be created");
        for group in memberships {
            client.batch_execute(&format!("GRANT {group} TO {role}")).expect("a role can be granted");
        }
        role
    }

    /// Runs a script of the checkout's with psql; it must succeed. Returns what it prints.
    pub fn script(&self, file: &str) -> String {
        let path = root().join(file);
        let path = path.to_str().expect("the checkout's path is UTF-8");
        let arguments = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.name, "-f", path];
        Cluster::shared().run("psql", &arguments, None)
    }

    /// Runs a script with psql and returns what it prints, errors included, as a terminal would show it.
    pub fn psql(&self, script: &str) -> String {
        let output = Cluster::shared().program("psql", &["-X", "-d", &self.name, "-f", "-"], Some(script));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut client = Cluster::shared().connect("postgres", "postgres");
        let name = &self.name;
        // Best effort: a test that failed half-way may leave something behind.
        let _ = client.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"));
        let roles = client
            .query("SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)", &[&format!("{name}_")]);
        for role in roles.into_iter().flatten() {
            let _ = client.batch_execute(&format!("DROP ROLE {}", role.get::<_, String>(0)));
        }
    }
}

/// The SQLSTATE, message and hint of what must be an error.
#[track_caller]
pub fn refused<T>(result: Result<T, postgres::Error>) -> (SqlState, String, String) {
    let error = result.err().expect("the server refuses it");
    let error = error.as_db_error().unwrap_or_else(|| panic!("not an error of the server: {error}"));
    (error.code().clone(), error.message().to_owned(), error.hint().unwrap_or_default().to_owned())
}

/// The first column of a query's rows, a text that is not NULL.
pub fn texts(client: &mut Client, query: &str) -> Vec<String> {
    client.query(query, &[]).expect("the query runs").iter().map(|row| row.get(0)).collect()
}

/// A small generator, so that the test needs no crate and each run differs.
pub struct Random(u64);

impl Random {
    /// A new one; different streams differ.
    pub fn new(stream: u64) -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().expect("the clock is right").as_nanos() as u64;
        Self(now.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03) | 1)
    }

    /// One that always gives the same numbers.
    pub fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number from zero to below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
