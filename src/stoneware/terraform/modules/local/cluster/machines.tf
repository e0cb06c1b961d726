# One machine per replica. Metadata and secrets change in place; another image, other disks, or another
# `recreate_on` make a new machine, under the same name and with the same disks.
#
# Stoneware writes this file with a line for each field of a machine.

resource "stoneware_machine" "machine" {
  for_each = var.machines

  # FIELDS: values
  recreate_on  = each.value.recreate_on
  running      = each.value.running
  wait_for     = each.value.wait_for

  depends_on = [stoneware_network.network, stoneware_volume.volume]
}
