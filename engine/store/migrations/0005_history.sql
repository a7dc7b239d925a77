-- What retention remembers. It walks through events in the order of their ids; `event_marks` says how far it came.
CREATE TABLE event_marks (tenant_id {id} NOT NULL PRIMARY KEY, event_id {id} NOT NULL);

-- Of the events that it passed, the newest of each type and subject: these stay. No subject is the empty one.
CREATE TABLE event_heads (
    tenant_id {id} NOT NULL,
    event_type {text} NOT NULL,
    subject {text} NOT NULL,
    event_id {id} NOT NULL,
    PRIMARY KEY (tenant_id, event_type, subject)
[sqlite]   ) WITHOUT ROWID;
[postgres] );

-- Events that it passed and that go as soon as nothing needs them any more.
CREATE TABLE events_left (
    tenant_id {id} NOT NULL,
    event_id {id} NOT NULL,
    PRIMARY KEY (tenant_id, event_id)
[sqlite]   ) WITHOUT ROWID;
[postgres] );

-- What was not delivered, by what it is about: a newer version of it is to supersede it. The ordinary delivery, handed
-- over at once and taken, is never in it.
CREATE INDEX deliveries_undelivered ON deliveries (endpoint_id, event_type, COALESCE(subject, ''), code)
    WHERE owner IS NULL AND state IN ('pending', 'parked', 'failed');

-- Texts of deliveries in their order, for listings by them: subjects under `field` 1, correlation ids under 3; under 0 and 2
-- those that have none. Made in the background: `delivery_marks` says up to which code, what is beyond is looked through.
CREATE TABLE delivery_texts (
    of_tenant {id} NOT NULL,
    field BIGINT NOT NULL,
    text {text} NOT NULL,
    of_code BIGINT NOT NULL,
[postgres] of_id UUID NOT NULL,
    PRIMARY KEY (of_tenant, field, text, of_code)
[sqlite]   ) WITHOUT ROWID;
[postgres] );
CREATE TABLE delivery_marks (name {text} NOT NULL PRIMARY KEY, code BIGINT NOT NULL);
INSERT INTO delivery_marks (name, code) VALUES ('texts', 0);

-- The same texts, folded, for free search by any three letters. PostgreSQL's index of them needs an extension that not
-- everybody may create: it is made when the store is opened.
[sqlite]   CREATE VIRTUAL TABLE delivery_search USING fts5(
[sqlite]       folded, content = '', contentless_delete = 1, detail = none, tokenize = 'trigram case_sensitive 1'
[sqlite]   );
[postgres] CREATE TABLE delivery_search (
[postgres]     code BIGINT NOT NULL PRIMARY KEY,
[postgres]     of_id UUID NOT NULL,
[postgres]     of_tenant UUID NOT NULL,
[postgres]     folded TEXT NOT NULL
[postgres] );
