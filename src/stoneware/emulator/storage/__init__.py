"""Cloud Storage: the JSON API, and reads by the paths of the XML API.

Not `gcp-storage-emulator`: it has checksums, but neither generations, preconditions nor sessions that
survive a kill, and its server and its records are its own, so all of it would have to be replaced.
"""
