//! Settings: how they follow the table, and what identifies an event.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use pgrx::prelude::*;

    use crate::pg::row::OpenRelation;
    use crate::tests::{run, value};
    use crate::tracking::Tracking;

    #[pg_test]
    fn a_table_that_is_gone_is_not_opened() {
        run("CREATE TABLE gone ()");
        let table = value("SELECT 'gone'::regclass::oid");
        assert!(OpenRelation::peek(table).is_some());
        run("DROP TABLE gone");
        assert!(OpenRelation::peek(table).is_none());
    }

    #[pg_test]
    fn keys_of_every_shape() {
        run("CREATE TABLE composite (b text, a int, PRIMARY KEY (a, b));
         CREATE TABLE keyless (v int);
         CREATE TABLE chosen (id int PRIMARY KEY, code text, org uuid);
         SELECT audit.track('composite', 'composite'), audit.track('keyless', 'keyless'),
                audit.track('chosen', 'chosen', resource_id => '{code}', organisation_id => 'org');
         INSERT INTO composite VALUES ('x:y', 1);
         INSERT INTO keyless VALUES (1);
         INSERT INTO chosen VALUES (1, 'c', '00112233-4455-6677-8899-aabbccddeeff');
         UPDATE chosen SET code = 'd';
         UPDATE chosen SET code = NULL;");
        let ids: String = value(
        "SELECT string_agg(concat_ws('/', action, coalesce(resource_id, '-'), organisation_id, before_state), ' ' ORDER BY event_id)
         FROM audit.row_event",
    );
        // Where the key is another column, it is in every image.
        assert_eq!(
            ids,
            r#"composite.created/1:x:y keyless.created/- chosen.created/c/00112233-4455-6677-8899-aabbccddeeff chosen.updated/d/00112233-4455-6677-8899-aabbccddeeff/{"id": 1, "code": "c"} chosen.updated/-/00112233-4455-6677-8899-aabbccddeeff/{"id": 1, "code": "d"}"#
        );
    }

    #[pg_test]
    fn actions_are_configured() {
        run(r#"CREATE TABLE member (id int PRIMARY KEY, role text);
           SELECT audit.track('member', 'user',
               actions => '{"insert": "organisation.user.added", "update": "organisation.user.role.assigned", "delete": null}');
           INSERT INTO member VALUES (1, 'a'); UPDATE member SET role = 'b'; DELETE FROM member; TRUNCATE member;"#);
        let actions: String = value("SELECT string_agg(action, ' ' ORDER BY event_id) FROM audit.row_event");
        assert_eq!(actions, "organisation.user.added organisation.user.role.assigned user.truncated");
        // What is configured is in the catalogue; what was there keeps its description.
        let catalogue: String = value(
            "SELECT string_agg(pattern || ': ' || shows, ', ' ORDER BY pattern) FROM audit.catalogue
         WHERE pattern IN ('organisation.user.added', 'user.truncated')",
        );
        assert_eq!(
            catalogue,
            "organisation.user.added: User added to organization, user.truncated: Configured for resource type user"
        );
    }

    #[pg_test]
    fn the_catalogue_is_the_product_pages() {
        let counts: String = value(
        "SELECT format('%s %s %s', count(*), count(*) FILTER (WHERE pattern LIKE '%*'), count(*) FILTER (WHERE built_in))
         FROM audit.catalogue",
    );
        assert_eq!(counts, "67 16 67");
        let malformed: i64 =
            value("SELECT count(*) FROM audit.catalogue WHERE audit.check_pattern(pattern) IS NOT NULL");
        assert_eq!(malformed, 0);
    }

    #[pg_test]
    fn a_renamed_column_keeps_its_setting() {
        run("CREATE TABLE t (id int PRIMARY KEY, secret text, org text, noise int);
         SELECT audit.track('t', 't', organisation_id => 'org', mask => '{secret}', exclude => '{noise}');
         ALTER TABLE t RENAME secret TO tmp;
         ALTER TABLE t RENAME noise TO secret;
         ALTER TABLE t RENAME tmp TO noise;
         ALTER TABLE t RENAME org TO tenant;
         ALTER TABLE t RENAME TO renamed;
         INSERT INTO renamed VALUES (1, 'pw', 'o', 5);");
        let event: String =
            value("SELECT concat_ws(' ', table_name, organisation_id, after_state) FROM audit.row_event");
        assert_eq!(event, r#"public.renamed o {"id": 1, "noise": "[masked]", "tenant": "o"}"#);
        let settings: String =
            value("SELECT format('%s %s %s', organisation_id, exclude, mask) FROM audit.tracked_table");
        assert_eq!(settings, "tenant {secret} {noise}");
    }

    #[pg_test]
    fn a_typed_tables_type_can_rename_too() {
        run("CREATE TYPE row_type AS (id int, secret text);
         CREATE TABLE typed OF row_type (PRIMARY KEY (id));
         SELECT audit.track('typed', 'typed', mask => '{secret}');
         ALTER TYPE row_type RENAME ATTRIBUTE secret TO hush CASCADE;
         INSERT INTO typed VALUES (1, 'pw');");
        assert_eq!(
            value::<String>("SELECT after_state::text FROM audit.row_event"),
            r#"{"id": 1, "hush": "[masked]"}"#
        );
    }

    #[pg_test]
    fn a_masked_column_may_go_and_its_replacement_is_masked() {
        run("CREATE TABLE t (id int PRIMARY KEY, secret text);
         SELECT audit.track('t', 't', mask => '{secret}');
         ALTER TABLE t DROP secret, ADD secret varchar(100);
         INSERT INTO t VALUES (1, 'pw');
         ALTER TABLE t DROP secret;");
        assert_eq!(value::<String>("SELECT after_state ->> 'secret' FROM audit.row_event"), "[masked]");
        // The name stays, for whatever column takes its place.
        assert_eq!(value::<String>("SELECT mask::text FROM audit.tracked_table"), "{secret}");
    }

    #[pg_test(error = "the audit of public.t would lose its organisation_id")]
    fn a_scope_column_cannot_be_dropped() {
        run("CREATE TABLE t (id int PRIMARY KEY, org text);
         SELECT audit.track('t', 't', organisation_id => 'org');
         ALTER TABLE t DROP org;");
    }

    #[pg_test]
    fn partitions_are_tracked_with_their_table() {
        run("CREATE TABLE p (id int, secret text, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
         CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu');
         CREATE TABLE p_us (region text NOT NULL, dropped int, secret text, id int NOT NULL);
         ALTER TABLE p_us DROP dropped;
         SELECT audit.track('p', 'p', mask => '{secret}');
         ALTER TABLE p ATTACH PARTITION p_us FOR VALUES IN ('us');
         INSERT INTO p VALUES (1, 'pw', 'eu'), (2, 'pw', 'us');
         INSERT INTO p_us VALUES ('us', 'pw', 3);
         ALTER TABLE p RENAME secret TO hush;
         UPDATE p SET hush = 'x' WHERE id = 3;
         SELECT audit.track('p', 'q', mask => '{hush}');
         DELETE FROM p_us WHERE id = 3;");
        let events: String = value(
        "SELECT string_agg(concat_ws('/', action, resource_id, table_name, coalesce(before_state, after_state)), ' ' ORDER BY event_id)
         FROM audit.row_event",
    );
        assert_eq!(
            events,
            [
                r#"p.created/1:eu/public.p_eu/{"id": 1, "region": "eu", "secret": "[masked]"}"#,
                r#"p.created/2:us/public.p_us/{"id": 2, "region": "us", "secret": "[masked]"}"#,
                r#"p.created/3:us/public.p_us/{"id": 3, "region": "us", "secret": "[masked]"}"#,
                r#"p.updated/3:us/public.p_us/{"hush": "[masked]"}"#,
                r#"q.deleted/3:us/public.p_us/{"id": 3, "hush": "[masked]", "region": "us"}"#,
            ]
            .join(" ")
        );
    }

    #[pg_test]
    fn tracking_ends_with_untrack_and_with_the_table() {
        run("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
         SELECT audit.track('t', 't'), audit.track('u', 'u');
         SELECT audit.untrack('t'); DROP TABLE u;
         INSERT INTO t VALUES (1);");
        assert_eq!(value::<i64>("SELECT count(*) FROM audit.tracked_table"), 0);
        assert_eq!(value::<i64>("SELECT count(*) FROM audit.row_event"), 0);
    }

    #[pg_test]
    fn the_view_says_whether_triggers_are_alive() {
        let alive = || value::<bool>("SELECT alive FROM audit.tracked_table");
        run("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.track('t', 't')");
        assert!(alive());
        run("ALTER TABLE t DISABLE TRIGGER \"!audit_truncate\"");
        assert!(!alive());
        run("SELECT audit.track('t', 't', on_replica => true)");
        assert!(alive());
        run("ALTER TABLE t ENABLE TRIGGER \"!audit_row\"");
        assert!(!alive(), "an ordinary trigger does not see what replication applies");
        run(
            "SELECT audit.track('t', 't'); ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t ADD secret text;",
        );
        assert!(!alive(), "following DDL must not hide a disabled trigger");
        run("SELECT audit.track('t', 't'); DROP TRIGGER \"!audit_truncate\" ON t");
        assert!(!alive());
    }

    #[pg_test]
    fn settings_are_ascii_in_any_encoding() {
        let tracking =
            Tracking { resource_type: "a".into(), mask: vec!["é😀".into()], ..Tracking::default() };
        let argument = tracking.to_argument();
        assert!(argument.is_ascii(), "{argument}");
        assert_eq!(Tracking::parse(argument.as_bytes()).expect("it is JSON"), tracking);
        run("CREATE TABLE t (id int PRIMARY KEY, \"é😀\" text); SELECT audit.track('t', 't', mask => '{é😀}');
         INSERT INTO t VALUES (1, 'pw')");
        assert_eq!(value::<String>("SELECT after_state ->> 'é😀' FROM audit.row_event"), "[masked]");
    }

    #[pg_test]
    fn ids_and_times_agree_and_increase() {
        run("CREATE TABLE t (id int PRIMARY KEY); SELECT audit.track('t', 't');
         INSERT INTO t SELECT generate_series(1, 2000);");
        let agree: bool = value(
            "SELECT bool_and(('x' || left(replace(event_id::text, '-', ''), 12))::bit(48)::bigint * 1000
                         + ('x' || substr(event_id::text, 16, 3))::bit(12)::int
                         = extract(epoch FROM occurred_at) * 1000000)
         FROM audit.row_event",
        );
        assert!(agree);
        let ordered: bool = value(
            "SELECT array_agg(resource_id::int ORDER BY event_id) = array_agg(resource_id::int ORDER BY resource_id::int) FROM audit.row_event",
        );
        assert!(ordered);
        let mine: bool = value("SELECT bool_and(transaction_id = pg_current_xact_id()) FROM audit.row_event");
        assert!(mine);
    }

    #[pg_test]
    fn a_secret_names_no_resource_and_no_scope() {
        run("CREATE TABLE t (email text, id text GENERATED ALWAYS AS (lower(email)) STORED PRIMARY KEY,
                             org text GENERATED ALWAYS AS (email || 'x') STORED, own text UNIQUE);
             CREATE TABLE u (id int PRIMARY KEY, secret text, t text REFERENCES t (own));
             CREATE TABLE v (id int PRIMARY KEY, u int REFERENCES u);
             SELECT audit.track('u', 'u', mask => '{secret}');");
        let refused = |call: &str| -> String {
            value(&format!(
                "SELECT CASE WHEN e LIKE '%cannot be masked or excluded%' OR e LIKE '%would lose its%' THEN 'refused' ELSE e END
                 FROM refusal({}) e",
                pgrx::spi::quote_literal(call)
            ))
        };
        run("CREATE FUNCTION refusal(call text) RETURNS text LANGUAGE plpgsql AS $$
             BEGIN EXECUTE call; RETURN 'accepted'; EXCEPTION WHEN OTHERS THEN RETURN sqlerrm; END $$");
        for call in [
            "SELECT audit.track('t', 't', mask => '{email}')",
            "SELECT audit.track('t', 't', mask => '{email}', resource_id => '{own}', organisation_id => 'org')",
            "SELECT audit.track('t', 't', exclude => '{email}', resource_id => '{own}', project_id => 'org')",
            "SELECT audit.track('v', 'v', organisation_id => 'u.secret')",
        ] {
            assert_eq!(refused(call), "refused", "{call}");
        }
        run("SELECT audit.track('t', 't', mask => '{email}', resource_id => '{own}');
             SELECT audit.untrack('u'); SELECT audit.track('v', 'v', organisation_id => 'u.secret')");
        assert_eq!(refused("SELECT audit.track('u', 'u', mask => '{secret}')"), "refused");
    }

    #[pg_test]
    fn a_deferrable_key_is_a_key() {
        run(
            "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v int); SELECT audit.track('t', 't'); INSERT INTO t VALUES (1, 1)",
        );
        assert_eq!(value::<String>("SELECT resource_id FROM audit.row_event"), "1");
    }

    #[pg_test]
    fn what_is_generated_from_a_secret_is_a_secret() {
        run("CREATE TABLE t (id int PRIMARY KEY, first text, last text, noise int,
                             shown text GENERATED ALWAYS AS (upper(first)) STORED, copied text GENERATED ALWAYS AS (last || '!') STORED,
                             echo int GENERATED ALWAYS AS (noise + 1) STORED);
             SELECT audit.track('t', 't', mask => '{last}', exclude => '{noise}');
             INSERT INTO t VALUES (1, 'a', 'hush', 5);
             UPDATE t SET last = 'hush hush', noise = 6;
             ALTER TABLE t ADD again text GENERATED ALWAYS AS (reverse(last)) STORED;
             DELETE FROM t;");
        let images: String = value(
            "SELECT string_agg(concat_ws('>', before_state, after_state), E'\n' ORDER BY event_id) FROM audit.row_event",
        );
        assert_eq!(
            images,
            [
                r#"{"id": 1, "last": "[masked]", "first": "a", "shown": "A", "copied": "[masked]"}"#,
                r#"{"last": "[masked]", "copied": "[masked]"}>{"last": "[masked]", "copied": "[masked]"}"#,
                r#"{"id": 1, "last": "[masked]", "again": "[masked]", "first": "a", "shown": "A", "copied": "[masked]"}"#,
            ]
            .join("\n")
        );
    }
}
