//! `CALL audit.maintain()`, whatever its caller has set.

use audit_client_tests::{Cluster, texts};

#[test]
fn a_month_is_where_the_database_is_whatever_the_caller_set() {
    let cluster = Cluster::temporary("tablespace");
    let mut dba = cluster.connect("postgres", "postgres");
    dba.batch_execute("SET allow_in_place_tablespaces = on").unwrap();
    dba.batch_execute("CREATE TABLESPACE elsewhere LOCATION ''").unwrap();
    dba.batch_execute(
        "CREATE EXTENSION audit;
         CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler;
         CREATE ROLE maintainer LOGIN IN ROLE audit_admin;",
    )
    .unwrap();
    let mut maintainer = cluster.connect("postgres", "maintainer");
    maintainer
        .batch_execute("SET default_tablespace = elsewhere; SET default_table_access_method = other")
        .unwrap();
    maintainer.batch_execute("CALL audit.maintain()").unwrap();
    let places = "SELECT DISTINCT concat_ws(' ', c.reltablespace, m.amname) FROM pg_inherits i
                  JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_am m ON m.oid = c.relam WHERE i.inhparent = 'audit.event'::regclass";
    assert_eq!(texts(&mut dba, places), ["0 heap"]);
    let count = "SELECT count(*)::text FROM pg_inherits WHERE inhparent = 'audit.event'::regclass";
    assert_eq!(texts(&mut dba, count), ["5"]);
}
