"""The Compute Engine API on this computer: routes and checks from Google's discovery document."""
