# A cluster of machines on Compute Engine. Stoneware writes its variables from machines.yaml; as a module it is for
# your own configurations, too: see docs/google.md.
#
# The provider is configured by its environment: credentials, and for an emulator the endpoints.

terraform {
  required_version = ">= 1.5"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.0"
    }
  }
}
