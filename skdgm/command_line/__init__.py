"""The commands of ``python -m skdgm``, one per file; each has ``run(arguments)``. ``__main__`` parses the arguments."""
