variable "image" {
  type    = map(string)
  default = {}
}

variable "metadata" {
  type    = map(string)
  default = { role = "broker" }
}

variable "labels" {
  type    = map(string)
  default = { cluster = "kafka" }
}

variable "machine_type" {
  type    = string
  default = "e2-small"
}

variable "tags" {
  type    = list(string)
  default = ["kafka"]
}

variable "device" {
  type    = string
  default = "data"
}

variable "boot_size" {
  type    = number
  default = 12
}

variable "external" {
  type    = bool
  default = true
}

variable "forward" {
  type    = bool
  default = false
}

variable "account" {
  type    = string
  default = null
}

variable "keep_boot" {
  type    = bool
  default = false
}

locals {
  nodes = { k1 = "10.128.0.11", k2 = "10.128.0.12", k3 = "10.128.0.13" }
}

resource "google_compute_firewall" "kafka" {
  name        = "kafka"
  network     = "default"
  source_tags = ["client", "kafka"]
  target_tags = ["kafka"]
  allow {
    protocol = "tcp"
    ports    = ["9092", "9093"]
  }
  allow {
    protocol = "icmp"
  }
}

resource "google_compute_address" "node" {
  for_each     = local.nodes
  name         = each.key
  address_type = "INTERNAL"
  address      = each.value
  subnetwork   = "default"
  labels       = var.labels
}

resource "google_compute_disk" "data" {
  for_each = local.nodes
  name     = "${each.key}-data"
  type     = "pd-ssd"
  size     = 20
  labels   = var.labels
}

resource "google_compute_instance" "node" {
  for_each                  = local.nodes
  name                      = each.key
  machine_type              = var.machine_type
  desired_status            = "RUNNING"
  allow_stopping_for_update = true
  metadata                  = merge(var.metadata, { node = each.key })
  labels                    = var.labels
  tags                      = var.tags

  can_ip_forward = var.forward
  description    = var.forward ? "forwards" : null

  boot_disk {
    auto_delete = !var.keep_boot
    initialize_params {
      image  = lookup(var.image, each.key, "projects/debian-cloud/global/images/debian-12-stoneware")
      size   = var.boot_size
      labels = var.labels
    }
  }

  attached_disk {
    source      = google_compute_disk.data[each.key].id
    device_name = var.device
  }

  network_interface {
    subnetwork = "default"
    network_ip = google_compute_address.node[each.key].address
    dynamic "access_config" {
      for_each = var.external ? [1] : []
      content {}
    }
  }

  scheduling {
    automatic_restart   = true
    on_host_maintenance = "MIGRATE"
  }

  service_account {
    email  = var.account
    scopes = ["cloud-platform"]
  }
}

output "addresses" {
  value = { for name, node in google_compute_instance.node : name => node.network_interface[0].network_ip }
}
