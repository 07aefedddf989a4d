//! An application with a view of its own admins, for tests of `audit.use_admins_from`.

use postgres::Client;

use crate::{Database, SqlState};

/// Events of two organisations, an owner of the application's schema, and a role of its service.
pub struct Setting {
    /// Its own.
    pub database: Database,
    /// Owns the view and its tables; a member of audit_admin.
    pub app: String,
    /// The service: sets the actor and reads.
    pub service: String,
}

impl Setting {
    /// With no view yet.
    pub fn new(label: &str) -> Self {
        let database = Database::create(label);
        let app = database.role("app", &["audit_admin"]);
        let service = database.role("service", &["audit_reader", "audit_writer"]);
        database
            .connect()
            .batch_execute(&format!(
                "CREATE SCHEMA app AUTHORIZATION {app};
                 SELECT audit.record('a.b', 't', 'r', o) FROM (VALUES ('o1'), ('o2'), (NULL)) v (o);"
            ))
            .unwrap();
        Self { database, app, service }
    }

    /// With a table of members, u1 in o1, and a view over it.
    pub fn with_view(label: &str) -> Self {
        let setting = Self::new(label);
        setting
            .owner()
            .batch_execute(
                "CREATE TABLE app.member (actor_id text, organisation_id text, project_id text, instance_owner boolean);
                 INSERT INTO app.member VALUES ('u1', 'o1');
                 CREATE VIEW app.admins AS SELECT * FROM app.member;
                 SELECT audit.use_admins_from('app.admins');",
            )
            .unwrap();
        setting
    }

    /// With what `script` makes, app.admins among it.
    pub fn with(label: &str, script: &str) -> Self {
        let setting = Self::new(label);
        setting.owner().batch_execute(script).unwrap();
        setting.owner().batch_execute("SELECT audit.use_admins_from('app.admins')").unwrap();
        setting
    }

    /// As the view's owner.
    pub fn owner(&self) -> Client {
        self.database.connect_as(&self.app)
    }

    /// As the service on behalf of `actor`.
    pub fn actor(&self, actor: &str) -> Client {
        let mut client = self.database.connect_as(&self.service);
        client.execute("SELECT set_config('audit.actor_id', $1, false)", &[&actor]).unwrap();
        client
    }
}

/// The organisations whose events are seen, beside those of the grants themselves.
pub const SEEN: &str = "SELECT organisation_id FROM audit.event WHERE organisation_id IS NOT NULL AND action NOT LIKE 'audit.%' ORDER BY 1";

/// What an actor is told while the source cannot be read.
#[track_caller]
pub fn unreadable(client: &mut Client, why: &str) {
    for query in [SEEN, "SELECT * FROM audit.log(pattern => '*')", "SELECT * FROM audit.history('t', 'r')"] {
        let error = client.query(query, &[]).expect_err("the source cannot be read");
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(*error.code(), SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "{error}");
        assert!(error.message().contains("app.admins"), "{error}");
        assert!(
            error.detail().is_some_and(|detail| detail.contains(why)),
            "{:?} has no {why}",
            error.detail()
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("audit.use_admins_from")));
    }
}
