"""`LocalBackend`: jobs as processes on this machine, and what keeps those processes."""
