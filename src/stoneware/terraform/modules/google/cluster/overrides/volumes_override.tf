# Lets volumes be destroyed, with their data.

resource "google_compute_disk" "volume" {
  lifecycle {
    prevent_destroy = false
  }
}
