# A cluster of machines on this computer, written out by Stoneware from machines.yaml.
#
# What differs between clusters is in machines.auto.tfvars.json; these files are the same for all of them.

terraform {
  required_version = ">= 1.5"

  required_providers {
    stoneware = {
      source = "stoneware.local/stoneware/stoneware"
    }
  }
}
