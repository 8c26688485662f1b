"""The web application: events in, pages for people, provider call-backs, reading, health and metrics."""
