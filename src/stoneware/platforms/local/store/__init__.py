"""What is kept on this computer: images, checkpoints, tags, volumes, secrets, and the disk below them."""
