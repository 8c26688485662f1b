"""Where outside bytes become events and rows: Coolr's own records, CloudEvents over HTTP, directory files."""
