"""Coolr alert notification dispatcher. Start reading at notifier/pipeline.py."""

__version__ = "0.1.0"
