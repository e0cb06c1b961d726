"""Access tokens: for keys, refresh tokens, federated identities and impersonation.

Every credential that is well formed is accepted. Tokens are random, known for what they are for, and expire.
"""
