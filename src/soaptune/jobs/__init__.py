"""Jobs: what a step compiles to, where it runs, and how it is watched."""
