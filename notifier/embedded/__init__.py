"""The whole system on one machine with nothing to install: parts of our own, supervised.

Start reading at system.py. Production does not need this package: its process manager starts the same commands.
"""
