# Data disks outlive machines. Only `stoneware down --volumes` removes them: it adds volumes_override.tf.

resource "google_compute_disk" "volume" {
  for_each = var.volumes

  project     = var.google.project
  zone        = each.value.disk.zone
  name        = each.value.disk.name
  description = "Stoneware volume ${each.key}"
  type        = each.value.disk.type
  size        = each.value.disk.size
  labels      = merge(var.google.labels, each.value.disk.labels)

  lifecycle {
    prevent_destroy = true
  }
}
