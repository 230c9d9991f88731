"""The code that runs inside a job. The only room that imports torch, transformers, peft and arctic_training."""
