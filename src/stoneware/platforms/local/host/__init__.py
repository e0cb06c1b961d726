"""This computer: what it must have, its control groups and limits, and the servers that outlive a command."""
