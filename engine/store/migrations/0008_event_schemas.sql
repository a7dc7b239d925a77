-- The JSON Schema that payloads of a type have to meet; none: any payload.
ALTER TABLE event_types ADD COLUMN schema {text};
