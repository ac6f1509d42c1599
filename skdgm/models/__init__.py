"""The models, in pure torch: one file each, one bound per row each."""
