-- Deliveries of a filter and a time that are tried again one after the other, at a rate. `filter` and `skipped` are JSON;
-- `at_code` is the delivery that was gone through last; `due_at` says when the next one may be, and is null once it is over.
CREATE TABLE recoveries (
    id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    filter {text} NOT NULL,
    since_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    rate BIGINT NOT NULL,
    state {text} NOT NULL,
    matched BIGINT NOT NULL,
    matched_estimated BIGINT NOT NULL,
    at_code BIGINT NOT NULL,
    retried BIGINT NOT NULL,
    skipped {text} NOT NULL,
    trouble {text},
    created_by {text} NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT,
    due_at BIGINT
);
CREATE INDEX recoveries_tenant ON recoveries (tenant_id, id);
CREATE INDEX recoveries_due ON recoveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX recoveries_finished ON recoveries (finished_at) WHERE finished_at IS NOT NULL;
