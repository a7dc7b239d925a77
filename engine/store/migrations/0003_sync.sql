-- Sync jobs: where each track is, what its target has, what its target refuses. A track is one stream in one partition
-- of a job; its id is a hash of these.

-- `state` is the checkpoint as JSON, `version` counts its changes; `fence` is the number of the run that may change it.
-- `page` is the page in hand, packed, so that a repeat is the same to the byte.
CREATE TABLE sync_checkpoints (
    track {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL,
    job_id {id} NOT NULL,
    stream {text} NOT NULL,
    part {text} NOT NULL,
    fence BIGINT NOT NULL,
    version BIGINT NOT NULL,
    state {text} NOT NULL,
    page {blob},
    updated_at BIGINT NOT NULL
);
CREATE INDEX sync_checkpoints_job ON sync_checkpoints (tenant_id, job_id, stream, part);

-- Checkpoints as they were after each pass that sent something, and before each change by hand.
CREATE TABLE sync_history (
    track {id} NOT NULL,
    version BIGINT NOT NULL,
    at BIGINT NOT NULL,
    reason {text} NOT NULL,
    state {text} NOT NULL,
    PRIMARY KEY (track, version)
);

-- The last acknowledged hash of each record: of all where the stream reconciles, else of those that the next pass
-- reads again. `sent` is 0 for a record that is there, 1 for one that is deleted, 2 for one that was refused.
CREATE TABLE sync_rows (
    track {id} NOT NULL,
    key {text} NOT NULL,
    hash {blob} NOT NULL,
    stamp BIGINT,
    sent BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    PRIMARY KEY (track, key)
[sqlite]   ) WITHOUT ROWID;
[postgres] );

-- Records that a target refuses; the newest refusal of each.
CREATE TABLE sync_quarantine (
    id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL,
    job_id {id} NOT NULL,
    track {id} NOT NULL,
    stream {text} NOT NULL,
    part {text} NOT NULL,
    key {text} NOT NULL,
    operation {text} NOT NULL,
    data {text} NOT NULL,
    code {text} NOT NULL,
    message {text} NOT NULL,
    pass {text} NOT NULL,
    state {text} NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (track, key)
);
CREATE INDEX sync_quarantine_job ON sync_quarantine (tenant_id, job_id, id);
