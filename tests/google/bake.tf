variable "content" {
  type    = string
  default = "hello"
}

variable "private" {
  type    = bool
  default = false
}

variable "range" {
  type    = string
  default = "10.9.0.0/24"
}

variable "builder" {
  type    = bool
  default = true
}

variable "labels" {
  type    = map(string)
  default = { commit = "abc" }
}

variable "ports" {
  type    = list(string)
  default = ["22"]
}

resource "google_compute_network" "n" {
  name                    = "bakes"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "s" {
  name                     = "bakes"
  ip_cidr_range            = var.range
  network                  = google_compute_network.n.id
  private_ip_google_access = var.private
}

resource "google_compute_firewall" "f" {
  name          = "bakes"
  network       = google_compute_network.n.name
  source_ranges = ["10.9.0.0/16"]
  allow {
    protocol = "tcp"
    ports    = var.ports
  }
}

resource "google_storage_bucket" "b" {
  name                        = "proj-1-bakes"
  location                    = "us-central1"
  force_destroy               = true
  uniform_bucket_level_access = true
  labels                      = var.labels
  versioning {
    enabled = true
  }
}

resource "google_storage_bucket_object" "text" {
  bucket  = google_storage_bucket.b.name
  name    = "texts/context"
  content = var.content
}

resource "google_storage_bucket_object" "file" {
  bucket       = google_storage_bucket.b.name
  name         = "bundle.tar"
  source       = "${path.module}/bundle.tar"
  content_type = "application/x-tar"
  metadata     = { key = "one" }
}

resource "google_secret_manager_secret" "s" {
  secret_id = "password"
  labels    = var.labels
  replication {
    auto {}
  }
}

resource "google_compute_instance" "builder" {
  count          = var.builder ? 1 : 0
  name           = "builder"
  machine_type   = "e2-small"
  desired_status = "RUNNING"
  labels         = var.labels
  metadata       = { enable-guest-attributes = "TRUE" }
  boot_disk {
    auto_delete = false
    initialize_params {
      image = "debian-cloud/debian-12"
      type  = "pd-balanced"
    }
  }
  network_interface {
    subnetwork = google_compute_subnetwork.s.id
  }
  scheduling {
    automatic_restart           = false
    instance_termination_action = "DELETE"
    max_run_duration {
      seconds = 3600
    }
  }
  service_account {
    email  = "builder@proj-1.iam.gserviceaccount.com"
    scopes = ["storage-ro", "logging-write"]
  }
}

resource "google_compute_disk" "d" {
  name  = "root"
  image = "debian-cloud/debian-12"
}

resource "google_compute_image" "i" {
  name        = "kafka-abc-1"
  family      = "kafka"
  description = "a bake"
  labels      = var.labels
  source_disk = google_compute_disk.d.id
}

data "google_compute_image" "latest" {
  family     = "kafka"
  depends_on = [google_compute_image.i]
}

data "google_client_config" "c" {}

data "google_compute_instance_guest_attributes" "g" {
  count      = var.builder ? 1 : 0
  name       = google_compute_instance.builder[0].name
  query_path = "stoneware/"
}

output "image" {
  value = data.google_compute_image.latest.self_link
}

output "said" {
  value = try([for each in data.google_compute_instance_guest_attributes.g[0].query_value : each.value], [])
}

output "md5" {
  value = google_storage_bucket_object.text.md5hash
}

resource "google_secret_manager_secret_version" "v" {
  secret      = google_secret_manager_secret.s.id
  secret_data = var.content
}

resource "google_storage_bucket_object" "large" {
  bucket = google_storage_bucket.b.name
  name   = "large"
  source = "large"
}
