"""Datasets in tables of a Snowflake account."""
