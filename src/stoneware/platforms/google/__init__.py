"""Machines on Compute Engine, made by Terraform with hashicorp/google."""
