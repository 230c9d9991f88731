"""The code that runs inside a job. The only package that imports torch, transformers, peft and arctic_training."""
