"""The version of skdgm, in a file that every module may import."""

__version__ = "0.1.0.dev0"
