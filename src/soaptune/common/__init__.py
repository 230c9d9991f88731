"""What every part of the library builds on: Arrow, files, fingerprints, versions, wording, lazy imports."""
