"""`Dataset.load`: rows of other formats, read, checked and written as a dataset folder."""
