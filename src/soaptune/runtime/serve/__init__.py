"""The server of a deployed model: an OpenAI-compatible REST surface in front of the in-process engine.

``surface`` declares what goes over the wire, ``app`` the routes, ``guard`` what stands before them, ``batching`` how
requests that wait are answered together, ``answering`` what the engine is asked; ``python -m soaptune.runtime.serve
step.json`` runs it as a job.
"""
