"""The metadata server: one process per store that answers what machines ask."""
