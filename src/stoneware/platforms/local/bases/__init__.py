"""The Debian that images are built FROM, made once by mmdebstrap."""
