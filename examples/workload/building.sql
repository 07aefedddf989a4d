-- A week in which one project tries things out. Variables: organisation, project, lead, helper, week.
\set key key_ :project

-- A prompt comes with its first version, which is promoted at once.
\set name prompt- :week
BEGIN;
SET LOCAL audit.actor_id = :'lead';
INSERT INTO prompts (project_id, name) VALUES (:'project', :'name') RETURNING id AS prompt \gset
INSERT INTO prompt_versions (prompt_id, version, template, is_promoted) VALUES (:prompt, 1, 'Say hello to {{name}}.', true) RETURNING id AS first \gset
COMMIT;
\qecho request :lead
\qecho + prompts prompt.created prompt :prompt :organisation :project name=:name
\qecho + prompt_versions prompt.version_created prompt :prompt :organisation :project id=:first version=1 is_promoted=true

-- The helper drafts a second one and reworks it twice; what is the same as before is no change.
BEGIN;
SET LOCAL audit.actor_id = :'helper';
INSERT INTO prompt_versions (prompt_id, version, template) VALUES (:prompt, 2, 'Greet {{name}}.') RETURNING id AS second \gset
COMMIT;
\qecho request :helper
\qecho + prompt_versions prompt.version_created prompt :prompt :organisation :project id=:second is_promoted=false

BEGIN;
SET LOCAL audit.actor_id = :'helper';
UPDATE prompt_versions SET template = 'Greet {{name}} warmly.' WHERE id = :second;
UPDATE prompt_versions SET template = 'Greet {{name}} warmly.', note = 'friendlier' WHERE id = :second;
COMMIT;
\qecho request :helper
\qecho ~ prompt_versions prompt.updated prompt :prompt :organisation :project id template
\qecho ~ prompt_versions prompt.updated prompt :prompt :organisation :project id note=null>friendlier

-- The lead promotes it, which demotes the first, and says so in its note.
BEGIN;
SET LOCAL audit.actor_id = :'lead';
UPDATE prompt_versions SET is_promoted = false WHERE prompt_id = :prompt AND is_promoted;
UPDATE prompt_versions SET is_promoted = true, note = 'approved' WHERE id = :second;
COMMIT;
\qecho request :lead
\qecho ~ prompt_versions prompt.version_promoted prompt :prompt :organisation :project id=:second>:second is_promoted=false>true
\qecho ~ prompt_versions prompt.updated prompt :prompt :organisation :project id=:second>:second note=friendlier>approved

-- It is served, which the application stamps, and gets a tag.
BEGIN;
SET LOCAL audit.actor_id = :'key'; SET LOCAL audit.actor_type = 'api-key';
UPDATE prompts SET last_used_at = now() WHERE id = :prompt;
COMMIT;
\qecho request :key api-key

BEGIN;
SET LOCAL audit.actor_id = :'helper';
UPDATE prompts SET tags = '{greeting}', last_used_at = now() WHERE id = :prompt;
COMMIT;
\qecho request :helper
\qecho ~ prompts prompt.updated prompt :prompt :organisation :project tags

-- A dataset and what is in it: the items are data, and their number is counted.
\set name golden- :week
BEGIN;
SET LOCAL audit.actor_id = :'helper';
INSERT INTO datasets (project_id, name) VALUES (:'project', :'name') RETURNING id AS dataset \gset
INSERT INTO dataset_items (dataset_id, input) SELECT :dataset, 'question ' || n FROM generate_series(1, 20) n;
UPDATE datasets SET item_count = 20 WHERE id = :dataset;
COMMIT;
\qecho request :helper
\qecho + datasets dataset.created dataset :dataset :organisation :project name=:name

BEGIN;
SET LOCAL audit.actor_id = :'lead';
UPDATE datasets SET description = 'Answers checked by hand', item_count = 21 WHERE id = :dataset;
COMMIT;
\qecho request :lead
\qecho ~ datasets dataset.updated dataset :dataset :organisation :project description

-- An experiment on it, with its first run; the worker runs it; the lead runs it again.
BEGIN;
SET LOCAL audit.actor_id = :'lead'; SET LOCAL audit.metadata = '{"request_id": "experiment", "ip": "203.0.113.9"}';
INSERT INTO experiments (project_id, dataset_id, name) VALUES (:'project', :dataset, 'tone') RETURNING id AS experiment \gset
INSERT INTO runs (project_id, experiment_id) VALUES (:'project', :experiment) RETURNING id AS run \gset
COMMIT;
\qecho request :lead user experiment
\qecho + experiments experiment.created experiment :experiment :organisation :project name=tone dataset_id=:dataset

