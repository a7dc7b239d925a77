-- The first schema. One text for both databases: {text}, {blob} and {id} are their column types, and a line that
-- begins with a database's name in brackets counts for that database alone.
-- Times are microseconds since 1970, flags 0 or 1, JSON is kept as the text it was given.

CREATE TABLE meta (key {text} NOT NULL PRIMARY KEY, value {blob} NOT NULL);

CREATE TABLE tenants (
    id {id} NOT NULL PRIMARY KEY,
    slug {text} NOT NULL UNIQUE,
    name {text} NOT NULL,
    created_at BIGINT NOT NULL
);

-- Counts each change of a tenant's configuration that matters for routing or delivery. Read again in the
-- transaction that accepts an event, so that no event is routed by a configuration that is no more.
CREATE TABLE revisions (
    tenant_id {id} NOT NULL PRIMARY KEY REFERENCES tenants (id),
    revision BIGINT NOT NULL
);

CREATE TABLE tokens (
    id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    client {text} NOT NULL,
    role {text} NOT NULL,
    integrator_id {id},
    hash {blob} NOT NULL UNIQUE,
    expires_at BIGINT,
    revoked_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX tokens_live ON tokens (tenant_id, client) WHERE revoked_at IS NULL;

CREATE TABLE event_types (
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    key {text} NOT NULL,
    title {text} NOT NULL,
    macro_process {text} NOT NULL,
    process {text} NOT NULL,
    system BIGINT NOT NULL,
    enabled BIGINT NOT NULL DEFAULT 1,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, key)
);

CREATE TABLE integrators (
    id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    slug {text} NOT NULL,
    name {text} NOT NULL,
    active BIGINT NOT NULL,
    services {text} NOT NULL,
    plugin {text},
    config {text},
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, slug)
);

-- A deleted endpoint keeps its row without its secrets: its deliveries still say where they went.
CREATE TABLE endpoints (
    id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    integrator_id {id} NOT NULL REFERENCES integrators (id),
    description {text} NOT NULL,
    url {text} NOT NULL,
    plugin {text},
    config {text},
    event_types {text} NOT NULL,
    enabled BIGINT NOT NULL,
    disabled_reason {text},
    ordering {text} NOT NULL,
    max_in_flight BIGINT NOT NULL,
    timeout_ms BIGINT NOT NULL,
    retry_ms {text} NOT NULL,
    signing_enabled BIGINT NOT NULL,
    sealed {blob},
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE INDEX endpoints_tenant ON endpoints (tenant_id, id);
CREATE INDEX endpoints_integrator ON endpoints (integrator_id, id);

-- Events, deliveries and attempts refer to each other without foreign keys: checking them would cost a look-up
-- per row on the hot path, and would keep old partitions from being dropped.
CREATE TABLE events (
    tenant_id {id} NOT NULL,
    id {id} NOT NULL,
    event_type {text} NOT NULL,
    subject {text},
    payload {blob} NOT NULL,
    content_type {text} NOT NULL,
    occurred_at BIGINT NOT NULL,
    accepted_at BIGINT NOT NULL,
    labels {text},
    correlation_id {text},
    idempotency_key {text},
    reason {text},
    PRIMARY KEY (tenant_id, id)
[sqlite]   );
[postgres] ) PARTITION BY RANGE (id);
[postgres] CREATE TABLE events_default PARTITION OF events DEFAULT;
CREATE INDEX events_type ON events (tenant_id, event_type, id);

