-- Queries here read few devices each, which the planner cannot know: a filter on what a view derives is taken for one that
-- hardly any row passes, so a page is expected to cost a look at the whole fleet. From some size on PostgreSQL then compiles
-- the query first, which takes tens of milliseconds for a page that takes six.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET jit = off', current_database());
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE WARNING 'only the owner of the database can set this: ALTER DATABASE % SET jit = off', current_database();
END
$$;
