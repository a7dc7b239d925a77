-- Where a job that polls a feed goes on; `fence` is the number of the run that may move it.
CREATE TABLE feeds (
    job_id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL,
    fence BIGINT NOT NULL,
    resume {blob},
    updated_at BIGINT NOT NULL
);
