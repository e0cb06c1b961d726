"""machines.yaml: a cluster in the Compose file format, read, checked and expanded. Touches nothing."""
