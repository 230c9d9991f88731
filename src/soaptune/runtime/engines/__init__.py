"""Engines that generate text inside a job: transformers in process, vLLM as a program, Cortex in the account."""
