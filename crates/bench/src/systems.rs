//! The systems compared, each in a database of its own with the same application tables.

/// One way to audit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum System {
    /// None at all.
    None,
    /// This extension.
    Audit,
    /// The same event, inserted by the application with a second statement.
    ByHand,
    /// A generic PL/pgSQL row trigger, old and new row as jsonb.
    RowTrigger,
    /// A generic PL/pgSQL statement trigger with transition tables.
    StatementTrigger,
    /// The extension table_log, where it is installed.
    TableLog,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Audit, Self::ByHand, Self::RowTrigger, Self::StatementTrigger, Self::TableLog];

    /// Its name in results, and of its database.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Audit => "audit",
            Self::ByHand => "by_hand",
            Self::RowTrigger => "row_trigger",
            Self::StatementTrigger => "statement_trigger",
            Self::TableLog => "table_log",
        }
    }

    /// Rows of its bulk statements where the others do `rows`. The slowest do fewer: each of their rows costs the
    /// same, and of the PL/pgSQL triggers it is the statement trigger that is compared in bulk.
    pub fn bulk(self, rows: u32) -> u32 {
        if matches!(self, Self::TableLog | Self::RowTrigger) { rows / 5 } else { rows }
    }

    /// Rows of its wide UPDATE where the others do `rows`: the peers, which store all 20 KB of each row, do fewer.
    pub fn wide(self, rows: u32) -> u32 {
        if matches!(self, Self::None | Self::Audit) { rows } else { rows / 20 }
    }

    /// Whether its throughput with several clients is measured.
    pub fn serves_clients(self) -> bool {
        matches!(self, Self::None | Self::Audit | Self::RowTrigger)
    }

    /// The tables that hold its log.
    pub fn logs(self) -> &'static [&'static str] {
        match self {
            Self::None => &[],
            Self::Audit => &["audit.event_default"],
            Self::TableLog => &["item_log", "wide_log"],
            _ => &["log"],
        }
    }

    /// What makes it audit the application's tables.
    pub fn setup(self) -> String {
        let triggers = |body: fn(&str) -> String| ["item", "wide"].map(body).concat();
        match self {
            Self::None => String::new(),
            Self::Audit => "CREATE EXTENSION audit;
                SELECT audit.track('item', 'item', organisation_id => 'organisation_id', project_id => 'project_id'),
                       audit.track('wide', 'wide', organisation_id => 'organisation_id', project_id => 'project_id');"
                .to_owned()
                + RULED,
            Self::ByHand => LOG.into(),
            Self::RowTrigger => {
                LOG.to_owned()
                    + ROW_FUNCTION
                    + &triggers(|table| {
                        format!(
                            "CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table}
                             FOR EACH ROW EXECUTE FUNCTION log_row();"
                        )
                    })
            }
            Self::StatementTrigger => {
                LOG.to_owned()
                    + STATEMENT_FUNCTION
                    + &triggers(|table| {
                        format!(
                            "CREATE TRIGGER audit_i AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows
                             FOR EACH STATEMENT EXECUTE FUNCTION log_statement();
                             CREATE TRIGGER audit_u AFTER UPDATE ON {table} REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
                             FOR EACH STATEMENT EXECUTE FUNCTION log_statement();
                             CREATE TRIGGER audit_d AFTER DELETE ON {table} REFERENCING OLD TABLE AS old_rows
                             FOR EACH STATEMENT EXECUTE FUNCTION log_statement();"
                        )
                    })
            }
            Self::TableLog => "CREATE EXTENSION table_log;
                SELECT table_log_init(5, 'item'), table_log_init(5, 'wide');"
                .into(),
        }
    }
}

/// The application's tables: ten columns, and sixty with 20 KB of jsonb.
pub const TABLES: &str = "
    CREATE TABLE item (
        id uuid PRIMARY KEY, organisation_id uuid, project_id uuid, name text, attributes jsonb, active boolean,
        amount bigint, created_at timestamptz, updated_at timestamptz, note text
    );
    DO $$ BEGIN
        EXECUTE (SELECT format('CREATE TABLE wide (id uuid PRIMARY KEY, organisation_id uuid, project_id uuid, changing int, document jsonb, %s)',
                               string_agg(format('c%s %s', n, (ARRAY['text', 'int', 'timestamptz', 'numeric', 'boolean'])[1 + n % 5]), ', '))
                 FROM generate_series(6, 60) n);
    END $$;";

/// A table as `item`, with rules: as fast as one without, where none has a condition.
const RULED: &str = r#"
    CREATE TABLE ruled (LIKE item INCLUDING ALL);
    SELECT audit.track('ruled', 'ruled', organisation_id => 'organisation_id', project_id => 'project_id', actions => $$ {"rules": [
        {"on": "update", "columns": ["name"], "action": "ruled.renamed"},
        {"on": "update", "columns": ["active"], "action": "ruled.switched"},
        {"on": "update", "columns": ["amount"], "action": "ruled.counted"},
        {"on": "update", "columns": ["note"], "action": null}]} $$);"#;

