# Data disks outlive machines. Only `stoneware down --volumes` removes them: it adds volumes_override.tf.

resource "stoneware_volume" "volume" {
  for_each = var.volumes

  name   = each.key
  labels = each.value.labels
  size   = each.value.size

  lifecycle {
    prevent_destroy = true
    ignore_changes  = [size] # `stoneware volume resize` changes it later
  }
}
