"""Decisions without I/O: everything here takes plain values (and `now`) and returns plain values."""
