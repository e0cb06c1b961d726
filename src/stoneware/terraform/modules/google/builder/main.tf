# The machine that the steps of a Machinefile run in.
#
# Created from an exact image, stopped and captured by `stoneware bake`, then destroyed. It ends by itself, with
# its disk, after var.life seconds, so one whose driver has died costs nothing for long. Its metadata changes while
# the steps run, which is not drift.

terraform {
  required_version = ">= 1.5"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.0"
    }
  }
}

provider "google" {
  project       = var.project
  zone          = var.zone
  poll_interval = var.poll_interval
}

resource "google_compute_instance" "builder" {
  name         = var.name
  zone         = var.zone
  machine_type = var.machine_type
  labels       = var.labels
  metadata     = var.metadata

  boot_disk {
    auto_delete       = true
    kms_key_self_link = var.kms_key

    initialize_params {
      image  = var.image
      size   = var.disk_size
      type   = var.disk_type
      labels = var.labels
    }
  }

  network_interface {
    network    = var.subnetwork == null ? var.network : null
    subnetwork = var.subnetwork

    # Without one the builder reaches the internet by Cloud NAT, or not at all.
    dynamic "access_config" {
      for_each = var.external_ip ? [1] : []
      content {}
    }
  }

  service_account {
    email  = var.service_account
    scopes = var.scopes
  }

  scheduling {
    automatic_restart           = false
    instance_termination_action = "DELETE"

    max_run_duration {
      seconds = var.life
    }
  }

  lifecycle {
    ignore_changes = [metadata]
  }
}
