"""Kills at every commit point and around every send: what is promised holds after the restart."""
