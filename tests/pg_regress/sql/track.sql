-- Tracking a table, and what the view shows.
CREATE TABLE datasource (id uuid PRIMARY KEY, organisation_id text, project_id text, name text, password text, touched int);
SELECT audit.track('datasource', 'datasource');
SELECT * FROM audit.tracked_table;
-- Again: all settings are replaced, and a NOTICE says what changed.
SELECT audit.track('datasource', 'datasource', organisation_id => 'organisation_id', project_id => 'project_id',
                   mask => '{password}', exclude => '{touched}', personal => '{name}');
SELECT audit.track('datasource', 'datasource', organisation_id => 'organisation_id', project_id => 'project_id',
                   mask => '{password}', exclude => '{touched}', personal => '{name}');
SELECT audit.track('datasource', 'datasource', actions => '{"insert": "datasource.connected", "truncate": null}', on_replica => true);
\x
SELECT * FROM audit.tracked_table;
\x
SELECT pattern, shows FROM audit.catalogue WHERE NOT built_in ORDER BY pattern;
-- Triggers as \d shows them.
\d datasource
SELECT audit.untrack('datasource');
SELECT count(*) FROM audit.tracked_table;
DROP TABLE datasource;
