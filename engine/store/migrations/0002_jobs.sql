-- Jobs and their runs.

-- `settings` is what the operator wrote, as JSON. `next_at` is set while an instant of its own is to come; the row is
-- held by whoever makes runs of it. `fence` counts up with every run taken up: what a run writes names its number.
-- `missed` counts instants that nobody was there for.
CREATE TABLE jobs (
    id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    name {text} NOT NULL,
    settings {text} NOT NULL,
    needs_configuration BIGINT NOT NULL,
    paused_at BIGINT,
    paused_by {text},
    paused_reason {text},
    next_at BIGINT,
    failures BIGINT NOT NULL,
    missed BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    debug_until BIGINT,
    debug_bytes_max BIGINT,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, name)
);
CREATE INDEX jobs_due ON jobs (next_at) WHERE next_at IS NOT NULL;

-- A run's identity is its job, its nominal time and its occasion: '' for the schedule, else who asked for it.
-- `side_by_side` is how many runs of the job may be under way when it starts. `log` is JSON lines, bounded.
CREATE TABLE runs (
    id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL,
    job_id {id} NOT NULL,
    scheduled_at BIGINT NOT NULL,
    occasion {text} NOT NULL,
    run_trigger {text} NOT NULL,
    backfill_id {id},
    state {text} NOT NULL,
    reason {text},
    side_by_side BIGINT NOT NULL,
    start_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    owner BIGINT,
    lease_until BIGINT,
    fence BIGINT NOT NULL DEFAULT 0,
    cancel_at BIGINT,
    attempts BIGINT NOT NULL DEFAULT 0,
    abandoned BIGINT NOT NULL DEFAULT 0,
    counts {text} NOT NULL,
    error_code {text},
    error_message {text},
    log {text} NOT NULL,
    UNIQUE (job_id, scheduled_at, occasion)
);
CREATE INDEX runs_job ON runs (tenant_id, job_id, id);
CREATE INDEX runs_queued ON runs (start_at) WHERE state = 'queued';
CREATE INDEX runs_running ON runs (owner) WHERE state = 'running';
CREATE INDEX runs_active ON runs (job_id) WHERE state IN ('queued', 'running');
CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;

-- Tenants that are there already get the types of what the engine tells about jobs.
INSERT INTO event_types (tenant_id, key, title, macro_process, process, system, enabled, created_at)
SELECT t.id, v.key, v.title, 'Engate', '', 1, 1, t.created_at FROM tenants t CROSS JOIN
    (SELECT 'run.succeeded' AS key, 'A run of a job succeeded' AS title
     UNION ALL SELECT 'run.failed', 'A run of a job failed'
     UNION ALL SELECT 'job.paused', 'A job was paused') AS v;
