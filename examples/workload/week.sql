-- A week: each project builds and operates.
\set organisation org_acme
\set project prj_chat
\set lead usr_bob
\set helper usr_cem
\ir building.sql
\ir operating.sql

\set project prj_search
\set lead usr_dia
\set helper usr_bob
\ir building.sql
\ir operating.sql

\set organisation org_globex
\set project prj_triage
\set lead usr_fay
\set helper usr_gil
\ir building.sql
\ir operating.sql

\set project prj_routing
\set lead usr_gil
\set helper usr_eve
\ir building.sql
\ir operating.sql

\set organisation org_initech
\set project prj_copilot
\set lead usr_ivo
\set helper usr_jan
\ir building.sql
\ir operating.sql

\set project prj_docs
\set lead usr_hui
\set helper usr_ivo
\ir building.sql
\ir operating.sql