BEGIN;
SET LOCAL audit.actor_id = 'runner'; SET LOCAL audit.actor_type = 'system';
UPDATE runs SET status = 'running' WHERE id = :run;
UPDATE runs SET items_done = 20 WHERE id = :run;
UPDATE runs SET status = 'done' WHERE id = :run;
UPDATE experiments SET status = 'done' WHERE id = :experiment;
COMMIT;
\qecho request runner system

BEGIN;
SET LOCAL audit.actor_id = :'lead';
INSERT INTO runs (project_id, experiment_id, number) VALUES (:'project', :experiment, 2) RETURNING id AS run \gset
UPDATE experiments SET status = 'queued', name = 'tone, again' WHERE id = :experiment;
COMMIT;
\qecho request :lead
\qecho + runs experiment.rerun experiment :experiment :organisation :project id=:run number=2 evaluation_id=null
\qecho ~ experiments experiment.updated experiment :experiment :organisation :project name

-- The dataset is thrown away: the experiment outlives it and loses it.
BEGIN;
SET LOCAL audit.actor_id = :'helper';
DELETE FROM datasets WHERE id = :dataset;
COMMIT;
\qecho request :helper
\qecho - datasets dataset.deleted dataset :dataset :organisation :project
\qecho ~ experiments experiment.updated experiment :experiment :organisation :project dataset_id=:dataset>null

-- An evaluation; continuous integration runs it twice more, and fails to a third time.
BEGIN;
SET LOCAL audit.actor_id = :'helper';
INSERT INTO evaluations (project_id, name, criterion) VALUES (:'project', 'politeness', 'Is the answer polite?') RETURNING id AS evaluation \gset
INSERT INTO runs (project_id, evaluation_id) VALUES (:'project', :evaluation);
COMMIT;
\qecho request :helper
\qecho + evaluations evaluation.created evaluation :evaluation :organisation :project name=politeness

BEGIN;
SET LOCAL audit.actor_id = :'key'; SET LOCAL audit.actor_type = 'api-key'; SET LOCAL audit.metadata = '{"request_id": "build"}';
INSERT INTO runs (project_id, evaluation_id, number) VALUES (:'project', :evaluation, 2), (:'project', :evaluation, 3);
UPDATE evaluations SET status = 'running' WHERE id = :evaluation;
COMMIT;
\qecho request :key api-key build
\qecho + runs evaluation.rerun evaluation :evaluation :organisation :project number=2 experiment_id=null
\qecho + runs evaluation.rerun evaluation :evaluation :organisation :project number=3

BEGIN;
SET LOCAL audit.actor_id = :'key'; SET LOCAL audit.actor_type = 'api-key';
INSERT INTO runs (project_id, evaluation_id, number) VALUES (:'project', :evaluation, 4);
ROLLBACK;
\qecho request :key api-key

-- Somebody deletes the prompt and thinks better of it.
BEGIN;
SET LOCAL audit.actor_id = :'helper';
DELETE FROM prompts WHERE id = :prompt;
ROLLBACK;
\qecho request :helper

-- Cleaning up: what goes with the experiment, the evaluation and the prompt (runs, versions) is no event of its own.
BEGIN;
SET LOCAL audit.actor_id = :'lead';
DELETE FROM experiments WHERE id = :experiment;
DELETE FROM evaluations WHERE id = :evaluation;
COMMIT;
\qecho request :lead
\qecho - experiments experiment.deleted experiment :experiment :organisation :project status=queued
\qecho - evaluations evaluation.deleted evaluation :evaluation :organisation :project status=running

\set name scratch- :week
BEGIN;
SET LOCAL audit.actor_id = :'lead';
INSERT INTO prompts (project_id, name) VALUES (:'project', :'name') RETURNING id AS scratch \gset
INSERT INTO prompt_versions (prompt_id, version, template) VALUES (:scratch, 1, 'Hm'), (:scratch, 2, 'Hm?');
DELETE FROM prompts WHERE id = :scratch;
COMMIT;
\qecho request :lead
\qecho + prompts prompt.created prompt :scratch :organisation :project
\qecho + prompt_versions prompt.version_created prompt :scratch :organisation :project version=1
\qecho + prompt_versions prompt.version_created prompt :scratch :organisation :project version=2
\qecho - prompts prompt.deleted prompt :scratch :organisation :project name=:name