/// One row of `item`, from a number `n`.
pub const ITEM: &str = "
    md5(n::text)::uuid, md5((n % 100)::text)::uuid, md5((n % 1000)::text)::uuid, 'item number ' || n,
    jsonb_build_object('model', 'large', 'temperature', 0.7, 'tags', jsonb_build_array('a', 'b')), n % 2 = 0,
    n, timestamptz '2026-01-01' + n * interval '1 second', timestamptz '2026-01-02', 'a note of some length'";

/// One row of `wide`, from a number `n`.
pub fn wide_row() -> String {
    let rest: Vec<String> = (6..=60)
        .map(|n| {
            match n % 5 {
                0 => "'some text ' || n",
                1 => "n",
                2 => "timestamptz '2026-01-01'",
                3 => "n + 0.25",
                _ => "true",
            }
            .to_owned()
        })
        .collect();
    format!(
        "md5(n::text)::uuid, md5((n % 100)::text)::uuid, md5((n % 1000)::text)::uuid, 0,
         (SELECT jsonb_object_agg('key' || k, md5((n * k)::text)) FROM generate_series(1, 450) k), {}",
        rest.join(", ")
    )
}

/// A log with the columns and indexes of `audit.event`, as a DBA would make it.
const LOG: &str = r#"
    CREATE TABLE log (
        event_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), occurred_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(), action text COLLATE "C" NOT NULL,
        resource_type text COLLATE "C", resource_id text COLLATE "C", actor_id text COLLATE "C", actor_type text COLLATE "C",
        organisation_id text COLLATE "C", project_id text COLLATE "C", before_state jsonb, after_state jsonb, metadata jsonb,
        session_role text COLLATE "C" DEFAULT session_user, db_role text COLLATE "C" DEFAULT current_user,
        application_name text DEFAULT current_setting('application_name'), client_addr inet DEFAULT inet_client_addr(),
        table_name text COLLATE "C"
    );
    CREATE INDEX ON log (organisation_id, action, event_id) WITH (deduplicate_items = off);
    CREATE INDEX ON log (project_id, action, event_id) WITH (deduplicate_items = off);
    CREATE INDEX ON log (resource_id, resource_type, event_id) WITH (deduplicate_items = off);
    CREATE INDEX ON log (actor_id, event_id) WITH (deduplicate_items = off);
    CREATE INDEX ON log (action, event_id) WITH (deduplicate_items = off);"#;

const ROW_FUNCTION: &str = "
    CREATE FUNCTION log_row() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO log (action, resource_type, resource_id, actor_id, organisation_id, project_id, after_state, table_name)
            VALUES (TG_TABLE_NAME || '.created', TG_TABLE_NAME, NEW.id, current_setting('audit.actor_id', true),
                    NEW.organisation_id, NEW.project_id, to_jsonb(NEW), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
        ELSIF TG_OP = 'UPDATE' THEN
            INSERT INTO log (action, resource_type, resource_id, actor_id, organisation_id, project_id, before_state, after_state, table_name)
            VALUES (TG_TABLE_NAME || '.updated', TG_TABLE_NAME, NEW.id, current_setting('audit.actor_id', true),
                    NEW.organisation_id, NEW.project_id, to_jsonb(OLD), to_jsonb(NEW), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
        ELSE
            INSERT INTO log (action, resource_type, resource_id, actor_id, organisation_id, project_id, before_state, table_name)
            VALUES (TG_TABLE_NAME || '.deleted', TG_TABLE_NAME, OLD.id, current_setting('audit.actor_id', true),
                    OLD.organisation_id, OLD.project_id, to_jsonb(OLD), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME);
        END IF;
        RETURN NULL;
    END $$;";

const STATEMENT_FUNCTION: &str = "
    CREATE FUNCTION log_statement() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            INSERT INTO log (action, resource_type, resource_id, actor_id, organisation_id, project_id, after_state, table_name)
            SELECT TG_TABLE_NAME || '.created', TG_TABLE_NAME, n.id, current_setting('audit.actor_id', true),
                   n.organisation_id, n.project_id, to_jsonb(n), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME FROM new_rows n;
        ELSIF TG_OP = 'UPDATE' THEN
            INSERT INTO log (action, resource_type, resource_id, actor_id, organisation_id, project_id, before_state, after_state, table_name)
            SELECT TG_TABLE_NAME || '.updated', TG_TABLE_NAME, n.id, current_setting('audit.actor_id', true),
                   n.organisation_id, n.project_id, to_jsonb(o), to_jsonb(n), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME
            FROM old_rows o JOIN new_rows n USING (id);
        ELSE
            INSERT INTO log (action, resource_type, resource_id, actor_id, organisation_id, project_id, before_state, table_name)
            SELECT TG_TABLE_NAME || '.deleted', TG_TABLE_NAME, o.id, current_setting('audit.actor_id', true),
                   o.organisation_id, o.project_id, to_jsonb(o), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME FROM old_rows o;
        END IF;
        RETURN NULL;
    END $$;";
