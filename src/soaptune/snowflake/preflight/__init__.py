"""What stands in the way of a job in a Snowflake account, each finding with the SQL that mends it."""
