"""What jobs do inside a Snowflake account: start, generate with Cortex, register and serve models."""
