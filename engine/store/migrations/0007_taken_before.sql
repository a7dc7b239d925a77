-- Deliveries that succeeded once and have not since they were sent again: few. A listing by time of success reads those
-- that have succeeded, and these, and none of the others.
CREATE INDEX deliveries_taken_before ON deliveries (tenant_id, code)
    WHERE owner IS NULL AND success <> 1 AND integrated_at IS NOT NULL;
