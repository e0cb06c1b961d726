# The machine that the steps of a Machinefile run in.
#
# Created from the deepest checkpoint that is still valid, stopped and captured by `stoneware bake`,
# then destroyed. Its instance attributes change while the steps run, which is not drift.

terraform {
  required_version = ">= 1.5"

  required_providers {
    stoneware = {
      source = "stoneware.local/stoneware/stoneware"
    }
  }
}

resource "stoneware_machine" "builder" {
  name         = var.name
  kind         = "builder"
  source       = var.boot_source
  image_ref    = var.image_ref
  hostname     = var.hostname
  metadata     = var.metadata
  files        = var.files
  volumes      = var.volumes
  caches       = var.caches
  memory       = var.memory
  cpus         = var.cpus
  labels       = var.labels
  stop_timeout = var.stop_timeout

  lifecycle {
    ignore_changes = [metadata, running]
  }
}
