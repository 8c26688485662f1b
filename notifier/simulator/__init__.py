"""A seeded fleet of coolers: outlets in several countries and one realistic hour of their events.

Used by `notifier demo` and `notifier simulate`. Deterministic for a seed and a base time; knows nothing of the store.
"""
