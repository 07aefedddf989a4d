//! A checkout that was copied with its target folder: its tools must not reach into the original.

use std::path::{Path, PathBuf};
use std::process::Command;

use audit_client_tests::{Cluster, root};
use postgres::{Config, NoTls};

/// A copy of the tools, the private PostgreSQL and one cluster, removed with the value.
struct Copy(PathBuf);

impl Copy {
    fn of(run: &Path, cluster: &str) -> Self {
        let copy = Self(PathBuf::from(format!("/var/tmp/audit-copy-{}", std::process::id())));
        let clusters = copy.0.join("target/run/clusters");
        std::fs::create_dir_all(&clusters).unwrap();
        copy.take(&root().join("tools"), &copy.0);
        copy.take(&root().join("Cargo.toml"), &copy.0);
        copy.take(&run.join("postgres"), &copy.0.join("target/run"));
        // What an older version of the tools left there.
        let path = run.join("pg_config.path");
        if path.exists() {
            copy.take(&path, &copy.0.join("target/run"));
        }
        copy.take(&run.join("clusters").join(cluster), &clusters);
        copy
    }

    fn take(&self, from: &Path, folder: &Path) {
        let status = Command::new("cp").arg("-a").args([from, folder]).status().unwrap();
        assert!(status.success(), "{from:?} can be copied to {folder:?}");
    }

    fn cluster(&self, command: &str, name: &str) -> String {
        let output = Command::new(self.0.join("tools/cluster")).args([command, name]).output().unwrap();
        assert!(output.status.success(), "{command} {name}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Best effort: a test that failed half-way may have left a server running.
        let _ = Command::new(self.0.join("tools/cluster")).args(["drop", "copied"]).output();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_copied_checkout_runs_its_own_postgresql() {
    let original = Cluster::temporary("copied");
    let mut client = original.connect("postgres", "postgres");
    client.batch_execute("CHECKPOINT").unwrap();
    let run = Path::new(original.socket()).parent().and_then(Path::parent).unwrap();
    let copy = Copy::of(run, "copied");
    let inside = |path: &str| assert!(Path::new(path).starts_with(&copy.0), "{path} is in the original");

    inside(&copy.cluster("bin", "-"));
    // The original's server runs on, and its postmaster.pid was copied too.
    let socket = copy.cluster("start", "copied");
    inside(&socket);
    let connect = || Config::new().host(&socket).user("postgres").dbname("postgres").connect(NoTls);
    let mut other = connect().expect("a server listens where the tool says");
    for setting in ["data_directory", "unix_socket_directories"] {
        inside(&other.query_one(&format!("SHOW {setting}"), &[]).unwrap().get::<_, String>(0));
    }
    inside(
        &other
            .query_one("SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'", &[])
            .unwrap()
            .get::<_, String>(0),
    );
    copy.cluster("drop", "copied");
    assert!(connect().is_err(), "the copy's server is gone");
    assert!(client.query_one("SELECT 1", &[]).is_ok(), "the original's server runs on");
}
