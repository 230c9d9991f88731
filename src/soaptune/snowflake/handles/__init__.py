"""Handles to models, reports and endpoints that lie in a Snowflake account."""
