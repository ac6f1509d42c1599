"""The public estimators, one per file, and the code they share."""
