CREATE TRIGGER deployment_events_stay BEFORE UPDATE ON deployment_events
BEGIN SELECT RAISE(ABORT, 'deployment_events is append-only'); END;
CREATE TRIGGER deployment_events_remain BEFORE DELETE ON deployment_events
BEGIN SELECT RAISE(ABORT, 'deployment_events is append-only'); END;
-- One writer at a time: what is inserted in order is committed in order.
CREATE TRIGGER outbox_sequence AFTER INSERT ON outbox WHEN NEW.sequence IS NULL
BEGIN
    UPDATE outbox SET sequence = 1 + COALESCE((SELECT MAX(sequence) FROM outbox), 0) WHERE id = NEW.id;
END;
