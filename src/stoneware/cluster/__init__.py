"""A cluster on a platform: what is wanted, what there is, the difference, and making them equal."""
