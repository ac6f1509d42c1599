"""The faces that users see: one estimator per file."""
