"""Starting a machine from an image: from Docker's flags to a machine that is up."""
