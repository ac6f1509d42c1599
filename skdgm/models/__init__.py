"""The models, in pure torch: one file per model, each with a bound per row."""
