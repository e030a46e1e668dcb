-- Whether a deployment brought an earlier release back because somebody asked for that: it delivers no change, so that it
-- is not measured as one. Only CI jobs tell of such.
ALTER TABLE deployments ADD COLUMN goes_back BIGINT NOT NULL DEFAULT 0;
UPDATE deployments SET goes_back = 1 WHERE deployment_id IN
    (SELECT report_id FROM reports WHERE body LIKE '%"action":"rollback"%' OR body LIKE '%"action": "rollback"%');
