"""The public estimators, one per file, and what they share."""
