-- The sample application at work: ten people in three organisations, their API keys and the application's own workers, several
-- hundred transactions of what a web request, an import or a job sends.
--
-- Beside each request stands what the log should say of it. psql prints these lines (\qecho fills in the ids that the writes
-- returned), and a test compares them with the log one by one. They were written from what the requests mean, not from tracking.sql:
--
--     request ACTOR [TYPE [REQUEST_ID]]       one transaction; nothing follows where it leaves no event. N/A: nobody is named
--     + TABLE ACTION RESOURCE_TYPE RESOURCE_ID ORGANISATION PROJECT column=value ...        a row came
--     - TABLE ACTION ...                      a row went; its images have all columns, see below, of which some values are checked
--     ~ TABLE ACTION ... column column=old>new ...       exactly these columns changed
--     < TABLE ACTION ...  and  > TABLE ACTION ...        the same, where a row left one scope and came into another
--     . - ACTION ...                          recorded by the application itself; no table, no images
--     in any order                            one statement did the rest of the request, so its order is PostgreSQL's
--
-- N/A stands for NULL. Each secret has the word topsecret in it, which must be nowhere in the log.
\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on

-- What an event shows of a row that came or went: all but what the application counts or stamps for itself.
\qecho columns organisations id,name,plan,billing_email,created_at
\qecho columns users id,email,name,password_hash,totp_seed,is_instance_owner,created_at
\qecho columns invitations id,organisation_id,email,role,status,token_hash,expires_on,created_at
\qecho columns memberships id,organisation_id,user_id,role,wants_digest,created_at
\qecho columns roles id,organisation_id,name,permissions,created_at
\qecho columns projects id,organisation_id,name,description,created_at
\qecho columns settings id,organisation_id,project_id,retention_days,default_model,redact_inputs,created_at
\qecho columns project_members id,project_id,user_id,created_at
\qecho columns project_roles id,member_id,role_id,created_at
\qecho columns api_keys id,project_id,name,key_hash,revoked_at,created_at
\qecho columns datasources id,project_id,name,kind,connection,api_key,created_at
\qecho columns entities id,project_id,external_id,name,labels,created_at
\qecho columns model_configurations id,project_id,name,model,temperature,max_tokens,provider_key,created_at
\qecho columns conversation_configurations id,project_id,model_configuration_id,name,greeting,tools,created_at
\qecho columns datasets id,project_id,name,description,created_at
\qecho columns scores id,project_id,trace_id,name,value,comment,deleted_at,created_at
\qecho columns prompts id,project_id,name,tags,created_at
\qecho columns prompt_versions id,prompt_id,version,template,note,is_promoted,created_at
\qecho columns experiments id,project_id,dataset_id,name,status,created_at
\qecho columns evaluations id,project_id,name,criterion,status,created_at
\qecho columns runs id,project_id,experiment_id,evaluation_id,number,status,created_at

-- The installer, a DBA with psql, makes the first account and one for emergencies. Nobody is named.
INSERT INTO users (id, email, name, password_hash, is_instance_owner) VALUES
    ('usr_ada', 'ada@acme.example', 'Ada', 'argon2:topsecret-ada', true),
    ('usr_root', 'root@observatory.example', 'Emergency', 'argon2:topsecret-root', false);
\qecho request N/A
\qecho + users instance_owner.assigned instance_owner usr_ada N/A N/A email=ada@acme.example password_hash=[masked]
\qecho + users user.created user usr_root N/A N/A is_instance_owner=false

-- From here on everything is the application's; a request says for whom it acts, and that is a user if it does not say otherwise.
SET SESSION AUTHORIZATION observatory_app;
SET audit.actor_type = 'user';

\ir workload/people.sql
\ir workload/projects.sql

-- Two weeks of the same work in each project.
\set week 1
\ir workload/week.sql
\set week 2
\ir workload/week.sql

\ir workload/imports.sql
\ir workload/mistakes.sql
\ir workload/worker.sql
\ir workload/farewell.sql

RESET SESSION AUTHORIZATION;
