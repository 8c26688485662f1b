"""The Celery side: queue names, tasks that carry events or hints, and the bootstep that runs the delivery engine."""
