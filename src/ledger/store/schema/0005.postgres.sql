CREATE FUNCTION rollback_requests_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'rollback_requests is append-only'; END $$;
CREATE TRIGGER rollback_requests_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON rollback_requests
    FOR EACH STATEMENT EXECUTE FUNCTION rollback_requests_stay();