-- The queue is this table. `due_at` is set while a delivery waits, `owner` while a node has it in hand.
-- `success` is -1 before the first attempt, then 0 or 1.
-- `line` is set while a delivery of an endpoint that keeps an order is unfinished: the key it shares with those before
-- and behind it. `waits_behind` is set while it waits for one of them: from when on it may go once it is let go.
[sqlite]   CREATE TABLE counters (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL);
[sqlite]   INSERT INTO counters (name, value) VALUES ('delivery_code', 0);
[postgres] CREATE SEQUENCE delivery_code;
CREATE TABLE deliveries (
[sqlite]   code INTEGER PRIMARY KEY,
[sqlite]   id BLOB NOT NULL UNIQUE,
[postgres] code BIGINT NOT NULL,
[postgres] id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL,
    event_id {id} NOT NULL,
    event_type {text} NOT NULL,
    subject {text},
    endpoint_id {id} NOT NULL,
    integrator_id {id} NOT NULL,
    state {text} NOT NULL,
    success BIGINT NOT NULL DEFAULT -1,
    reason {text},
    attempts BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    first_attempt_at BIGINT,
    last_attempt_at BIGINT,
    integrated_at BIGINT,
    due_at BIGINT,
    next_trigger {text} NOT NULL DEFAULT 'event',
    owner BIGINT,
    correlation_id {text},
    line {text},
    waits_behind BIGINT
[sqlite]   );
[postgres] ) PARTITION BY RANGE (id);
[postgres] CREATE TABLE deliveries_default PARTITION OF deliveries DEFAULT;
CREATE INDEX deliveries_event ON deliveries (event_id);
-- What is in hand is left out of these two: it would enter and leave them within moments, and there is never
-- much of it, so `deliveries_owner` finds it.
CREATE INDEX deliveries_tenant ON deliveries (tenant_id, state, success, code) WHERE owner IS NULL;
CREATE INDEX deliveries_endpoint ON deliveries (endpoint_id, state, success, code) WHERE owner IS NULL;
CREATE INDEX deliveries_type ON deliveries (tenant_id, event_type, code);
CREATE INDEX deliveries_due ON deliveries (endpoint_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_owner ON deliveries (owner) WHERE owner IS NOT NULL;
CREATE INDEX deliveries_moving ON deliveries (endpoint_id, line, code) WHERE line IS NOT NULL AND waits_behind IS NULL;
CREATE INDEX deliveries_behind ON deliveries (endpoint_id, line, code) WHERE waits_behind IS NOT NULL;
-- Those below serve listings and leave out the ordinary delivery: tried once, at once, and taken. `2000000` is
-- LATE of store/src/listing.
CREATE INDEX deliveries_waiting ON deliveries (tenant_id, due_at, code) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_attempts ON deliveries (tenant_id, attempts, code) WHERE owner IS NULL AND attempts <> 1;
CREATE INDEX deliveries_reason ON deliveries (tenant_id, reason, code) WHERE owner IS NULL AND reason IS NOT NULL;
CREATE INDEX deliveries_late_attempt ON deliveries (tenant_id, last_attempt_at, code)
    WHERE last_attempt_at NOT BETWEEN created_at AND created_at + 2000000;
CREATE INDEX deliveries_late_success ON deliveries (tenant_id, integrated_at, code)
    WHERE integrated_at NOT BETWEEN created_at AND created_at + 2000000;

-- Which times the deliveries with codes from `first` to `last` were created at: codes and times run almost alike,
-- and this says how far they do not. Made in the background; what is not covered yet may be of any time.
CREATE TABLE delivery_spans (
    first_code BIGINT NOT NULL PRIMARY KEY,
    last_code BIGINT NOT NULL,
    created_min BIGINT NOT NULL,
    created_max BIGINT NOT NULL
);

-- `request` and `response` are JSON without the bodies. A request body equal to the event's payload is kept
-- there only: `body_is_payload` says so. `place` is the delivery's code times 65536 plus the number: SQLite's
-- own key, so that an attempt is one entry in one tree, written at its end.
CREATE TABLE attempts (
[sqlite]   place INTEGER PRIMARY KEY,
[postgres] place BIGINT NOT NULL,
    delivery_id {id} NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    trigger_code {text} NOT NULL,
    plugin {text},
    plugin_digest {text},
    request {text},
    request_body {blob},
    body_is_payload BIGINT NOT NULL,
    response {text},
    response_body {blob},
    outcome {text} NOT NULL,
    code {text},
    message {text},
    duration_us BIGINT NOT NULL,
    replay {text}
[sqlite]   );
[postgres] , PRIMARY KEY (delivery_id, number)
[postgres] ) PARTITION BY RANGE (delivery_id);
[postgres] CREATE TABLE attempts_default PARTITION OF attempts DEFAULT;

