# What a project of Google Cloud has to have before Stoneware works in it: APIs, the bucket, the accounts of builders and
# machines, and a role for the people and the CI that bake and roll. Applied once, by somebody who administrates it.

terraform {
  required_version = ">= 1.5"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.0"
    }
  }
}

resource "google_project_service" "needed" {
  for_each = toset([
    "cloudresourcemanager.googleapis.com",
    "compute.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])

  project            = var.project
  service            = each.value
  disable_on_destroy = false
}

# Manifests, tags, bundles, Terraform's state, journals. Former versions of an object are kept for a month.
resource "google_storage_bucket" "stoneware" {
  project                     = var.project
  name                        = var.bucket
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
    }
  }

  # What a computer that died has left of a bake or a push.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 2
      matches_prefix = ["bakes/", "pushes/"]
    }
  }
}

# Builders read their bundle and write their results; steps run with this account.
resource "google_service_account" "builder" {
  project      = var.project
  account_id   = "stoneware-builder"
  display_name = "Stoneware's builders"
}

resource "google_storage_bucket_iam_member" "builder" {
  bucket = google_storage_bucket.stoneware.name
  role   = "roles/storage.objectUser"
  member = google_service_account.builder.member
}

# The machines of clusters. Each secret is opened to them by itself.
resource "google_service_account" "machine" {
  project      = var.project
  account_id   = "stoneware-machine"
  display_name = "Stoneware's machines"
}

# Builders without a public address reach the package archives by this.
resource "google_compute_router" "nat" {
  count = var.nat ? 1 : 0

  project = var.project
  region  = var.region
  name    = "stoneware-nat"
  network = var.network
}

resource "google_compute_router_nat" "nat" {
  count = var.nat ? 1 : 0

  project                            = var.project
  region                             = var.region
  router                             = google_compute_router.nat[0].name
  name                               = "stoneware-nat"
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}
