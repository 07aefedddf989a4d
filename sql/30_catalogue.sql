-- The actions and patterns that the product's users look for, and those that configuration adds.

CREATE TABLE audit.catalogue (
    pattern  text COLLATE "C" PRIMARY KEY,
    shows    text NOT NULL,
    built_in boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE audit.catalogue IS 'Actions and patterns with what they show; audit.track adds the actions it configures';
COMMENT ON COLUMN audit.catalogue.pattern IS 'An action, or a pattern with *';
COMMENT ON COLUMN audit.catalogue.shows IS 'What it shows';
COMMENT ON COLUMN audit.catalogue.built_in IS 'Whether it comes with the extension';

INSERT INTO audit.catalogue (pattern, shows, built_in) VALUES
    ('organisation.*', 'All organization-level actions (default when filter is empty)', true),
    ('organisation.created', 'Organization created', true),
    ('organisation.updated', 'Organization updated', true),
    ('organisation.deleted', 'Organization deleted', true),
    ('organisation.user.*', 'All user-related actions', true),
    ('organisation.user.added', 'User added to organization', true),
    ('organisation.user.invited', 'User invited to organization', true),
    ('organisation.user.removed', 'User removed from organization', true),
    ('organisation.user.role.assigned', 'User role assigned at organization level', true),
    ('organisation.retention.updated', 'Organization retention settings updated', true),
    ('project.*', 'All project actions', true),
    ('project.created', 'Project created', true),
    ('project.updated', 'Project updated', true),
    ('project.deleted', 'Project deleted', true),
    ('project_member.*', 'All project membership changes', true),
    ('project_member.added', 'Member added to project', true),
    ('project_member.removed', 'Member removed from project', true),
    ('project_role.*', 'All project role assignments', true),
    ('project_role.assigned', 'Role assigned to project member', true),
    ('project_role.removed', 'Role removed from project member', true),
    ('project.retention.updated', 'Project retention settings updated', true),
    ('datasource.*', 'All datasource actions', true),
    ('datasource.created', 'Data source created', true),
    ('datasource.updated', 'Data source updated', true),
    ('datasource.deleted', 'Data source deleted', true),
    ('entity.*', 'All entity actions', true),
    ('entity.created', 'Entity created', true),
    ('entity.updated', 'Entity updated', true),
    ('entity.deleted', 'Entity deleted', true),
    ('model_configuration.*', 'All model configuration actions', true),
    ('model_configuration.created', 'Model configuration created', true),
    ('model_configuration.updated', 'Model configuration updated', true),
    ('model_configuration.deleted', 'Model configuration deleted', true),
    ('conversation_configuration.*', 'All conversation configuration actions', true),
    ('conversation_configuration.created', 'Conversation configuration created', true),
    ('conversation_configuration.updated', 'Conversation configuration updated', true),
    ('conversation_configuration.deleted', 'Conversation configuration deleted', true),
    ('dataset.*', 'All dataset actions', true),
    ('dataset.created', 'Dataset created', true),
    ('dataset.updated', 'Dataset updated', true),
    ('dataset.deleted', 'Dataset deleted', true),
    ('score.*', 'All score actions', true),
    ('score.created', 'Score created', true),
    ('score.updated', 'Score updated', true),
    ('score.deleted', 'Score deleted', true),
    ('prompt.*', 'All prompt actions', true),
    ('prompt.created', 'Prompt created', true),
    ('prompt.version_created', 'Prompt version created', true),
    ('prompt.updated', 'Prompt updated', true),
    ('prompt.deleted', 'Prompt deleted', true),
    ('prompt.version_promoted', 'Prompt version promoted', true),
    ('experiment.*', 'All experiment actions', true),
    ('experiment.created', 'Experiment created', true),
    ('experiment.rerun', 'Experiment rerun', true),
    ('experiment.deleted', 'Experiment deleted', true),
    ('evaluation.*', 'All evaluation actions', true),
    ('evaluation.created', 'Evaluation created', true),
    ('evaluation.rerun', 'Evaluation rerun', true),
    ('evaluation.deleted', 'Evaluation deleted', true),
    ('role.*', 'All role actions', true),
    ('role.created', 'Role created', true),
    ('role.updated', 'Role updated', true),
    ('role.deleted', 'Role deleted', true),
    ('retention.deleted', 'Retention policy deleted (automatic deletion)', true),
    ('instance_owner.*', 'All instance owner actions', true),
    ('instance_owner.assigned', 'Instance owner assigned', true),
    ('instance_owner.removed', 'Instance owner removed', true);

-- Readable by whoever may select from it; writable by the extension alone, not even by pg_write_all_data.
ALTER TABLE audit.catalogue ENABLE ROW LEVEL SECURITY;
CREATE POLICY readable ON audit.catalogue FOR SELECT USING (true);
COMMENT ON POLICY readable ON audit.catalogue IS 'Every row is for every reader';

-- CREATE EXTENSION brings the built-in rows back; a dump holds the others.
SELECT pg_extension_config_dump('audit.catalogue', 'WHERE NOT built_in');
