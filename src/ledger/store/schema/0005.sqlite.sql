CREATE TRIGGER rollback_requests_stay BEFORE UPDATE ON rollback_requests
BEGIN SELECT RAISE(ABORT, 'rollback_requests is append-only'); END;
CREATE TRIGGER rollback_requests_remain BEFORE DELETE ON rollback_requests
BEGIN SELECT RAISE(ABORT, 'rollback_requests is append-only'); END;
