"""What users and we test pipelines with, without an account, a GPU or a network."""
