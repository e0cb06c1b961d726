"""Addresses, networks, the router of a store, and published ports."""
