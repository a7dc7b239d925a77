-- Settings-up, step by step. `progress` is what the steps settled and found, as JSON; `sealed` what nobody reads back.
-- `due_at` is set while the engine itself has something to ask for.
CREATE TABLE wizards (
    id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    progress {text} NOT NULL,
    sealed {blob} NOT NULL,
    due_at BIGINT,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX wizards_tenant ON wizards (tenant_id, id);
CREATE INDEX wizards_due ON wizards (due_at) WHERE due_at IS NOT NULL;

-- The fact that tenants from before cannot subscribe to yet.
INSERT INTO event_types (tenant_id, key, title, macro_process, process, system, enabled, created_at)
SELECT id, 'wizard.provisioned', 'What a wizard had provisioned is there', 'Engate', '', 1, 1, created_at FROM tenants;
