"""Secret Manager: secrets and their versions, with their payloads in the emulator's records."""
