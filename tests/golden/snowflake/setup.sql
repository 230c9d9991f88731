-- What soaptune needs in this account, for the role "ENGINEER".
-- Read it before you run it. It needs the role ACCOUNTADMIN, and can be run again: what is there stays as it is.
USE ROLE ACCOUNTADMIN;

-- 1. The database and the schema where tables, models and the files of jobs lie.
CREATE DATABASE IF NOT EXISTS "LLM_DEMO";
CREATE SCHEMA IF NOT EXISTS "LLM_DEMO"."PUBLIC";
GRANT USAGE ON DATABASE "LLM_DEMO" TO ROLE "ENGINEER";
GRANT USAGE ON SCHEMA "LLM_DEMO"."PUBLIC" TO ROLE "ENGINEER";

-- 2. What the role makes in that schema.
GRANT CREATE STAGE ON SCHEMA "LLM_DEMO"."PUBLIC" TO ROLE "ENGINEER";  -- files of jobs
GRANT CREATE SERVICE ON SCHEMA "LLM_DEMO"."PUBLIC" TO ROLE "ENGINEER";  -- jobs, and endpoints
GRANT CREATE TABLE ON SCHEMA "LLM_DEMO"."PUBLIC" TO ROLE "ENGINEER";  -- data sets and reports
GRANT CREATE MODEL ON SCHEMA "LLM_DEMO"."PUBLIC" TO ROLE "ENGINEER";  -- the model registry
GRANT CREATE DATASET ON SCHEMA "LLM_DEMO"."PUBLIC" TO ROLE "ENGINEER";  -- versioned data sets
GRANT CREATE EXPERIMENT ON SCHEMA "LLM_DEMO"."PUBLIC" TO ROLE "ENGINEER";  -- metrics of runs
GRANT CREATE FILE FORMAT ON SCHEMA "LLM_DEMO"."PUBLIC" TO ROLE "ENGINEER";  -- reading Parquet files from a stage

-- 3. The stage with the files of jobs. Jobs mount it, which needs encryption on the server's side (SNOWFLAKE_SSE).
CREATE STAGE IF NOT EXISTS "LLM_DEMO"."PUBLIC"."PAYLOAD_STAGE" ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE');
GRANT READ, WRITE ON STAGE "LLM_DEMO"."PUBLIC"."PAYLOAD_STAGE" TO ROLE "ENGINEER";

-- 4. The machines that train, evaluate and serve. They cost credits from a job's start until 10 minutes after
-- the last one's end.
-- "SHOW COMPUTE POOL INSTANCE FAMILIES" lists what this account offers in place of GPU_NV_M.
CREATE COMPUTE POOL IF NOT EXISTS "GPU_POOL"
  MIN_NODES = 1 MAX_NODES = 1 INSTANCE_FAMILY = GPU_NV_M
  AUTO_RESUME = TRUE AUTO_SUSPEND_SECS = 600 INITIALLY_SUSPENDED = TRUE;
GRANT USAGE, MONITOR ON COMPUTE POOL "GPU_POOL" TO ROLE "ENGINEER";

-- 5. The warehouse that answers SQL: reading and writing tables, AI functions.
CREATE WAREHOUSE IF NOT EXISTS "DEMO_WH"
  WAREHOUSE_SIZE = XSMALL AUTO_SUSPEND = 60 AUTO_RESUME = TRUE INITIALLY_SUSPENDED = TRUE;
GRANT USAGE ON WAREHOUSE "DEMO_WH" TO ROLE "ENGINEER";

-- 6. The hosts outside of Snowflake that jobs may reach: packages (PyPI) and models (the Hugging Face hub), no others.
-- Leave it out for jobs that need neither; the data never takes this way.
CREATE NETWORK RULE IF NOT EXISTS "LLM_DEMO"."PUBLIC"."SOAPTUNE_HUB_RULE"
  MODE = EGRESS TYPE = HOST_PORT
  VALUE_LIST = ('huggingface.co:443', '*.huggingface.co:443', '*.hf.co:443', '*.xethub.hf.co:443', '*.aws.cdn.hf.co:443');
CREATE EXTERNAL ACCESS INTEGRATION IF NOT EXISTS "PYPI_HF_EAI"
  ALLOWED_NETWORK_RULES = (SNOWFLAKE.EXTERNAL_ACCESS.PYPI_RULE, "LLM_DEMO"."PUBLIC"."SOAPTUNE_HUB_RULE")
  ENABLED = TRUE;
GRANT USAGE ON INTEGRATION "PYPI_HF_EAI" TO ROLE "ENGINEER";

-- 7. Endpoints that clients outside of Snowflake can call. Their images are built into Snowflake's own repository.
GRANT BIND SERVICE ENDPOINT ON ACCOUNT TO ROLE "ENGINEER";

-- 8. AI functions (AI_COMPLETE), to write data and to judge answers. Most accounts grant both to PUBLIC already.
GRANT DATABASE ROLE SNOWFLAKE.CORTEX_USER TO ROLE "ENGINEER";
GRANT USE AI FUNCTIONS ON ACCOUNT TO ROLE "ENGINEER";
