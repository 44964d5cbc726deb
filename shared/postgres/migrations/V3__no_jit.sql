-- Reports touch tens of thousands of rows; the planner expects millions and has them compiled first, which takes several times
-- as long as running them (ADR 17). A setting of the database, because one of the session would pin it behind RDS Proxy. Only
-- the database's owner may; without it everything works, reports of a large record later.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'jit stays as it is: % does not own the database', current_user;
END
$$;