CREATE TABLE idempotency_keys (
    tenant_id {id} NOT NULL,
    key {text} NOT NULL,
    event_id {id} NOT NULL,
    body_hash {blob} NOT NULL,
    delivery_count BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Actions under a client's Idempotency-Key, with what was answered.
CREATE TABLE keyed_calls (
    tenant_id {id} NOT NULL,
    client {text} NOT NULL,
    key {text} NOT NULL,
    sealed {blob} NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, client, key)
);
CREATE INDEX keyed_calls_age ON keyed_calls (created_at);

-- A node's serial is its fencing term: it is never used twice.
CREATE TABLE nodes (
[sqlite]   serial INTEGER PRIMARY KEY AUTOINCREMENT,
[postgres] serial BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name {text} NOT NULL,
    lease_until BIGINT NOT NULL
);

CREATE TABLE plugins (
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    name {text} NOT NULL,
    version {text} NOT NULL,
    digest {text} NOT NULL,
    manifest {text},
    state {text} NOT NULL,
    message {text},
    size_bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    development BIGINT NOT NULL,
    pending_channel {text},
    PRIMARY KEY (tenant_id, name, version)
);
CREATE INDEX plugins_digest ON plugins (digest);
CREATE INDEX plugins_compiling ON plugins (created_at) WHERE state = 'compiling';

CREATE TABLE plugin_components (digest {text} NOT NULL PRIMARY KEY, component {blob} NOT NULL);

-- Every setting of a channel is kept; the one of the highest number counts.
CREATE TABLE plugin_channels (
    tenant_id {id} NOT NULL,
    name {text} NOT NULL,
    channel {text} NOT NULL,
    number BIGINT NOT NULL,
    version {text} NOT NULL,
    set_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name, channel, number),
    FOREIGN KEY (tenant_id, name, version) REFERENCES plugins (tenant_id, name, version)
);

CREATE TABLE plugin_settings (
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    name {text} NOT NULL,
    grants {text} NOT NULL,
    config {text},
    calls {text} NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE plugin_state (
    tenant_id {id} NOT NULL,
    plugin {text} NOT NULL,
    endpoint_id {id} NOT NULL,
    key {text} NOT NULL,
    value {blob} NOT NULL,
    PRIMARY KEY (tenant_id, plugin, endpoint_id, key)
);

-- Where partners call. The name is in the path and knows no tenants.
CREATE TABLE inbounds (
    name {text} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    description {text} NOT NULL,
    plugin {text} NOT NULL,
    config {text},
    enabled BIGINT NOT NULL,
    body_bytes_max BIGINT NOT NULL,
    rate_per_second BIGINT NOT NULL,
    rate_burst BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX inbounds_tenant ON inbounds (tenant_id, name);

-- What a receiver keeps, written with the events of the call that changed it.
CREATE TABLE inbound_state (
    tenant_id {id} NOT NULL,
    plugin {text} NOT NULL,
    inbound {text} NOT NULL,
    key {text} NOT NULL,
    value {blob} NOT NULL,
    PRIMARY KEY (tenant_id, plugin, inbound, key)
);

CREATE TABLE secrets (
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    name {text} NOT NULL,
    sealed {blob} NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, name)
);

CREATE TABLE settings (
    tenant_id {id} NOT NULL REFERENCES tenants (id),
    key {text} NOT NULL,
    value {text} NOT NULL,
    PRIMARY KEY (tenant_id, key)
);

CREATE TABLE audit (
    id {id} NOT NULL PRIMARY KEY,
    tenant_id {id} NOT NULL,
    at BIGINT NOT NULL,
    token_id {id},
    client {text} NOT NULL,
    action {text} NOT NULL,
    object {text} NOT NULL,
    detail {text} NOT NULL
);
CREATE INDEX audit_tenant ON audit (tenant_id, id);
