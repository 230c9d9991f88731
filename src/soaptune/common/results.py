"""What a job of each kind leaves in its output folder; standard library alone, since every supervisor looks at it."""

from __future__ import annotations

__all__ = ["MANIFEST_KINDS", "NO_MANIFEST"]

MANIFEST_KINDS = {"data": "dataset", "model": "model", "report": "report", "endpoint": "endpoint"}
"""Of which kind the manifest is that a job must leave, by the job's own kind; others leave none."""

NO_MANIFEST = "it ended well, but has left no manifest.json in its output folder"
"""Why a job failed whose manifest is missing."""
