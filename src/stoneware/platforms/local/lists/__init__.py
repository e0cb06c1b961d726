"""The lists of an image's files, made of its parent's and of what btrfs knows to have changed since."""
